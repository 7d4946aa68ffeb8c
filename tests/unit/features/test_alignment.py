"""One picture zoomed, shifted or lit otherwise is recognised; two pictures of one kind are not."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.features.alignment import aligned_correlation

Bytes = NDArray[np.uint8]
SIDE = 32


def scenes(n: int, seed: int = 0) -> Bytes:
    """Pictures `(n, 320, 320)` whose detail falls with its frequency, as in photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(320), np.fft.fftfreq(320)))
    noise = np.fft.fft2(rng.standard_normal((n, 320, 320))) / np.maximum(frequency, 1 / 320) ** 1.2
    pictures = np.fft.ifft2(noise).real
    pictures -= pictures.mean(axis=(1, 2), keepdims=True)
    return np.clip(128 + 50 * pictures / pictures.std(axis=(1, 2), keepdims=True), 0, 255).astype(np.uint8)


def small(pictures: Bytes, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Bytes:
    """Thumbnails of a part of each."""
    size, place = (SIDE, SIDE), tuple(320 * edge for edge in box)
    return np.stack(
        [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX, box=place)) for p in pictures]
    )


PICTURES = scenes(40)
PLAIN = small(PICTURES)

COPIES: dict[str, Callable[[], Bytes]] = {
    "the same": lambda: PLAIN,
    "cropped to 95 %": lambda: small(PICTURES, (0.025, 0.025, 0.975, 0.975)),
    "cropped at a corner": lambda: small(PICTURES, (0, 0, 0.93, 0.93)),
    "cropped to 88 %": lambda: small(PICTURES, (0.06, 0.06, 0.94, 0.94)),
    "stretched": lambda: small(PICTURES, (0, 0.05, 1, 0.95)),
    "darker and flatter": lambda: (PLAIN * 0.5 + 20).astype(np.uint8),
    "noisy": lambda: (
        (PLAIN + np.random.default_rng(1).normal(0, 6, PLAIN.shape)).clip(0, 255).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_laid_onto_their_originals(copy: str) -> None:
    found = aligned_correlation(PLAIN, COPIES[copy]())
    assert np.percentile(found, 5) > 0.96, np.sort(found)[:5]


def test_alignment_is_what_recognises_a_crop() -> None:
    copies = COPIES["cropped to 88 %"]()
    unaligned = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(PLAIN, copies, strict=True)]
    assert np.median(aligned_correlation(PLAIN, copies)) > np.median(unaligned) + 0.04


def test_different_pictures_stay_different() -> None:
    others = np.roll(PLAIN, 1, axis=0)
    assert aligned_correlation(PLAIN, others).max() < 0.9
    assert aligned_correlation(PLAIN, PLAIN[:, :, ::-1]).max() < 0.9


def test_which_one_is_left_does_not_matter() -> None:
    copies = COPIES["cropped at a corner"]()
    assert (aligned_correlation(PLAIN, copies) == aligned_correlation(copies, PLAIN)).all()


def test_plain_pictures_resemble_nothing() -> None:
    grey = np.full_like(PLAIN, 128)
    assert (aligned_correlation(grey, PLAIN) == 0).all()
    assert (aligned_correlation(grey, grey) == 0).all()


def test_no_pictures() -> None:
    assert aligned_correlation(PLAIN[:0], PLAIN[:0]).shape == (0,)


def test_pictures_that_agree_wholly_are_not_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def look(pictures: Bytes, *_: object) -> Bytes:
        looked_at.append(len(pictures))
        return pictures

    monkeypatch.setattr("headstart.features.alignment._look", look)
    assert aligned_correlation(PLAIN, PLAIN).min() > 0.9999
    assert sum(looked_at) == 0
    aligned_correlation(PLAIN, small(PICTURES, (0, 0, 0.93, 0.93)))
    assert sum(looked_at) > 0
