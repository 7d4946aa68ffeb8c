"""Curves of made features: nested subsets, intervals that cover, the class that is in need."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from blocks import Blocks
from headstart.evaluation.curve import (
    Learners,
    Measured,
    backtest,
    find_needs,
    fit_curve,
    forecast,
    measure_curve,
    plan_sizes,
)


@dataclass(frozen=True)
class Table(Blocks):
    def take(self, rows: NDArray[np.int64]) -> "Table":
        return Table(self.x[rows])


def make(
    n: int, seed: int, apart: tuple[float, ...] = (1.0, 1.0)
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clouds of 30 dimensions, each as far from the origin, in a direction of its own, as told."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(apart)
    x = rng.standard_normal((n, 30)).astype(np.float32)
    x[np.arange(n), labels] += 2 * np.array(apart, np.float32)[labels]
    return x, labels.astype(np.int64)


def learn(x: NDArray[np.float32], labels: NDArray[np.int64]) -> Learners:
    keys = [f"{row:032x}" for row in range(len(x))]
    return Learners(Table(x), keys, labels, np.arange(len(x)), int(labels.max()) + 1)


@pytest.fixture(scope="module")
def measured() -> Measured:
    test, labels = make(400, 1)
    return measure_curve(learn(*make(160, 0)), Table(test), labels, seeds=(0, 1, 2))


def test_sizes_rise_to_all_and_keep_four_of_the_smallest_class() -> None:
    assert plan_sizes(np.array([1000, 1000])) == pytest.approx([2 ** (-k / 2) for k in range(8, -1, -1)])
    assert [round(8 * share) for share in plan_sizes(np.array([8, 90]))] == [4, 6, 8]
    assert plan_sizes(np.array([2, 90])) == [1]


def test_more_images_are_better_and_all_of_them_are_solved_once(measured: Measured) -> None:
    assert list(measured.sizes) == [10, 16, 20, 30, 40, 58, 80, 114, 160]
    assert [len(answers) for answers in measured.answers] == [3] * 8 + [1]
    accuracies = [estimate.value for estimate in measured.accuracies()]
    assert accuracies[-1] > accuracies[0] + 0.05
    assert all(e.low <= e.value <= e.high for e in measured.accuracies())


def test_what_is_foretold_comes_true(measured: Measured) -> None:
    test, labels = make(400, 1)
    for some in forecast(measured):
        more = measure_curve(learn(*make(some.n, 5)), Table(test), labels, seeds=(0,))
        truth = more.accuracies()[-1].value
        assert some.accuracy.low <= truth <= some.accuracy.high
        assert some.accuracy.high - some.accuracy.low < 0.25
        assert measured.accuracies()[-1].value - 0.02 <= some.accuracy.value <= 1


def test_the_same_seed_foretells_the_same(measured: Measured) -> None:
    assert forecast(measured, seed=3) == forecast(measured, seed=3)
    assert forecast(measured, seed=3) != forecast(measured, seed=4)


def test_a_law_that_missed_widens_what_it_foretells() -> None:
    """Flat, then at once much better: no power law foresees that."""
    rng = np.random.default_rng(0)
    labels = np.zeros(300, np.int64)
    sizes = np.array([20, 40, 80, 160])
    even, sudden = (
        Measured(
            sizes,
            tuple((rng.random((1 if e is rates[-1] else 4, 300)) < e).astype(np.int64) for e in rates),
            labels,
        )
        for rates in ([0.30, 0.28, 0.26, 0.25], [0.30, 0.30, 0.30, 0.05])
    )
    assert backtest(sudden, 2) > 0.15
    assert backtest(even, 2) < 0.1
    wide, narrow = (forecast(some)[0].accuracy for some in (sudden, even))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_the_class_that_is_hard_to_find_gains_most() -> None:
    apart = (1.6, 0.7, 1.6)
    test, labels = make(600, 1, apart)
    measured = measure_curve(learn(*make(150, 0, apart)), Table(test), labels, seeds=(0, 1, 2))
    counts = {"easy": 50, "hard": 50, "easy too": 50}
    first, *others = find_needs(measured, counts)
    assert first.name == "hard"
    assert first.gain is not None
    assert first.gain.low <= first.gain.value <= first.gain.high
    assert all(other.gain is not None and other.gain.value <= first.gain.value for other in others)


def test_a_class_without_test_images_is_said_to_be_unknown(measured: Measured) -> None:
    needs = find_needs(measured, {"a": 80, "b": 80, "never tested": 3})
    assert needs[-1].name == "never tested"
    assert (needs[-1].recall, needs[-1].gain) == (None, None)


def test_copies_are_dealt_side_by_side() -> None:
    x, labels = make(64, 0)
    copies = np.repeat(np.arange(16), 4)  # of four each; the classes alternate, so two and two
    learners = Learners(Table(x), [f"{row:032x}" for row in range(64)], labels, copies, 2)
    seen: list[NDArray[np.int64]] = []

    class Spy(Table):
        def take(self, rows: NDArray[np.int64]) -> "Table":
            seen.append(rows)
            return Table(self.x[rows])

    spying = Learners(Spy(x), learners.keys, labels, copies, 2)
    measure_curve(spying, Table(x), labels, seeds=(0,))
    assert [len(rows) for rows in seen] == [8, 12, 16, 24, 32, 46, 64]
    for smaller, larger in pairwise(seen):
        assert np.isin(smaller, larger).all()
    for rows in seen[:3:2]:
        assert (np.bincount(copies[rows])[np.unique(copies[rows])] == 4).all()


def test_the_law_passes_through_what_was_measured(measured: Measured) -> None:
    law = fit_curve(measured)
    missed = 1 - law.errors(measured.sizes.astype(float))[0] - [e.value for e in measured.accuracies()]
    assert np.abs(missed).max() < 0.05
