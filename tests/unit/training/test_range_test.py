"""What the losses at rising rates say, and when a range test ends."""

from collections.abc import Generator, Sequence

import numpy as np
import pytest

from headstart.errors import DivergedError
from headstart.training.events import Event, PhaseStarted, StepEnded
from headstart.training.range_test import Measured, exponential, measure_range, smooth, suggest

LRS = np.logspace(-6, 0, 121)


def told(losses: Sequence[float], end: Exception | None = None) -> Generator[Event, None, None]:
    yield PhaseStarted("all", 1, len(losses), 1, 1)
    for step, (lr, loss) in enumerate(zip(LRS, losses, strict=False), 1):
        yield StepEnded("all", 1, step, loss, step, lr, step)
    if end:
        raise end


def valley(noise: float, seed: int = 0) -> Measured:
    """A loss of 1 that falls by .8 around 1e-4, is least near 1e-2, and explodes above."""
    places = np.log10(LRS)
    losses = 1 - 0.8 / (1 + np.exp(-4 * (places + 4))) + np.exp(6 * (places + 1))
    return Measured(
        tuple(LRS), tuple(losses + noise * np.random.default_rng(seed).normal(size=len(LRS))), True
    )


def test_rates_rise_by_the_same_factor_from_the_first_to_the_last() -> None:
    factor = exponential(1e-5, 1e-1, 5)
    np.testing.assert_allclose([1e-1 * factor(k / 5) for k in range(5)], [1e-5, 1e-4, 1e-3, 1e-2, 1e-1])


@pytest.mark.parametrize("seed", range(5))
def test_a_valley_gives_a_tenth_of_its_least(seed: int) -> None:
    found = suggest(valley(0.05, seed), 2)
    assert found.reason == "fall"
    assert found.lr == pytest.approx(found.least / 10)
    assert 10**-3 < found.least < 10**-1
    assert found.steepest is not None
    assert 10**-4.7 < found.steepest < 10**-3.3


def test_smoothing_does_not_lag() -> None:
    quiet = valley(0)
    smoothed = smooth(quiet.lrs, quiet.losses)
    half = np.flatnonzero(np.asarray(smoothed) < 0.6)[0]
    assert LRS[half] == pytest.approx(1e-4, rel=0.2)


def test_where_nothing_falls_it_is_a_tenth_of_what_does_not_rise() -> None:
    rng = np.random.default_rng(1)
    losses = 0.1 + 0.02 * rng.normal(size=len(LRS)) + np.exp(6 * (np.log10(LRS) + 2))
    found = suggest(Measured(tuple(LRS), tuple(losses), True), 2)
    assert found.reason == "flat"
    assert found.steepest is None
    assert 10**-3.6 < found.least < 10**-2
    assert found.lr == pytest.approx(found.least / 10)


def test_it_stops_when_the_loss_explodes() -> None:
    losses = [0.7] * 10 + [0.5] * 5 + [5.0] * 50
    steps: list[int] = []
    measured = measure_range(told(losses), 65, 2, steps.append)
    assert measured.diverged
    assert 15 < len(measured.losses) < 20
    assert len(steps) == len(measured.losses)


def test_a_noisy_loss_does_not_end_it() -> None:
    losses = [0.7, 0.1, 1.2, 0.2] * 5
    measured = measure_range(told(losses), 20, 2, lambda _: None)
    assert not measured.diverged
    assert measured.losses == tuple(losses)


def test_no_number_ends_it_late_and_fails_it_early() -> None:
    late = measure_range(told([0.5] * 8, DivergedError("The loss is nan")), 20, 2, lambda _: None)
    assert late.diverged
    assert len(late.losses) == 8
    with pytest.raises(DivergedError, match="The loss is nan"):
        measure_range(told([0.5], DivergedError("The loss is nan")), 20, 2, lambda _: None)
