"""Pictures unlike all others, and pictures that seem to be of none of the classes."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.finding import Finding
from headstart.evaluation.checks.predictions import OutOfFold

LEAST_SPREADS = 3.5
"""Spreads below the ordinary picture's nearness at which a picture is told as an outlier."""

MIN_PICTURES = 30
"""Of fewer, nobody knows what is ordinary."""

_NEIGHBOURS = 5
_MAX_REFERENCES = 2500
_BLOCK = 2048
_MAX_COSINE = 0.9999
_UNDECIDED = 0.7


def find_outliers(evidence: Evidence, said: OutOfFold | None) -> Iterator[Finding]:
    """Pictures whose nearest neighbours are far; of none of the classes where the head is undecided, too."""
    if len(evidence) < MIN_PICTURES:
        return
    spreads = far_by(nearness(evidence))
    for row in np.flatnonzero(spreads >= LEAST_SPREADS).tolist():
        undecided = said is not None and said.probabilities[row].max() < _UNDECIDED
        label = evidence.dataset.classes[evidence.labels[row]]
        yield Finding(
            "none_of_the_classes" if undecided else "outlier",
            "warning" if undecided else "info",
            (evidence.paths[row],),
            float(1 - np.exp(-spreads[row] / LEAST_SPREADS)),
            f"unlike all other pictures ({spreads[row]:.1f} spreads from the usual), labelled {label!r}"
            + (", and it looks like none of the classes" if undecided else ""),
            "Look whether it belongs here. Drop pictures of no class, or give them a class of their own.",
        )


def far_by(near: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spreads by which each picture's nearness lies below the median, `(N,)`.

    On atanh of the cosines (Fisher, 1915), whose distribution is near to normal; the spread is that from the
    16th percentile to the median, which a few outliers don't widen.
    """
    z = np.arctanh(np.clip(near, -_MAX_COSINE, _MAX_COSINE))
    lower, median = np.percentile(z, (16, 50))
    far: NDArray[np.float32] = ((median - z) / max(float(median - lower), 1e-3)).astype(np.float32)
    return far


def nearness(evidence: Evidence) -> NDArray[np.float32]:
    """Mean cosine of centred features to the nearest neighbours that are no copies, `(N,)`.

    Neighbours are sought among 2,500 evenly spread pictures: what is ordinary needs no more, and the time
    then grows with N, not its square.
    """
    n = len(evidence)
    references = np.unique(np.linspace(0, n - 1, min(_MAX_REFERENCES, n)).astype(np.int64))
    seen = evidence.features.take(references).matrix()
    mean = seen.mean(axis=0)
    seen = _unit(seen - mean)
    out = np.empty(n, np.float32)
    for rows, x in evidence.features.blocks():
        for start in range(0, len(x), _BLOCK):
            here = slice(rows.start + start, rows.start + min(start + _BLOCK, len(x)))
            cosines = _unit(x[start : start + _BLOCK] - mean) @ seen.T
            cosines[evidence.groups[here, None] == evidence.groups[references]] = -1
            k = min(_NEIGHBOURS, len(references) - 1)
            out[here] = np.partition(cosines, -k, axis=1)[:, -k:].mean(axis=1)
    return out


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit
