"""What pixels tell: greyscale among colour, blurry, dark, bright, without information.

Scores and limits are CleanVision's (Cleanlab, 2022), turned so that 1 is worst.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.appearance import Appearance
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.finding import Finding
from headstart.evaluation.checks.some import MOST, by_picture

DARK, BRIGHT, BLURRY, INFORMATION = 0.32, 0.95, 0.29, 0.3
_GREY_CHROMA = 0.5  # of 255: chroma subsampling leaves a grey JPEG exactly grey, rounding nearly so
_HISTOGRAM_LIMIT = 0.18


def find_looks(evidence: Evidence) -> Iterator[Finding]:
    """What to look at because of how it looks."""
    looks, paths = evidence.appearance, evidence.paths
    yield from _greyscale(evidence)
    yield from by_picture(
        "blurry",
        paths,
        sharpness(looks) < BLURRY,
        1 - sharpness(looks),
        "it is blurry even at 64 pixels",
        "Take a sharper picture, or leave it in if pictures to come are blurry, too.",
    )
    yield from by_picture(
        "dark",
        paths,
        looks["dark"] < DARK,
        1 - looks["dark"],
        "nearly all of it is dark",
        "Look whether its object can be seen; brighten it, or take it out.",
    )
    yield from by_picture(
        "bright",
        paths,
        looks["bright"] > BRIGHT,
        looks["bright"],
        "nearly all of it is white",
        "Look whether its object can be seen; take it out if not.",
    )
    information = looks["entropy"] / 10
    yield from by_picture(
        "no_information",
        paths,
        information < INFORMATION,
        1 - information,
        "it has hardly any detail",
        "Look whether it shows anything; take it out if not.",
    )


def sharpness(looks: Appearance) -> NDArray[np.float32]:
    """CleanVision's: from the edges' spread, and from the histogram's for plain pictures, `(N,)`."""
    from_edges = 1 - np.exp(-looks["edges"] / 100)
    from_histogram = 1 - np.exp(-looks["histogram_spread"] / 100)
    from_histogram[from_histogram <= _HISTOGRAM_LIMIT] = 0
    sharp: NDArray[np.float32] = np.minimum(from_edges + from_histogram, 1)
    return sharp


def _greyscale(evidence: Evidence) -> Iterator[Finding]:
    """Grey pictures, unless they are much of the set."""
    grey = evidence.appearance["chroma"] < _GREY_CHROMA
    if grey.mean() <= MOST:
        yield from by_picture(
            "greyscale",
            evidence.paths,
            grey,
            np.ones(len(evidence)),
            "it is grey, most others are in colour",
            "Nothing, if pictures to come may be grey; else drop it, or greyness is learnt.",
            severity="info",
        )
