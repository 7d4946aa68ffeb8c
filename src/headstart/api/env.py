"""What this machine has, and which runtime was chosen how fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import measure_speeds, read_speeds
from headstart.backbones.trunk import Trunk, list_trunks, open_trunk
from headstart.config import Preprocessing, RuntimeName
from headstart.progress import Progress
from headstart.run.environment import describe_environment


@dataclass(frozen=True, slots=True)
class KnownTrunk:
    """A converted backbone, the side of its views, and the runtimes timed for it here.

    Attributes:
        architecture: timm's name.
        input_px: Side of the views.
        speeds: Images a second of each runtime, fastest first; that one is chosen, if its features agree
            with float32's on the images at hand. Empty where none was timed.
    """

    architecture: str
    input_px: int
    speeds: dict[RuntimeName, float]


def describe_machine() -> dict[str, Any]:
    """Processor, memory and library versions; imports none of the libraries."""
    return describe_environment({})


def known_trunks(cache: Path) -> list[KnownTrunk]:
    """What the cache remembers of converted backbones here: of several weights, some that were timed."""
    known: dict[tuple[str, int], KnownTrunk] = {}
    for trunk in list_trunks(cache):
        found = _known(trunk, read_speeds(trunk) or {})
        place = found.architecture, found.input_px
        if place not in known or not known[place].speeds:
            known[place] = found
    return list(known.values())


def time_runtimes(model: str, cache: Path, progress: Progress) -> KnownTrunk:
    """Time every runtime anew, on scikit-learn's two sample photographs.

    Raises:
        BackboneError: The backbone can't be had.
    """
    trunk = open_trunk(find_backbone(model), cache, progress=progress)
    speeds = measure_speeds(trunk, _sample_views(trunk.preprocessing), progress=progress)
    return _known(trunk, speeds)


def _known(trunk: Trunk, speeds: Mapping[RuntimeName, float]) -> KnownTrunk:
    fastest_first = sorted(speeds.items(), key=lambda item: -item[1])
    return KnownTrunk(trunk.architecture, trunk.preprocessing.crop_px, dict(fastest_first))


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
