"""Whatever says nothing of the object but tells the class is named; chance is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evidence import make_evidence, with_files
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.shortcuts import find_shortcuts, measure_shortcuts

LABELS = np.arange(120) % 2
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 40, 120)

Change = Callable[[Path], Evidence]


def by_header(**fields: NDArray[np.int64] | list[str]) -> Change:
    return lambda folder: with_files(make_evidence(folder, LABELS), **fields)


def by_look(**columns: NDArray[np.int64]) -> Change:
    return lambda folder: make_evidence(folder, LABELS, looks=columns)


SHORTCUTS: dict[str, tuple[Change, set[str], str]] = {
    "width": (
        by_header(width_px=300 + 100 * LABELS + NOISE, height_px=300 + NOISE[::-1]),
        {"width", "aspect"},
        "error",
    ),
    "height": (by_header(height_px=300 + 100 * LABELS + NOISE), {"height", "aspect"}, "error"),
    "file size": (by_header(size_bytes=20_000 + 9_000 * LABELS + 200 * NOISE), {"file size"}, "error"),
    "format": (by_header(format=["PNG" if k else "JPEG" for k in LABELS]), {"format"}, "error"),
    "JPEG quality": (by_look(jpeg_quality=np.where(LABELS, 95, 75)), {"JPEG quality"}, "error"),
    "mean colour": (by_look(red=60 + 70 * LABELS + NOISE), {"mean colour"}, "warning"),
    "border": (by_look(border_blue=60 + 70 * LABELS + NOISE), {"border"}, "warning"),
}


@pytest.mark.parametrize("attribute", SHORTCUTS)
def test_an_attribute_that_tells_the_class_is_named(tmp_path: Path, attribute: str) -> None:
    change, expected, severity = SHORTCUTS[attribute]
    found = list(find_shortcuts(change(tmp_path)))
    named = {finding.message.partition(" alone")[0]: finding for finding in found}
    assert named.keys() == expected
    assert named[attribute].severity == severity
    assert "guessing has 50.0%" in named[attribute].message
    assert "(95 % interval" in named[attribute].message


def test_a_side_is_the_side_as_seen_not_as_stored(tmp_path: Path) -> None:
    """Cameras turn by EXIF: all of these pictures are 400 wide once upright."""
    turned = LABELS == 1
    evidence = make_evidence(tmp_path, LABELS, looks={"orientation": np.where(turned, 6, 1)})
    stored = with_files(
        evidence, width_px=np.where(turned, 300, 400).tolist(), height_px=np.where(turned, 400, 300).tolist()
    )
    assert list(find_shortcuts(stored)) == []


def test_chance_is_no_shortcut(tmp_path: Path) -> None:
    """Attributes drawn at random, twenty times: an interval of 95 % errs, but not by a fifth."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        evidence = with_files(
            make_evidence(tmp_path / str(seed), LABELS), size_bytes=rng.integers(1, 9999, 120)
        )
        assert list(find_shortcuts(evidence)) == []


def test_a_weak_shortcut_is_a_warning(tmp_path: Path) -> None:
    sizes = np.where(np.arange(120) % 5 == 0, 1 - LABELS, LABELS) * 5000 + 20_000
    (found,) = find_shortcuts(with_files(make_evidence(tmp_path, LABELS), size_bytes=sizes))
    assert (found.severity, found.message[:9]) == ("warning", "file size")
    (measured,) = [
        m
        for m in measure_shortcuts(with_files(make_evidence(tmp_path, LABELS), size_bytes=sizes))
        if m.attribute == "file size"
    ]
    assert measured.accuracy == pytest.approx(0.8)
    low, high = measured.interval
    assert low < 0.8 < high


def test_few_pictures_prove_nothing(tmp_path: Path) -> None:
    labels = LABELS[:20]
    evidence = with_files(make_evidence(tmp_path, labels), size_bytes=1000 + 5000 * labels)
    assert list(find_shortcuts(evidence)) == []
