"""What training does to a picture so that the network learns what doesn't matter.

All chance comes from the generator that is passed in, so one picture's augmentation in one epoch is the
same whatever thread makes it. Nothing random ever happens at evaluation.
"""

import difflib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from headstart.errors import ConfigError

_TRIES = 10
_CENTER = 0.875  # of the shorter side, as most networks are tested (224 of 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """The parts of a policy, each off by default."""

    crop: tuple[float, float] | None = None
    """Share of the picture's area that a crop keeps."""

    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of a crop, before it becomes square."""

    flip: float = 0.0
    """Probability of left for right."""

    vertical_flip: float = 0.0
    """Probability of top for bottom; for what has no upside, such as cells or stars."""

    brightness: float = 0.0
    """Largest relative change; likewise contrast and saturation."""

    contrast: float = 0.0
    saturation: float = 0.0

    hue: float = 0.0
    """Largest shift either way, as a share of the circle of hues."""

    rotation_deg: float = 0.0
    """Largest angle, either way."""

    temperature: float = 0.0
    """Largest relative gain of red and loss of blue, or the reverse: warmer or cooler light."""

    blur_sigma: float = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels."""

    noise_sigma: float = 0.0
    """Largest standard deviation of Gaussian noise, in grey values."""

    jpeg_quality: int | None = None
    """Lowest quality of a JPEG compression; 100 is the highest."""

    trivial: bool = False
    """One operation at random strength (TrivialAugment: Müller and Hutter 2021)."""


_FLIP = 0.5
POLICIES: dict[str, Augmentation] = {
    "none": Augmentation(),
    "flip": Augmentation(flip=_FLIP),
    "light": Augmentation(crop=(0.35, 1.0), flip=_FLIP),
    "strong": Augmentation(
        crop=(0.2, 1.0), flip=_FLIP, brightness=0.4, contrast=0.4, saturation=0.4, rotation_deg=15
    ),
    "trivial": Augmentation(crop=(0.35, 1.0), flip=_FLIP, trivial=True),
    "photo-shift": Augmentation(
        crop=(0.35, 1.0), flip=_FLIP, brightness=0.5, temperature=0.25, blur_sigma=1.5, jpeg_quality=30
    ),
}


def _number(least: float, largest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not least <= value <= largest:
            raise ValueError(text)
        return value

    return parse


def _range(least: float, largest: float) -> Callable[[str], tuple[float, float]]:
    number = _number(least, largest)

    def parse(text: str) -> tuple[float, float]:
        low, high = (number(end) for end in text.split("-"))
        if low > high:
            raise ValueError(text)
        return low, high

    return parse


_share = _number(0, 1)
_PARTS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "crop": (
        "crop",
        "LOW-HIGH, shares of the area from 0.01 to 1, or 0",
        lambda text: None if text == "0" else _range(0.01, 1)(text),
    ),
    "aspect": ("aspect", "LOW-HIGH, widths over heights from 0.1 to 10", _range(0.1, 10)),
    "flip": ("flip", "a probability from 0 to 1", _share),
    "vertical_flip": ("vertical_flip", "a probability from 0 to 1", _share),
    "brightness": ("brightness", "a relative change from 0 to 1", _share),
    "contrast": ("contrast", "a relative change from 0 to 1", _share),
    "saturation": ("saturation", "a relative change from 0 to 1", _share),
    "hue": ("hue", "a share of the circle from 0 to 0.5", _number(0, 0.5)),
    "rotation": ("rotation_deg", "an angle from 0 to 180 degrees", _number(0, 180)),
    "temperature": ("temperature", "a relative gain from 0 to 1", _share),
    "blur": ("blur_sigma", "a standard deviation from 0 to 10 pixels", _number(0, 10)),
    "noise": ("noise_sigma", "a standard deviation from 0 to 100 grey values", _number(0, 100)),
    "jpeg": ("jpeg_quality", "a whole quality from 1 to 100, or 0", lambda text: _quality(text) or None),
    "trivial": ("trivial", "0 or 1", lambda text: {"0": False, "1": True}[text]),
}
"""Each part's name in a text: its field, its values in words, and what reads one."""


def _quality(text: str) -> int:
    return int(_number(0, 100)(str(int(text))))


def find_policy(text: str) -> Augmentation:
    """The policy that a text names, some of its parts set otherwise: `strong,rotation=0,hue=0.1`.

    A policy's name comes first, then any parts as `NAME=VALUE`; 0 switches a part off. Ranges are
    written `LOW-HIGH`: `crop=0.1-1,aspect=0.5-2`.

    Raises:
        ConfigError: An unknown policy or part (the nearest is suggested), or a value out of its range;
            every problem is told at once.
    """
    name, *settings = text.split(",")
    if name not in POLICIES:
        first = " The policy's name comes first, as in none,flip=0.5." if "=" in name else ""
        raise ConfigError(f"No augmentation is called {name!r}.{_nearest(name, POLICIES)}{first}")
    changes: dict[str, object] = {}
    problems = []
    for setting in settings:
        part, _, value = setting.partition("=")
        if part not in _PARTS:
            problems.append(f"No part of an augmentation is called {part!r}.{_nearest(part, _PARTS)}")
            continue
        field, wanted, parse = _PARTS[part]
        if field in changes:
            problems.append(f"{part} is set twice.")
        try:
            changes[field] = parse(value)
        except (ValueError, KeyError):
            problems.append(f"{part} must be {wanted}, not {value!r}.")
    if problems:
        raise ConfigError(f"--augment {text}: {' '.join(problems)}")
    policy = replace(POLICIES[name], **changes)  # type: ignore[arg-type]
    if "aspect" in changes and policy.crop is None:
        raise ConfigError(f"--augment {text}: aspect is that of a crop. Add one, such as crop=0.35-1.")
    return policy


def describe_policy(policy: Augmentation) -> str:
    """The policy as `find_policy` reads it: `none` and each part that is on."""
    texts = ["none"]
    for name, (field, _, _) in _PARTS.items():
        match getattr(policy, field):
            case (low, high):
                if policy.crop is not None:
                    texts.append(f"{name}={low:.3g}-{high:.3g}")
            case value if value:
                texts.append(f"{name}={value:.4g}")
    return ",".join(texts)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"{f' Did you mean {near[0]}?' if near else ''} Known: {', '.join(names)}."


def augment(
    pixels: NDArray[np.uint8], policy: Augmentation, size_px: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One view `(size_px, size_px, 3)` of a picture `(H, W, 3)`, both uint8."""
    box = _random_crop(pixels, policy, rng) if policy.crop else _central_crop(pixels, size_px)
    view = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BILINEAR, box=box)
    image = torch.from_numpy(np.array(view)).permute(2, 0, 1)
    if rng.random() < policy.flip:
        image = tv.horizontal_flip(image)
    if policy.vertical_flip and rng.random() < policy.vertical_flip:
        image = tv.vertical_flip(image)
    image = _change_light(image, policy, rng)
    if policy.rotation_deg:
        angle = rng.uniform(-policy.rotation_deg, policy.rotation_deg)
        image = tv.rotate(image, angle, tv.InterpolationMode.BILINEAR)
    if policy.blur_sigma and (sigma := rng.uniform(0, policy.blur_sigma)) > 0.1:
        image = tv.gaussian_blur(image, [2 * int(np.ceil(2 * sigma)) + 1] * 2, [sigma] * 2)
    if policy.trivial:
        image = _trivial(image, rng)
    changed: NDArray[np.uint8] = image.permute(1, 2, 0).contiguous().numpy()
    if policy.noise_sigma:
        changed = add_noise(changed, rng.uniform(0, policy.noise_sigma), rng)
    if policy.jpeg_quality is not None:
        changed = compress_jpeg(changed, int(rng.integers(policy.jpeg_quality, 101)))
    return changed


def _random_crop(
    pixels: NDArray[np.uint8], policy: Augmentation, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box of random area and aspect inside the picture (Szegedy et al. 2015)."""
    height, width = pixels.shape[:2]
    low, high = policy.crop or (1.0, 1.0)
    for _ in range(_TRIES):
        area = height * width * rng.uniform(low, high)
        aspect = np.exp(rng.uniform(*np.log(policy.aspect)))
        box_width, box_height = (area * aspect) ** 0.5, (area / aspect) ** 0.5
        if box_width <= width and box_height <= height:
            left, top = rng.uniform(0, width - box_width), rng.uniform(0, height - box_height)
            return left, top, left + box_width, top + box_height
    return _square(width, height, min(width, height))


def _central_crop(pixels: NDArray[np.uint8], size_px: int) -> tuple[float, float, float, float]:
    """The square that evaluation keeps of a picture whose shorter side was resized; small ones whole."""
    height, width = pixels.shape[:2]
    return _square(width, height, min(width, height, max(size_px, round(_CENTER * min(width, height)))))


def _square(width: int, height: int, side: int) -> tuple[float, float, float, float]:
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _change_light(image: torch.Tensor, policy: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    for most, adjust in (
        (policy.brightness, tv.adjust_brightness),
        (policy.contrast, tv.adjust_contrast),
        (policy.saturation, tv.adjust_saturation),
    ):
        if most:
            image = adjust(image, rng.uniform(1 - most, 1 + most))
    if policy.hue:
        image = tv.adjust_hue(image, rng.uniform(-policy.hue, policy.hue))
    if policy.temperature:
        image = change_temperature(image, rng.uniform(-policy.temperature, policy.temperature))
    return image


def change_temperature(image: torch.Tensor, warmth: float) -> torch.Tensor:
    """Warmer light of a picture `(3, H, W) uint8`, its red gained and blue lost; colder if negative."""
    gains = torch.tensor([1 + warmth, 1.0, 1 - warmth]).view(3, 1, 1)
    return (image * gains).clamp(0, 255).to(torch.uint8)


def add_noise(view: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Gaussian noise of a standard deviation in grey values, each pixel and channel its own."""
    noisy = view + np.float32(sigma) * rng.standard_normal(view.shape, np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def compress_jpeg(view: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Through JPEG and back, by Pillow: torchvision's own codec is deprecated."""
    buffer = io.BytesIO()
    Image.fromarray(view).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def _trivial(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """One of the operations of TrivialAugmentWide at a strength from nothing to its widest."""
    strength, sign = rng.random(), rng.choice((-1.0, 1.0))
    factor = 1 + 0.99 * strength * sign
    shear, shift, angle = 0.99 * strength * sign, round(32 * strength * sign), 135 * strength * sign

    def affine(
        angle: float = 0.0, x: int = 0, y: int = 0, shears: tuple[float, float] = (0, 0)
    ) -> torch.Tensor:
        degrees = [float(np.degrees(np.arctan(value))) for value in shears]
        moved: torch.Tensor = tv.affine(image, angle, [x, y], 1.0, degrees, tv.InterpolationMode.BILINEAR)
        return moved

    operations: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: image,
        lambda: affine(shears=(shear, 0)),
        lambda: affine(shears=(0, shear)),
        lambda: affine(x=shift),
        lambda: affine(y=shift),
        lambda: affine(angle=angle),
        lambda: tv.adjust_brightness(image, factor),
        lambda: tv.adjust_saturation(image, factor),
        lambda: tv.adjust_contrast(image, factor),
        lambda: tv.adjust_sharpness(image, factor),
        lambda: tv.posterize(image, 8 - round(6 * strength)),
        lambda: tv.solarize(image, 255 * (1 - strength)),
        lambda: tv.autocontrast(image),
        lambda: tv.equalize(image),
    )
    return operations[int(rng.integers(len(operations)))]()
