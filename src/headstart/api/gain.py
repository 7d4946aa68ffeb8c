"""Gain: how far some trainings are ahead of others on the same test images, and how sure that is."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.api.outcome import read_test
from headstart.data.files import natural_key
from headstart.errors import ConfigError, RunError
from headstart.metrics.intervals import mcnemar_exact
from headstart.metrics.paired import Estimate, mean_accuracy, mean_gain
from headstart.run.folder import RunFolder

_SHOWN = 3

Runs = str | Path | Iterable[str | Path]


@dataclass(frozen=True, slots=True, eq=False)
class PairedGain:
    """How far the test accuracy of some runs lies above that of others, on the same images.

    Attributes:
        runs: Trainings that differ in their seed alone.
        over: Those that they are held against.
        accuracy: Of `runs`, the mean over their seeds.
        baseline: Of `over`.
        gain: `accuracy` less `baseline`. Images that all find easy say nothing about it, so its interval
            is narrower than the two others suggest.
        p_value: Exact McNemar test that a training of either side errs as often; None where a side has
            several trainings, whose seeds the test knows nothing of.
        images: Test images.
    """

    runs: tuple[Path, ...]
    over: tuple[Path, ...]
    accuracy: Estimate
    baseline: Estimate
    gain: Estimate
    p_value: float | None
    images: int

    def lines(self) -> list[str]:
        """The gain in points, what it is of, and what its interval counts."""
        value, low, high = (f"{100 * x:+z.1f}" for x in (self.gain.value, self.gain.low, self.gain.high))
        p_text = "" if self.p_value is None else f", exact McNemar p = {self.p_value:.2g}"
        seeds = " and of seeds" if self.p_value is None else "; what the seed does is not in it"
        return [
            f"Gain: {value} points (95 % interval {low} to {high}{p_text})",
            (
                f"Test accuracy {_describe(self.accuracy)} over {_describe(self.baseline)}, on the same "
                f"{self.images:,} images. The interval is for the choice of test images{seeds}."
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, numbers and None."""
        numbers = {name: asdict(getattr(self, name)) for name in ("accuracy", "baseline", "gain")}
        sides = {"runs": [str(run) for run in self.runs], "over": [str(run) for run in self.over]}
        return {**sides, **numbers, "mcnemar_p": self.p_value, "images": self.images}


def gain(runs: Runs, over: Runs) -> PairedGain:
    """Measure how far some runs are ahead of others on the test images that all of them were measured on.

    Args:
        runs: A run folder, or several that differ in their seed alone.
        over: What to hold them against, likewise.

    Raises:
        ConfigError: A side has no run.
        RunError: A run has no test split, or the runs were measured on different images.
        RunNotFoundError: There is no run at one of these places.
        DamagedRunError: A run's predictions are missing or damaged.
    """
    ours, theirs = _paths(runs), _paths(over)
    if not ours or not theirs:
        raise ConfigError("A gain needs at least one run on either side.")
    correct = [_read(path) for path in (*ours, *theirs)]
    images = sorted(correct[0])
    for path, other in zip((*ours, *theirs)[1:], correct[1:], strict=True):
        _check_same(ours[0], correct[0].keys(), path, other.keys())
    table = np.array([[answers[image] for image in images] for answers in correct], np.bool_)
    first, second = table[: len(ours)], table[len(ours) :]
    single = len(ours) == len(theirs) == 1
    return PairedGain(
        runs=ours,
        over=theirs,
        accuracy=mean_accuracy(first),
        baseline=mean_accuracy(second),
        gain=mean_gain(first, second),
        p_value=mcnemar_exact(first[0], second[0]) if single else None,
        images=len(images),
    )


def _describe(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _paths(runs: Runs) -> tuple[Path, ...]:
    listed: Iterable[str | Path] = [runs] if isinstance(runs, str | os.PathLike) else runs
    return tuple(Path(run) for run in listed)


def _read(path: Path) -> dict[str, bool]:
    """Whether each test image of a run was predicted rightly, by its path."""
    run = RunFolder.open(path)
    images, correct = read_test(run)
    if not images:
        raise RunError(
            f"{path} was measured on no test split, so a gain has no images to be counted on. Train it on "
            "data with a test/ folder, or with --test-fraction 0.2."
        )
    return dict(zip(images, correct.tolist(), strict=True))


def _check_same(first: Path, images: Iterable[str], other: Path, others: Iterable[str]) -> None:
    """Refuse runs that were measured on different images.

    Raises:
        RunError: They were; names some that only one has.
    """
    if alone := sorted(set(images) ^ set(others), key=natural_key):
        shown = ", ".join(alone[:_SHOWN]) + (", ..." if len(alone) > _SHOWN else ".")
        raise RunError(
            f"{first} and {other} were measured on different images, so their gain can't be told: "
            f"{len(alone):,} are only in one, such as {shown} Measure both on the same test split."
        )
