"""From real pixels to findings: each flaw alone, on a picture that is otherwise in order."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from evidence import make_evidence
from headstart.evaluation.checks.appearance import COLUMNS, measure
from headstart.evaluation.checks.looks import find_looks

N = 30


def scene(seed: int = 0) -> Image.Image:
    """Coloured patches of many sizes with sharp edges, as photographs have."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((160, 200, 3), np.float64)
    for side in (5, 10, 20, 40):
        patches = rng.uniform(-1, 1, (160 // side, 200 // side, 3))
        pixels += patches.repeat(side, axis=0).repeat(side, axis=1)
    return Image.fromarray(np.clip(128 + 60 * pixels, 0, 255).astype(np.uint8))


def stretch(image: Image.Image) -> Image.Image:
    """With the contrast of a sharp one, as a picture out of focus has."""
    return image.point(lambda value: max(min(int(2.5 * (value - 128) + 110), 255), 0))


def encode(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def kinds(folder: Path, image: Image.Image) -> list[str]:
    """What is found of one such picture among ordinary ones."""
    usual = measure(encode(scene()))
    rows = np.array([measure(encode(image)), *[usual] * (N - 1)])
    looks = {name: rows[:, column] for column, name in enumerate(COLUMNS)}
    found = list(find_looks(make_evidence(folder, [0, 1] * (N // 2), looks=looks)))
    assert all(finding.files == ("/set/a/0.jpg",) for finding in found)
    return sorted(finding.kind for finding in found)


FLAWS: dict[str, tuple[Callable[[Image.Image], Image.Image], list[str]]] = {
    "none": (lambda image: image, []),
    "grey": (lambda image: image.convert("L").convert("RGB"), ["greyscale"]),
    "blurred": (lambda image: stretch(image.filter(ImageFilter.GaussianBlur(12))), ["blurry"]),
    "dark": (lambda image: image.point(lambda value: value // 6), ["dark"]),
    "bright": (lambda image: image.point(lambda value: 250 + value // 64), ["bright"]),
    "plain": (lambda image: Image.new("RGB", image.size, (90, 120, 200)), ["no_information"]),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found_and_no_other(tmp_path: Path, flaw: str) -> None:
    spoil, expected = FLAWS[flaw]
    assert kinds(tmp_path, spoil(scene(1))) == expected


def test_grey_pictures_among_grey_ones_are_ordinary(tmp_path: Path) -> None:
    looks = {"chroma": [0.0] * 20 + [30.0] * (N - 20)}
    assert list(find_looks(make_evidence(tmp_path, [0, 1] * (N // 2), looks=looks))) == []


@pytest.mark.parametrize("quality", [35, 60, 75, 92])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    assert measure(encode(scene(), quality))[COLUMNS.index("jpeg_quality")] == pytest.approx(quality, abs=1)


def test_a_border_is_told_from_the_rest() -> None:
    framed = Image.new("RGB", (200, 160), (250, 10, 10))
    framed.paste((20, 200, 20), (20, 20, 180, 140))
    values = dict(zip(COLUMNS, measure(encode(framed, 95)), strict=True))
    assert values["border_red"] == pytest.approx(250, abs=8)
    assert values["border_green"] == pytest.approx(10, abs=8)
    assert values["border_spread"] < 8
    assert values["green"] > 100
