"""What the world does to pictures after training: other light, other cameras, other frames.

Ten shifts, each at five strengths, applied to decoded uint8 pictures. Those of light and camera change
the view that the network sees; those of framing and size change the picture from which the view is cut.
The kinds and the idea of graded strengths: Hendrycks and Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", 2019; the strengths are our own, from hardly visible
to a picture that people still name.
"""

import difflib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from headstart.config import Preprocessing
from headstart.data.augment import add_noise, change_temperature, compress_jpeg
from headstart.data.decode import center_view
from headstart.errors import ConfigError

Kind = Literal[
    "brightness",
    "contrast",
    "temperature",
    "saturation",
    "blur",
    "noise",
    "jpeg",
    "resolution",
    "rotation",
    "crop",
]
Pixels = NDArray[np.uint8]
STRENGTHS = 5


@dataclass(frozen=True, slots=True)
class Shift:
    """One kind of change.

    Attributes:
        title: In words.
        unit: What the levels are.
        levels: Five, from weak to strong.
        parts: What of `--augment` teaches a network not to mind it.
    """

    title: str
    unit: str
    levels: tuple[float, ...]
    parts: tuple[str, ...]


SHIFTS: dict[Kind, Shift] = {
    "brightness": Shift("darker", "times as bright", (0.8, 0.6, 0.45, 0.3, 0.2), ("brightness=0.7",)),
    "contrast": Shift("flatter", "times the contrast", (0.8, 0.6, 0.45, 0.3, 0.2), ("contrast=0.7",)),
    "temperature": Shift(
        "warmer light", "gain of red and loss of blue", (0.1, 0.2, 0.3, 0.45, 0.6), ("temperature=0.4",)
    ),
    "saturation": Shift("paler", "times the saturation", (0.8, 0.6, 0.4, 0.2, 0.0), ("saturation=0.8",)),
    "blur": Shift(
        "out of focus", "pixels of standard deviation, at 224", (0.7, 1.2, 1.8, 2.6, 3.6), ("blur=3",)
    ),
    "noise": Shift("grainier", "grey values of standard deviation", (6, 12, 20, 32, 48), ("noise=30",)),
    "jpeg": Shift("more compressed", "JPEG quality", (60, 35, 20, 12, 7), ("jpeg=10",)),
    "resolution": Shift("smaller", "pixels of the shorter side, at 224", (160, 112, 80, 56, 40), ("blur=3",)),
    "rotation": Shift("tilted", "degrees", (5, 10, 20, 30, 45), ("rotation=30",)),
    "crop": Shift("closer", "share of the sides that is left", (0.9, 0.8, 0.7, 0.6, 0.5), ("crop=0.2-1",)),
}
"""All that are tested."""

_OF_THE_PICTURE = {"resolution", "rotation", "crop"}
_REFERENCE_PX = 224


def find_kinds(names: Sequence[str]) -> tuple[Kind, ...]:
    """The shifts of these names; all where there are none.

    Raises:
        ConfigError: An unknown name; the nearest is suggested.
    """
    for name in names:
        if name not in SHIFTS:
            near = difflib.get_close_matches(name, SHIFTS, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"No shift is called {name!r}.{hint} Known: {', '.join(SHIFTS)}.")
    return tuple(kind for kind in SHIFTS if not names or kind in names)


def shift_picture(
    picture: Image.Image, view: Pixels, kind: Kind, strength: int, preprocessing: Preprocessing, seed: int
) -> Pixels:
    """The view `(crop_px, crop_px, 3)` of a shifted picture.

    Args:
        picture: Decoded, upright RGB.
        view: What the network sees of it unchanged.
        kind: What changes.
        strength: 1 to 5.
        preprocessing: The network's.
        seed: Of this picture's noise.
    """
    level = SHIFTS[kind].levels[strength - 1]
    if kind in _OF_THE_PICTURE:
        return center_view(_reframe(picture, kind, level, preprocessing), preprocessing)
    if kind == "jpeg":
        return compress_jpeg(view, int(level))
    if kind == "noise":
        return add_noise(view, level, np.random.default_rng([seed, zlib.crc32(kind.encode()), strength]))
    image = torch.from_numpy(np.array(view)).permute(2, 0, 1)
    changed = _LIGHT[kind](image, level, view.shape[0])
    return np.ascontiguousarray(changed.permute(1, 2, 0).numpy())


def _blur(image: torch.Tensor, sigma: float, side_px: int) -> torch.Tensor:
    sigma *= side_px / _REFERENCE_PX
    reach = min(2 * int(np.ceil(3 * sigma)) + 1, 2 * ((side_px - 1) // 2) + 1)
    wide = tv.gaussian_blur(image.float(), [reach, 1], [sigma, sigma])  # one side after the other is the
    both: torch.Tensor = tv.gaussian_blur(wide, [1, reach], [sigma, sigma])  # same, and many times as fast
    return both.round().to(torch.uint8)


_LIGHT: dict[str, Callable[[torch.Tensor, float, int], torch.Tensor]] = {
    "brightness": lambda image, level, _: tv.adjust_brightness(image, level),
    "contrast": lambda image, level, _: tv.adjust_contrast(image, level),
    "saturation": lambda image, level, _: tv.adjust_saturation(image, level),
    "temperature": lambda image, level, _: change_temperature(image, level),
    "blur": _blur,
}


def _reframe(picture: Image.Image, kind: Kind, level: float, preprocessing: Preprocessing) -> Image.Image:
    """The picture made smaller, tilted about its middle (corners take its mean colour), or cropped."""
    width, height = picture.size
    if kind == "crop":
        left, top = width * (1 - level) / 2, height * (1 - level) / 2
        return picture.crop((round(left), round(top), round(width - left), round(height - top)))
    if kind == "rotation":
        return picture.rotate(level, Image.Resampling.BILINEAR, fillcolor=_mean_colour(picture))
    short_px = level * preprocessing.resize_px / _REFERENCE_PX
    scale = short_px / min(width, height)
    if scale >= 1:
        return picture
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return picture.resize(size, Image.Resampling.BICUBIC)


def _mean_colour(picture: Image.Image) -> tuple[int, ...]:
    return tuple(int(value) for value in np.asarray(picture.resize((1, 1), Image.Resampling.BOX))[0, 0])


def advise(harmful: Sequence[Kind]) -> str:
    """The `--augment` policy against these shifts: `light`, and the parts that teach not to mind them."""
    parts = dict.fromkeys(part for kind in harmful for part in SHIFTS[kind].parts)
    return ",".join(["light", *parts])
