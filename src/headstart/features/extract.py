"""Fill the feature store with what it lacks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.trunk import Trunk
from headstart.config import Preprocessing
from headstart.data.files import ImageFile
from headstart.errors import WeightsMismatchError
from headstart.features.embed import THUMBNAIL_PX, EmbeddedChunk, Embedder, View, embed_files
from headstart.features.store import FeatureStore
from headstart.progress import Progress, Silent

_PART_ROWS = 2048


class Sight(Protocol):
    """A trunk, or what else takes views of a kind."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The view that it takes."""
        ...


def open_store(cache: Path, trunk: Trunk, runtime: str, view: View = "center") -> FeatureStore:
    """Open the store of a trunk's features in one view; nothing is written yet."""
    name = trunk.preprocessing.view + ("" if view == "center" else f"-{view}")
    folder = cache / "features" / trunk.fingerprint(runtime) / name
    return FeatureStore(folder, trunk.feature_dim, thumbnail_px=THUMBNAIL_PX if view == "center" else 0)


def extract(
    files: Sequence[ImageFile],
    trunk: Sight,
    runtime: Embedder,
    stores: dict[View, FeatureStore],
    *,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Embed the files whose features a store lacks, in every view that lacks them.

    Parts are written as the work goes on, so an interrupted extraction continues where it stopped.

    Returns:
        The reason for each key that can't be decoded.

    Raises:
        WeightsMismatchError: Features that are no numbers.
        StorageError: The cache can't be written.
    """
    todo = {f.key: f for f in files if any(f.key not in store for store in stores.values())}
    if not todo:
        return {}
    keys, paths = list(todo), [file.path for file in todo.values()]
    views = [view for view, store in stores.items() if any(key not in store for key in keys)]
    failures: dict[str, str] = {}
    parts = _PartWriter(keys, {view: stores[view] for view in views})
    with (progress or Silent()).stage("Embedding images", len(keys)) as advance:
        try:
            for chunk in embed_files(paths, trunk.preprocessing, runtime, views=views):
                _check_finite(chunk, paths)
                failures.update((keys[row], reason) for row, reason in chunk.failures)
                parts.add(chunk)
                advance(len(chunk.rows) + len(chunk.failures))
        finally:
            parts.flush()
    return failures


def _check_finite(chunk: EmbeddedChunk, paths: Sequence[str]) -> None:
    """See that features are numbers, before they are stored for good.

    Raises:
        WeightsMismatchError: Some are not.
    """
    for features in chunk.features.values():
        spoilt = ~np.isfinite(features).all(axis=1)
        if spoilt.any():
            raise WeightsMismatchError(
                f"The features of {paths[chunk.rows[spoilt][0]]} hold values that are no numbers. Try "
                "--runtime torch-fp32; if that is no better, the weights or the ONNX file are damaged."
            )


class _PartWriter:
    """Collects chunks and writes a part a view whenever enough rows are together."""

    def __init__(self, keys: Sequence[str], stores: dict[View, FeatureStore]) -> None:
        self._keys = keys
        self._stores = stores
        self._chunks: list[EmbeddedChunk] = []

    def add(self, chunk: EmbeddedChunk) -> None:
        if len(chunk.rows):
            self._chunks.append(chunk)
        if sum(len(c.rows) for c in self._chunks) >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._chunks:
            return
        chunks, self._chunks = self._chunks, []
        keys = [self._keys[row] for chunk in chunks for row in chunk.rows]
        hashes: NDArray[np.uint64] = np.concatenate([chunk.difference_hashes for chunk in chunks])
        thumbnails: NDArray[np.uint8] = np.concatenate([chunk.thumbnails for chunk in chunks])
        for view, store in self._stores.items():
            features = np.concatenate([chunk.features[view] for chunk in chunks])
            store.append(keys, features, hashes, thumbnails if store.thumbnail_px else None)
