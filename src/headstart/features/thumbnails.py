"""What tells copies of a picture without any network: how it looks from afar.

A training from scratch has no use for a pretrained network's features but to keep copies on one side of the
splits. Thumbnails do that, hundreds of pictures a second on any processor.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.config import Preprocessing
from headstart.features.embed import THUMBNAIL_PX
from headstart.features.store import FeatureStore

_VIEW_PX, _THUMBNAIL_PX = 64, 16
_NAME = "thumbnails-1"


class Thumbnails:
    """Takes the place of a trunk and of its runtime where pictures are embedded."""

    preprocessing = Preprocessing(_VIEW_PX, _VIEW_PX, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    feature_dim = 3 * _THUMBNAIL_PX**2

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Thumbnails of views `(N, 64, 64, 3)`, their mean colour taken away, as rows `(N, 768)`."""
        n, factor = len(views), _VIEW_PX // _THUMBNAIL_PX
        blocks = views.reshape(n, _THUMBNAIL_PX, factor, _THUMBNAIL_PX, factor, 3).astype(np.float32)
        small = blocks.mean(axis=(2, 4)) / 255
        rows: NDArray[np.float32] = (small - small.mean(axis=(1, 2), keepdims=True)).reshape(n, -1)
        return rows

    def open_store(self, cache: Path) -> FeatureStore:
        """Open their store; nothing is written yet."""
        folder = cache / "features" / _NAME / self.preprocessing.view
        return FeatureStore(folder, self.feature_dim, thumbnail_px=THUMBNAIL_PX)
