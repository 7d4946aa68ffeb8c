"""What this machine has, and which runtime was chosen how fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import measure_speeds, read_speeds
from headstart.backbones.trunk import list_trunks, open_trunk
from headstart.config import Preprocessing
from headstart.progress import Progress
from headstart.run.environment import describe_environment


@dataclass(frozen=True, slots=True)
class KnownTrunk:
    """A converted backbone and the runtimes timed for it here, images a second, fastest first."""

    architecture: str
    speeds: dict[str, float]


def describe_machine() -> dict[str, Any]:
    """Processor, memory and library versions; imports none of the libraries."""
    return describe_environment({})


def known_trunks(cache: Path) -> list[KnownTrunk]:
    """What the cache remembers of converted backbones on this machine."""
    return [KnownTrunk(trunk.architecture, _sorted(read_speeds(trunk) or {})) for trunk in list_trunks(cache)]


def time_runtimes(model: str, cache: Path, progress: Progress) -> KnownTrunk:
    """Time every runtime anew, on scikit-learn's two sample photographs.

    Raises:
        BackboneError: The backbone can't be had.
    """
    trunk = open_trunk(find_backbone(model), cache, progress=progress)
    speeds = measure_speeds(trunk, _sample_views(trunk.preprocessing), progress=progress)
    return KnownTrunk(trunk.architecture, _sorted(dict(speeds)))


def _sorted(speeds: dict[Any, float]) -> dict[str, float]:
    return {str(name): speed for name, speed in sorted(speeds.items(), key=lambda item: -item[1])}


def _sample_views(preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Sixteen overlapping squares of real photographs, `(16, crop_px, crop_px, 3)`."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    size, views = (preprocessing.crop_px, preprocessing.crop_px), []
    for photo in load_sample_images().images:
        image = Image.fromarray(photo)
        side = min(image.size)
        for left in np.linspace(0, image.width - side, 8).astype(int):
            box = (int(left), 0, int(left) + side, side)
            views.append(np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box)))
    return np.stack(views)
