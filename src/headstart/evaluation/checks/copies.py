"""Copies: inside a class, across classes (conflicts), across splits (leaks), and what leaks are worth."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.data.splits import make_groups
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.finding import Finding
from headstart.evaluation.checks.predictions import LeakWorth

_NEAR_SCORE = 0.9  # of a near-duplicate; an exact copy has 1


def find_copies(evidence: Evidence, worth: LeakWorth | None) -> Iterator[Finding]:
    """Sets of copies, each told as the worst that it is."""
    for rows in picture_sets(evidence):
        keys = {evidence.keys[row] for row in rows}
        labels = {int(evidence.labels[row]) for row in rows}
        tested = evidence.in_test[rows]
        harmless = len(labels) == 1 and (tested.all() or not tested.any())
        if len(labels) > 1:
            yield _conflict(evidence, rows, exact=len(keys) == 1)
        if tested.any() and not tested.all():
            yield _leak(evidence, rows, worth, exact=_exact_leak(evidence, rows))
        if harmless:
            yield _harmless(evidence, rows, exact=len(keys) == 1)


def picture_sets(evidence: Evidence) -> list[NDArray[np.int64]]:
    """Rows that show the same picture, sets of two or more; whoever resembles one of a set belongs to it."""
    groups = make_groups(evidence.keys, [None] * len(evidence), evidence.near)
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    return [np.array(rows) for rows in members.values() if len(rows) > 1]


def leaked_rows(evidence: Evidence) -> NDArray[np.bool_]:
    """Whether a picture has a copy on the other side of the test split, `(N,)`."""
    leaked = np.zeros(len(evidence), np.bool_)
    for rows in picture_sets(evidence):
        tested = evidence.in_test[rows]
        leaked[rows] = tested.any() and not tested.all()
    return leaked


def _conflict(evidence: Evidence, rows: NDArray[np.int64], *, exact: bool) -> Finding:
    names = [repr(evidence.dataset.classes[k]) for k in sorted(set(evidence.labels[rows].tolist()))]
    what = "the same file" if exact else "the same picture"
    return Finding(
        "conflict",
        "error",
        _files(evidence, rows),
        1.0 if exact else _NEAR_SCORE,
        f"{what} is labelled {' and '.join(names)}",
        "Keep it under the right label and drop the others.",
    )


def _leak(evidence: Evidence, rows: NDArray[np.int64], worth: LeakWorth | None, *, exact: bool) -> Finding:
    tested = [row for row in rows if evidence.in_test[row]]
    learnt = [row for row in rows if not evidence.in_test[row]]
    what = "an exact copy" if exact else "a near-duplicate"
    price = "" if worth is None else f" {worth.describe()}"
    return Finding(
        "leak",
        "error",
        _files(evidence, np.array([*tested, *learnt])),
        1.0 if exact else _NEAR_SCORE,
        f"a test picture has {what} outside the test split.{price}",
        "Drop it on one side, from the test split for preference: what was learnt by heart is no test.",
    )


def _harmless(evidence: Evidence, rows: NDArray[np.int64], *, exact: bool) -> Finding:
    what = "copies of one file" if exact else "one picture in several versions"
    return Finding(
        "exact_duplicate" if exact else "near_duplicate",
        "info",
        _files(evidence, rows),
        1.0 if exact else _NEAR_SCORE,
        f"{what}, {len(rows)} of them",
        "Keep one; Headstart keeps the others on the same side of every split, but they teach little.",
    )


def _exact_leak(evidence: Evidence, rows: NDArray[np.int64]) -> bool:
    tested = {evidence.keys[row] for row in rows if evidence.in_test[row]}
    return any(evidence.keys[row] in tested for row in rows if not evidence.in_test[row])


def _files(evidence: Evidence, rows: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(evidence.paths[row] for row in rows)
