"""Whether there are classes enough, and pictures enough of each: to learn, and to measure."""

from collections.abc import Iterator, Sequence

import numpy as np

from headstart.data.dataset import Dataset
from headstart.evaluation.checks.finding import Finding
from headstart.metrics.intervals import wilson_interval

TOO_WIDE = 0.2
"""Width of the interval of an accuracy of 90 % at which a class is too small to measure (36 pictures)."""

_UNEVEN, _VERY_UNEVEN = 3, 10
_SHOWN = 10


def find_balance(dataset: Dataset) -> Iterator[Finding]:
    """One class only, classes too small, classes of very different size."""
    learning = _counts(dataset, tested=False)
    testing = _counts(dataset, tested=True)
    has_test = any(testing.values())
    if len([n for n in learning.values() if n]) < 2:
        only = next((name for name, n in learning.items() if n), "none")
        yield Finding(
            "one_class",
            "error",
            (),
            1.0,
            f"there are training pictures of one class only, {only!r}",
            "Add a second class: a folder of pictures that show something else.",
        )
    if few := {name: n for name, n in learning.items() if n < 2}:
        yield Finding(
            "too_few_to_learn",
            "error",
            _files(dataset, few),
            1.0,
            f"{_name(few)} have fewer than 2 training pictures",
            "Add pictures, or remove the class; training refuses it as it is.",
        )
    measured = testing if has_test else learning
    if small := {name: n for name, n in measured.items() if _width(n) > TOO_WIDE}:
        where = "in the test split" if has_test else "in all"
        yield Finding(
            "too_few_to_measure",
            "warning",
            (),
            len(small) / len(measured),
            f"{_name(small)}: so few pictures {where} that an accuracy of 90 % is "
            "uncertain by 10 points or more",
            "Add pictures of these classes before you trust their numbers.",
        )
    yield from _imbalance(learning)


def _imbalance(learning: dict[str, int]) -> Iterator[Finding]:
    counts = {name: n for name, n in learning.items() if n}
    if len(counts) < 2:
        return
    largest, smallest = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
    ratio = counts[largest] / counts[smallest]
    if ratio >= _UNEVEN:
        yield Finding(
            "imbalance",
            "warning" if ratio >= _VERY_UNEVEN else "info",
            (),
            1 - 1 / ratio,
            f"{largest!r} has {counts[largest]:,} training pictures, {smallest!r} "
            f"{counts[smallest]:,}: {ratio:.1f} times as many",
            "Train with --balance, and look at each class's recall rather than at accuracy.",
        )


def _counts(dataset: Dataset, *, tested: bool) -> dict[str, int]:
    index = {name: k for k, name in enumerate(dataset.classes)}
    rows = [index[s.label] for s in dataset.samples if (s.split == "test") == tested]
    counts = np.bincount(np.array(rows, np.int64), minlength=len(index))
    return dict(zip(dataset.classes, counts.tolist(), strict=True))


def _files(dataset: Dataset, names: dict[str, int]) -> tuple[str, ...]:
    return tuple(s.file.path for s in dataset.samples if s.label in names and s.split != "test")


def _width(n: int) -> float:
    low, high = wilson_interval(0.9 * n, n)
    return high - low


def _name(counts: dict[str, int]) -> str:
    shown: Sequence[str] = [
        f"{name!r} ({n})" for name, n in sorted(counts.items(), key=lambda c: c[1])[:_SHOWN]
    ]
    more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
    return ", ".join(shown) + more
