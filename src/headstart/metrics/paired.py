"""Trainings judged on the same images, with several seeds each: means, gains, and how sure they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.metrics.intervals import wilson_interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number and its interval, `low <= value <= high`."""

    value: float
    low: float
    high: float


Verdicts = NDArray[np.bool_] | NDArray[np.float64]


def mean_accuracy(correct: Verdicts, confidence: float = 0.95) -> Estimate:
    """Mean accuracy of S trainings that differ in their seed, on the same N images.

    The interval joins two sources of chance: which images were drawn (Wilson's interval of the mean,
    as though all trainings erred on the same images) and which seeds were (the standard error of the S
    accuracies). One training tells nothing of the second, so its interval is Wilson's alone.

    Source: distances to limits add as independent errors do: Zou and Donner, "Construction of
    confidence limits about effect measures", 2008. Few seeds, that weigh the more the more they differ:
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946.

    Args:
        correct: `(S, N)`, whether each training is right on each image, or in which share of its answers.
        confidence: Such as 0.95.

    Raises:
        ValueError: There is no training or no image.
    """
    part = _Part.of(correct, confidence)
    low = part.mean - _distance(part.below, [part], confidence)
    high = part.mean + _distance(part.above, [part], confidence)
    return Estimate(part.mean, max(low, 0.0), min(high, 1.0))


def mean_gain(correct: Verdicts, baseline: Verdicts, confidence: float = 0.95) -> Estimate:
    """How far the mean accuracy of some trainings lies above that of others on the same N images.

    Images that both find easy say nothing, so the interval is narrower than two separate ones would
    suggest. With one training on either side it is Newcombe's; seeds widen it as in `mean_accuracy`.

    Source: Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", 1998, method 10.

    Args:
        correct: `(S, N)`, as for `mean_accuracy`.
        baseline: `(T, N)`, the same images in the same order.
        confidence: Such as 0.95.

    Raises:
        ValueError: There is no training or no image, or the two judge different numbers of images.
    """
    a, b = _Part.of(correct, confidence), _Part.of(baseline, confidence)
    if len(a.per_image) != len(b.per_image):
        raise ValueError(f"both must judge the same images; got {len(a.per_image)} and {len(b.per_image)}")
    value, phi = a.mean - b.mean, _correlation(a, b)

    def distance(of_a: float, of_b: float) -> float:
        images = max(of_a * of_a - 2 * phi * of_a * of_b + of_b * of_b, 0.0)
        return _distance(math.sqrt(images), [a, b], confidence)

    low, high = value - distance(a.below, b.above), value + distance(a.above, b.below)
    return Estimate(value, max(low, -1.0), min(high, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One side of a comparison.

    Attributes:
        mean: Accuracy over trainings and images.
        below: From the mean to the lower limit, as far as images decide.
        above: To the upper one.
        seed_error: Standard error of the mean, as far as seeds decide; 0 for one training.
        n_seeds: Trainings.
        per_image: Share of the trainings that are right, `(N,)`.
    """

    mean: float
    below: float
    above: float
    seed_error: float
    n_seeds: int
    per_image: NDArray[np.float64]

    @classmethod
    def of(cls, correct: Verdicts, confidence: float) -> "_Part":
        if correct.ndim != 2 or not correct.size:
            raise ValueError(
                f"correct must be (trainings, images), at least one of each; got {correct.shape}"
            )
        n_seeds, n = correct.shape
        mean = float(correct.mean())
        low, high = wilson_interval(mean * n, n, confidence)
        spread = float(correct.mean(axis=1).std(ddof=1)) if n_seeds > 1 else 0.0
        return cls(mean, mean - low, high - mean, spread / math.sqrt(n_seeds), n_seeds, correct.mean(axis=0))


def _distance(images: float, parts: Sequence[_Part], confidence: float) -> float:
    """From a number to its limit.

    Args:
        images: The same if images alone decided.
        parts: Whose seeds decide as well.
        confidence: Such as 0.95.
    """
    from scipy.special import ndtri, stdtrit

    z = float(ndtri(0.5 + confidence / 2))
    variances = [part.seed_error**2 for part in parts]
    total = (images / z) ** 2 + sum(variances)
    doubt = sum(v * v / (part.n_seeds - 1) for v, part in zip(variances, parts, strict=True) if v)
    if not doubt:
        return images
    return float(stdtrit(total * total / doubt, 0.5 + confidence / 2)) * math.sqrt(total)


def _correlation(a: _Part, b: _Part) -> float:
    """How far both are right on the same images; 0 where one is right on all or on none."""
    scale = math.sqrt(a.mean * (1 - a.mean) * b.mean * (1 - b.mean))
    if scale == 0:
        return 0.0
    covariance = float((a.per_image * b.per_image).mean()) - a.mean * b.mean
    if covariance > 0:  # Newcombe's correction for continuity
        covariance = max(covariance - 0.5 / len(a.per_image), 0.0)
    return covariance / scale
