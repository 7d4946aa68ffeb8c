"""The learning-rate range test: raise the rate until the loss explodes, and see where it fell.

One short training through the loop, its rate growing by the same factor each step (Smith 2015, "Cyclical
Learning Rates"; 2017, "Super-Convergence"). What the losses say is decided here by pure functions.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.errors import DivergedError
from headstart.progress import Advance
from headstart.training.events import Event, StepEnded

_WIDTH = 0.25  # decades: standard deviation of the smoothing
_TRAILING = 0.8  # of the running mean that tells divergence while it happens
_LEAST_STEPS = 5  # before which nothing can be said
_NOISES = 3.0  # standard errors of the smoothed loss that a fall must exceed
_CAUTION = 10.0

Reason = Literal["fall", "flat"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Losses at rising rates.

    Attributes:
        lrs: The base learning rate of each of n steps.
        losses: The loss of each step's batch, before the step, in nats.
        diverged: Whether the loss exploded before the last step.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: bool


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the losses say of the rate.

    Attributes:
        lr: To take.
        reason: `fall`: a tenth of `least`. `flat`: the loss never falls beyond its noise, so a tenth of
            the highest rate at which it has not begun to rise.
        least: Where the smoothed loss is least, or last at its level.
        steepest: Where it falls fastest for a factor of the rate; None where it does not fall.
    """

    lr: float
    reason: Reason
    least: float
    steepest: float | None


def exponential(low: float, high: float, steps: int) -> Callable[[float], float]:
    """The factor of `high` at each fraction of a phase: from low / high in the first step to 1 in the last.

    Args:
        low: Rate of the first step.
        high: Rate of the last step.
        steps: At least 2.
    """
    return lambda progress: (low / high) ** (1 - min(progress * steps / (steps - 1), 1.0))


def measure_range(
    events: Generator[Event, None, None], steps: int, n_classes: int, advance: Advance
) -> Measured:
    """Follow a training of rising rates until its last step, or until the loss explodes.

    That is where its running mean is worse than its least by more than guessing costs, ln(classes).

    Raises:
        DivergedError: The loss is no number from the beginning on.
    """
    lrs: list[float] = []
    losses: list[float] = []
    diverged, mean, least = False, 0.0, math.inf
    try:
        for event in events:
            if not isinstance(event, StepEnded):
                continue
            advance(1)
            lrs.append(event.lr)
            losses.append(event.loss)
            mean = event.loss + _TRAILING * (mean - event.loss) if len(losses) > 1 else event.loss
            least = min(least, mean)
            diverged = len(losses) > _LEAST_STEPS and mean > least + math.log(n_classes)
            if diverged or len(losses) == steps:
                break
    except DivergedError:
        if len(losses) < _LEAST_STEPS:
            raise
        diverged = True
    finally:
        events.close()
    return Measured(tuple(lrs), tuple(losses), diverged)


def smooth(lrs: ArrayLike, losses: ArrayLike) -> NDArray[np.float64]:
    """Means of the losses, weighted by a bell a quarter of a decade wide, `(n,)`.

    It looks ahead as far as back, so it does not lag, as a running mean would, towards higher rates.
    """
    return _weights(lrs) @ np.asarray(losses, np.float64)


def suggest(measured: Measured, n_classes: int) -> Suggestion:
    """Choose a rate; see `Suggestion`. A tenth, as the least loss stands at the brink of divergence."""
    lrs = np.asarray(measured.lrs)
    losses = np.minimum(measured.losses, min(measured.losses) + 2 * math.log(n_classes))  # else one explodes
    weights = _weights(lrs)
    smoothed = weights @ losses
    lowest = int(smoothed.argmin())
    noise = _standard_error(losses[: lowest + 1], smoothed[: lowest + 1]) * np.sqrt((weights**2).sum(1))
    margin = _NOISES * math.hypot(noise[0], noise[lowest])
    if smoothed[0] - smoothed[lowest] > margin:
        slopes = np.gradient(smoothed, np.log10(lrs))
        steepest = float(lrs[int(slopes[: lowest + 1].argmin())])
        return Suggestion(float(lrs[lowest]) / _CAUTION, "fall", float(lrs[lowest]), steepest)
    level = max(smoothed[0], smoothed[lowest]) + margin
    above = np.flatnonzero(smoothed > level)
    last = int(above[0]) - 1 if len(above) else len(lrs) - 1
    return Suggestion(float(lrs[max(last, 0)]) / _CAUTION, "flat", float(lrs[max(last, 0)]), None)


def _weights(lrs: ArrayLike) -> NDArray[np.float64]:
    """The share of each step in the smoothed loss at each other, `(n, n)`."""
    places = np.log10(np.asarray(lrs, np.float64))
    bells = np.exp(-0.5 * ((places[:, None] - places[None, :]) / _WIDTH) ** 2)
    return np.asarray(bells / bells.sum(1, keepdims=True))


def _standard_error(losses: Sequence[float] | NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Of one step's loss about the smoothed one."""
    return float(np.sqrt(np.mean((np.asarray(losses) - smoothed) ** 2)))
