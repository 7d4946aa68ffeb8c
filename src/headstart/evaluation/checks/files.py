"""What files and headers tell: unreadable, named wrongly, turned by EXIF, tiny, of an odd shape."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from headstart.data.files import Skipped
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.finding import Finding, Kind
from headstart.evaluation.checks.some import by_picture

TINY_PX = 64
ODD_ASPECT = 0.35
"""CleanVision's limit for the shorter side divided by the longer."""

_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"},
}


def find_unreadable(skipped: Sequence[Skipped]) -> Iterator[Finding]:
    """Files that training would leave out, each with its reason."""
    for skip in skipped:
        kind: Kind = "truncated" if "truncated" in skip.reason else "unreadable"
        yield Finding(
            kind, "warning", (skip.path,), 1.0, skip.reason, "Save or fetch it again; training leaves it out."
        )


def find_file_findings(evidence: Evidence) -> Iterator[Finding]:
    """Wrong extension, EXIF rotation, tiny, odd aspect."""
    yield from _wrong_extensions(evidence)
    yield from _rotated(evidence)
    sizes = np.array([(s.file.width_px, s.file.height_px) for s in evidence.dataset.samples])
    shorter, longer = sizes.min(axis=1), sizes.max(axis=1)
    yield from by_picture(
        "tiny",
        evidence.paths,
        shorter < TINY_PX,
        1 - shorter / TINY_PX,
        "its shorter side has fewer than 64 pixels",
        "Use larger originals if there are any; the network enlarges it and sees no detail.",
    )
    yield from by_picture(
        "odd_aspect",
        evidence.paths,
        shorter < ODD_ASPECT * longer,
        1 - shorter / longer,
        "its longer side is almost three times the shorter, or more",
        "Crop it to what it shows: the network sees the central square only.",
    )


def _wrong_extensions(evidence: Evidence) -> Iterator[Finding]:
    for sample in evidence.dataset.samples:
        suffix = Path(sample.file.path).suffix.lower()
        if suffix not in _SUFFIXES.get(sample.file.format, {suffix}):
            yield Finding(
                "wrong_extension",
                "info",
                (sample.file.path,),
                1.0,
                f"it is a {sample.file.format}, though its name ends in {suffix!r}",
                "Rename it; Headstart goes by the content, but other programs may go by the name.",
            )


def _rotated(evidence: Evidence) -> Iterator[Finding]:
    """Turned or mirrored by its EXIF orientation; invalid values turn nothing."""
    orientation = evidence.appearance["orientation"]
    yield from by_picture(
        "rotated",
        evidence.paths,
        (orientation >= 2) & (orientation <= 8),
        np.ones(len(evidence)),
        "its EXIF orientation turns it",
        "Nothing, if it looks upright below; programs that ignore EXIF will see it turned.",
        severity="info",
    )
