"""Means and gains of trainings on the same images bound what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from headstart.metrics.intervals import wilson_interval
from headstart.metrics.paired import mean_accuracy, mean_gain


def pair(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two classifiers, `(1, N)` each, from the counts of a table."""
    counts = (both, only_a, only_b, neither)
    return np.repeat([[True, True, False, False]], counts, 1), np.repeat(
        [[True, False, True, False]], counts, 1
    )


@pytest.mark.parametrize(
    ("counts", "limits"),
    [
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        ((53, 1, 0, 0), (-0.0496, 0.0977)),
        ((0, 29, 1, 0), (0.6666, 0.9882)),
    ],
)
def test_gain_of_one_training_each_is_newcombes(
    counts: tuple[int, int, int, int], limits: tuple[float, float]
) -> None:
    a, b = pair(*counts)
    gain = mean_gain(a, b)
    assert gain.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (gain.low, gain.high) == pytest.approx(limits, abs=1e-4)


@given(*[st.integers(0, 80)] * 4)
def test_gain_is_antisymmetric_and_holds_its_value(both: int, only_a: int, only_b: int, neither: int) -> None:
    a, b = pair(both, only_a, only_b, neither + 1)
    there, back = mean_gain(a, b), mean_gain(b, a)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_interval_of_one_training_is_wilsons() -> None:
    correct = np.arange(80)[None] < 73
    accuracy = mean_accuracy(correct)
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson_interval(73, 80))
    assert accuracy.value == 73 / 80


def test_seeds_that_agree_add_nothing_and_seeds_that_differ_widen() -> None:
    correct = np.arange(100)[None] < 90
    same = np.repeat(correct, 3, axis=0)
    differing = np.stack([np.arange(100) < right for right in (85, 90, 95)])
    one, three, spread = mean_accuracy(correct), mean_accuracy(same), mean_accuracy(differing)
    assert (three.low, three.high) == pytest.approx((one.low, one.high))
    seeds, images = 0.05 / 3**0.5, (one.value - one.low) / 1.959964
    freedom = 2 * (seeds**2 + images**2) ** 2 / seeds**4
    expected = stats.t.ppf(0.975, freedom) * np.hypot(seeds, images)
    assert spread.value - spread.low == pytest.approx(expected)
    assert mean_gain(same, differing).low < mean_gain(same, same).low < 0


@pytest.mark.parametrize("n_seeds", [1, 2, 3, 5])
def test_where_seeds_decide_all_the_interval_is_students(n_seeds: int) -> None:
    correct = np.arange(1_000_000) < 1000 * np.linspace(400, 600, n_seeds)[:, None]
    accuracy, accuracies = mean_accuracy(correct), correct.mean(axis=1)
    if n_seeds > 1:
        expected = stats.t.ppf(0.975, n_seeds - 1) * accuracies.std(ddof=1) / n_seeds**0.5
        assert accuracy.value - accuracy.low == pytest.approx(min(expected, accuracy.value), rel=1e-3)
    else:
        assert accuracy.value - accuracy.low < 0.002


@pytest.mark.parametrize("n_seeds", [2, 3])
def test_gain_covers_the_truth_of_simulated_trainings(n_seeds: int) -> None:
    rng = np.random.default_rng(0)
    held, repeats, truth = 0, 600, 0.05
    for _ in range(repeats):
        ease = rng.random(300)
        seeds = rng.normal(0, 0.02, (2, n_seeds, 1))
        a, b = ease < 0.90 + seeds[0], ease + rng.normal(0, 0.02, 300) < 0.85 + seeds[1]
        gain = mean_gain(a, b)
        held += gain.low <= truth <= gain.high
    assert held / repeats > 0.93


def test_nothing_and_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one of each; got \(0, 4\)"):
        mean_accuracy(np.ones((0, 4), bool))
    with pytest.raises(ValueError, match="same images; got 4 and 5"):
        mean_gain(np.ones((1, 4), bool), np.ones((1, 5), bool))
