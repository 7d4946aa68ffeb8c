"""A finding a picture, or one for all where most of a set is alike."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.finding import Finding, Kind, Severity

MOST = 0.3
"""Share of a set above which what holds for a picture is told once, of the set."""

_FEW = 20


def by_picture(  # noqa: PLR0913 - what a finding consists of
    kind: Kind,
    paths: Sequence[str],
    found: NDArray[np.bool_],
    scores: NDArray[np.floating],
    message: str,
    advice: str,
    *,
    severity: Severity = "warning",
) -> Iterator[Finding]:
    """A finding for each picture found; one of all of them where they are much of a set.

    Args:
        kind: Of all.
        paths: Of N pictures.
        found: Which it concerns, `(N,)`.
        scores: `(N,)`.
        message: About one picture.
        advice: For one picture.
        severity: Of a single picture; what holds for most of a set is told as `info`.
    """
    there = np.flatnonzero(found)
    rows = there[np.argsort(-scores[there], kind="stable")].tolist()
    if len(rows) > max(_FEW, MOST * len(paths)):
        yield Finding(
            kind,
            "info",
            tuple(paths[row] for row in rows),
            float(np.clip(len(rows) / len(paths), 0, 1)),
            f"{len(rows):,} of {len(paths):,} pictures: {message}",
            advice,
        )
        return
    for row in rows:
        yield Finding(kind, severity, (paths[row],), float(np.clip(scores[row], 0, 1)), message, advice)
