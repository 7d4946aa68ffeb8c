"""Intervals bound what they promise, and equal the textbook's and scipy's values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.metrics.intervals import bootstrap_interval, macro_f1_interval, mcnemar_exact, wilson_interval


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy(n: int, share: float, confidence: float) -> None:
    successes = round(share * n)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_holds_the_proportion_and_stays_within_0_and_1(right: int, wrong: int) -> None:
    low, high = wilson_interval(right, right + wrong)
    assert 0 <= low <= high <= 1
    if right + wrong:
        assert low <= right / (right + wrong) <= high
        assert low < high


def test_wilson_at_the_ends() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_wilson_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match=r"within 0..n; got 3 of 2"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match=r"between 0 and 1, such as 0\.95; got 95"):
        wilson_interval(1, 2, confidence=95)


def test_bootstrap_of_a_mean_agrees_with_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(lambda index: float(values[index].mean()), 400, seed=1)
    error = values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02
    )
    assert (low, high) == bootstrap_interval(lambda index: float(values[index].mean()), 400, seed=1)
    with pytest.raises(ValueError, match="got n=0"):
        bootstrap_interval(lambda _: 0.0, 0, seed=0)


def test_macro_f1_interval_equals_the_resampling_of_samples() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(3)
    true = rng.integers(0, 4, size=300)
    predicted = np.where(rng.random(300) < 0.7, true, rng.integers(0, 4, size=300))
    confusion = np.bincount(true * 4 + predicted, minlength=16).reshape(4, 4)
    slow = bootstrap_interval(
        lambda index: f1_score(true[index], predicted[index], average="macro"), 300, seed=0, n_resamples=400
    )
    assert macro_f1_interval(confusion, seed=0, n_resamples=4000) == pytest.approx(slow, abs=0.015)


def test_macro_f1_interval_is_the_same_in_one_chunk_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    confusion = np.array([[20, 3, 0], [2, 9, 0], [0, 1, 0]])
    whole = macro_f1_interval(confusion, seed=5)
    monkeypatch.setattr("headstart.metrics.intervals._CHUNK_CELLS", 60)
    assert macro_f1_interval(confusion, seed=5) == whole


def test_macro_f1_interval_of_a_perfect_model_and_of_nothing() -> None:
    assert macro_f1_interval(np.diag([5, 0, 7]), seed=0) == (1.0, 1.0)
    with pytest.raises(ValueError, match="needs samples"):
        macro_f1_interval(np.zeros((2, 2), dtype=np.int64), seed=0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 30))
def test_mcnemar_equals_the_binomial_test(only_a: int, only_b: int, both: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * both)
    b = np.array([False] * only_a + [True] * only_b + [True] * both)
    p = mcnemar_exact(a, b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert p == pytest.approx(expected, rel=1e-6)
    assert p == pytest.approx(mcnemar_exact(b, a))


def test_mcnemar_of_thousands_does_not_underflow_and_checks_shapes() -> None:
    right, wrong = np.ones(6000, dtype=bool), np.zeros(6000, dtype=bool)
    assert mcnemar_exact(right, wrong) == 0.0
    half = np.arange(6000) % 2 == 0
    assert mcnemar_exact(half, ~half) == 1.0
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        mcnemar_exact(right[:2], wrong[:3])
