"""What was noticed about the data, a line each, for people to read."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from headstart.api.plan import SplitPlan
from headstart.data.dataset import Dataset, find_conflicts
from headstart.data.files import Skipped

_SHOWN = 5
_SHOWN_REASONS = 10
_ENOUGH_IMAGES = 20
"""Measured images below which an interval spans nearly everything."""


def describe_findings(dataset: Dataset, plan: SplitPlan) -> tuple[str, ...]:
    """Skipped files, conflicts, copies, classes of one picture, leaks."""
    return (
        *describe_skipped(dataset.skipped),
        *describe_conflicts(dataset),
        *_copies(plan),
        *_classes_of_one_picture(dataset, plan),
        *_leaks(dataset, plan),
    )


def describe_skipped(skipped: Sequence[Skipped]) -> tuple[str, ...]:
    """Which files were left out, a line for each reason, the commonest first."""
    paths: dict[str, list[str]] = defaultdict(list)
    for skip in skipped:
        paths[skip.reason].append(skip.path)
    reasons = sorted(paths, key=lambda reason: -len(paths[reason]))
    lines = [
        f"{_count(len(paths[reason]), 'file')} skipped, {reason}: {_some(paths[reason])}"
        for reason in reasons[:_SHOWN_REASONS]
    ]
    if rest := sum(len(paths[reason]) for reason in reasons[_SHOWN_REASONS:]):
        lines.append(f"{_count(rest, 'file')} skipped for other reasons; --json lists them")
    return tuple(lines)


def describe_few(n_measured: int) -> tuple[str, ...]:
    """That too few images were measured on, if they were."""
    if n_measured >= _ENOUGH_IMAGES:
        return ()
    return (f"only {_count(n_measured, 'image')} to measure on: the intervals say little",)


def describe_seen(dataset: Dataset, known: frozenset[str]) -> tuple[str, ...]:
    """That a model has learnt from images which it is measured on, or was chosen by them, if so."""
    seen = [sample.file.path for sample in dataset.samples if sample.file.key in known]
    if not seen:
        return ()
    if len(seen) == len(dataset):
        which, named = "all these", ""
    else:
        which, named = f"{len(seen):,} of the {len(dataset):,}", f": {_some(seen)}"
    told = (
        f"leakage: the model learnt from or was chosen by {which} images, so the number flatters; measure on "
        f"others{named}"
    )
    return (told,)


def describe_conflicts(dataset: Dataset) -> Iterator[str]:
    """Images under several labels."""
    conflicts = find_conflicts(dataset)
    for conflict in conflicts[:_SHOWN]:
        labels = " and ".join(repr(label) for label in dict.fromkeys(conflict.labels))
        yield f"conflict: the same image is labelled {labels}; remove the wrong one: {_some(conflict.paths)}"
    if len(conflicts) > _SHOWN:
        yield f"conflict: {_count(len(conflicts) - _SHOWN, 'more image')} with several labels"


def _copies(plan: SplitPlan) -> Iterator[str]:
    learning = plan.groups[plan.parts != "test"]
    copies = len(learning) - len(np.unique(learning))
    if copies:
        verb = (
            "repeats others or belongs to their group"
            if copies == 1
            else "repeat others or belong to their groups"
        )
        yield f"{_count(copies, 'training image')} {verb}; each group stays in one fold"


def _classes_of_one_picture(dataset: Dataset, plan: SplitPlan) -> Iterator[str]:
    """Classes that disappear whole when they are held out: their numbers say nothing."""
    rows = plan.rows("train")
    labels = dataset.class_indices()[rows]
    for position, name in enumerate(dataset.classes):
        groups = plan.groups[rows[labels == position]]
        if len(np.unique(groups)) == 1:
            yield (
                f"class {name!r} has one picture in effect: all of its {len(groups):,} training images are "
                "copies, near-duplicates or of one group, so cross-validation can't tell how well it is "
                "found. Add different images."
            )


def _leaks(dataset: Dataset, plan: SplitPlan) -> Iterator[str]:
    leaked = [dataset.samples[row].file.path for row in plan.leaked]
    if leaked:
        verb = "has" if len(leaked) == 1 else "have"
        yield (
            f"leakage: {_count(len(leaked), 'test image')} {verb} a copy, a near-duplicate or one "
            "of the same group in training, so the test number flatters; take them out of either: "
            f"{_some(leaked)}"
        )


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
