"""One temperature: found where it is known, kept near 1 where little is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import optimize, special

from headstart.metrics.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    fit_temperature,
    log_softmax,
    softmax,
)

FINITE = hnp.arrays(np.float64, (5, 4), elements=st.floats(-1e6, 1e6))


def drawn(n: int, k: int, temperature: float, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return logits that must be divided by `temperature` to give the odds by which labels were drawn."""
    rng = np.random.default_rng(seed)
    honest = 2 * rng.normal(size=(n, k))
    labels = (honest + rng.gumbel(size=(n, k))).argmax(axis=1)
    return honest * temperature, labels


def objective(log_t: float, logits: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> float:
    logs = special.log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(labels)), labels]
    return float(-weights @ logs + log_t**2 / 2)


@given(FINITE)
def test_softmax_equals_scipy(logits: NDArray[np.float64]) -> None:
    for axis in (0, 1):
        assert np.allclose(softmax(logits, axis=axis), special.softmax(logits, axis=axis), atol=1e-15)
        assert np.allclose(log_softmax(logits, axis=axis), special.log_softmax(logits, axis=axis), atol=1e-9)
    assert np.allclose(softmax(logits).sum(axis=-1), 1)


def test_softmax_is_float64_and_stable() -> None:
    p = softmax(np.array([[1e30, 0, -1e30]], dtype=np.float32))
    assert p.dtype == np.float64
    assert p.tolist() == [[1.0, 0.0, 0.0]]
    assert log_softmax([0.0, -2000.0]).tolist() == [0.0, -2000.0]


@pytest.mark.parametrize("temperature", [0.2, 0.7, 1.0, 3.0, 12.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, labels = drawn(4000, 5, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


@given(st.integers(2, 60), st.integers(2, 6), st.floats(0.1, 10), st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_no_other_temperature_is_better(n: int, k: int, temperature: float, seed: int) -> None:
    logits, labels = drawn(n, k, temperature, seed)
    weights = np.random.default_rng(seed).random(n) + 0.01
    scaled = weights / weights.mean()
    found = np.log(fit_temperature(logits, labels, weights))
    grid = np.linspace(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE), 200)
    best = min(objective(u, logits, labels, scaled) for u in grid)
    assert objective(found, logits, labels, scaled) <= best + 1e-9


def test_it_equals_a_bounded_search() -> None:
    logits, labels = drawn(500, 10, 2.5)
    reference = optimize.minimize_scalar(
        objective, bounds=(-3, 3), args=(logits, labels, np.ones(500)), options={"xatol": 1e-10}
    )
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(reference.x), rel=1e-6)


def test_ten_images_all_right_do_not_make_it_certain() -> None:
    labels = np.arange(10) % 2
    for margin in (0.5, 1.0):
        temperature = fit_temperature(margin * np.eye(2)[labels], labels)
        assert softmax([margin / temperature, 0.0])[0] < 0.97  # unguarded, it would be 1
    for margin in (5.0, 30.0):
        assert 0.75 < fit_temperature(margin * np.eye(2)[labels], labels) < 1.01


def test_ten_images_all_surely_wrong_stay_within_the_range() -> None:
    labels = np.arange(10) % 2
    assert fit_temperature(1000 * np.eye(2)[1 - labels], labels) == MAX_TEMPERATURE
    assert 1 < fit_temperature(3 * np.eye(2)[1 - labels], labels) < MAX_TEMPERATURE


def test_many_images_all_barely_right_reach_the_bound() -> None:
    labels = np.arange(5000) % 2
    assert fit_temperature(0.01 * np.eye(2)[labels], labels) == MIN_TEMPERATURE


def test_no_images_and_constant_logits_give_1() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=int)) == 1.0
    assert fit_temperature(np.zeros((5, 3)), np.zeros(5, dtype=int)) == 1.0
    assert fit_temperature(np.eye(3), [0, 1, 2], weights=[0, 0, 0]) == 1.0


def test_weights_count_as_copies_and_float32_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(300, 3, 4.0)
    rows = np.repeat(np.arange(300), 1 + np.arange(300) % 3)
    copied = fit_temperature(logits[rows], labels[rows])
    weighted = fit_temperature(logits, labels, 1.0 + np.arange(300) % 3)
    assert weighted == pytest.approx(copied, rel=0.01)  # the prior weighs a little more on fewer rows
    whole = fit_temperature(logits.astype(np.float32), labels)
    assert whole == pytest.approx(fit_temperature(logits, labels), rel=1e-5)
    monkeypatch.setattr("headstart.metrics.calibration._CHUNK_VALUES", 100)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    ("logits", "labels", "weights", "message"),
    [
        ([[1.0, 2.0]], [0, 1], None, r"got \(1, 2\) and \(2,\)"),
        ([[1.0, 2.0]], [2], None, r"within 0..1; got 2..2"),
        ([[np.inf, 2.0]], [0], None, "must be finite"),
        ([[1.0, 2.0]], [0], [-1.0], "not negative"),
        ([[1.0, 2.0]], [0], [1.0, 1.0], "got shape"),
    ],
)
def test_nonsense_is_refused(logits: Any, labels: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, labels, weights)
