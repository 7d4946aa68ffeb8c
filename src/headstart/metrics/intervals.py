"""How sure a measured number is: intervals, and a paired test of two classifiers."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_CHUNK_CELLS = 4_000_000  # resampled counts held at once: 32 MB of int64


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bound a proportion from `successes` out of `n` trials.

    The score interval keeps its coverage for small `n` and for proportions near 0 and 1, where the
    textbook's p ± 1.96 standard errors collapses to a point. With no trials it is (0, 1). A mean number
    of successes need not be whole.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.

    Raises:
        ValueError: `successes` is not within 0..n, or `confidence` not within (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie within 0..n; got {successes} of {n}")
    z = _two_sided_z(confidence)
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    n: int,
    *,
    seed: int,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Bound any statistic of `n` samples by resampling them with replacement (percentile bootstrap).

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Args:
        statistic: Computes the number from the indices `(n,)` of a resample; indices repeat.
        n: The number of samples.
        seed: Of the resampling; the same seed gives the same interval.
        n_resamples: How many resamples to draw.
        confidence: The share of resampled statistics that the interval holds.

    Raises:
        ValueError: There is no sample, no resample, or `confidence` is not within (0, 1).
    """
    if n < 1 or n_resamples < 1:
        raise ValueError(f"a bootstrap needs samples and resamples; got n={n}, n_resamples={n_resamples}")
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.integers(0, n, size=n)) for _ in range(n_resamples)])
    return _percentiles(values, confidence)


def macro_f1_interval(
    confusion: NDArray[np.int64], *, seed: int, n_resamples: int = 1000, confidence: float = 0.95
) -> tuple[float, float]:
    """Bound macro-F1 by a percentile bootstrap of the confusion matrix.

    F1 depends on the samples only through the confusion matrix, and resampling `n` samples with
    replacement draws the matrix from a multinomial over its non-empty cells. So the matrices are drawn
    directly, which equals `bootstrap_interval` in distribution and is hundreds of times faster. A
    class that a resample lacks is left out of that resample's average, as in `macro_f1`.

    Args:
        confusion: `(K, K)` counts, rows true and columns predicted.
        seed: Of the resampling.
        n_resamples: How many matrices to draw.
        confidence: The share of resampled values that the interval holds.

    Raises:
        ValueError: The matrix is empty, or `confidence` is not within (0, 1).
    """
    n = int(confusion.sum())
    if n < 1 or n_resamples < 1:
        raise ValueError(f"a bootstrap needs samples and resamples; got n={n}, n_resamples={n_resamples}")
    true, predicted = np.nonzero(confusion)
    shares = confusion[true, predicted] / n
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // len(shares))
    values = [
        _macro_f1_of_cells(rng.multinomial(n, shares, size=min(step, n_resamples - start)), true, predicted)
        for start in range(0, n_resamples, step)
    ]
    return _percentiles(np.concatenate(values), confidence)


def mcnemar_exact(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Return the p-value that two classifiers judged on the same images are equally accurate.

    Two-sided and exact: images on which both are right or both wrong say nothing; if the two are
    equal, the others fall to either side like a fair coin. Without any such image it is 1.

    Source: McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions", 1947.

    Args:
        correct_a: `(N,)` bool, whether the first classifier is right on each image.
        correct_b: `(N,)` bool, the same of the second, in the same order.

    Raises:
        ValueError: The two differ in shape.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"both must judge the same images, (N,) each; got {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    n, fewer = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    log_tail = [_log_binomial(n, k) - n * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(math.exp(term) for term in log_tail))


def _two_sided_z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    _two_sided_z(confidence)  # checks the range
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _macro_f1_of_cells(
    counts: NDArray[np.int64], true: NDArray[np.intp], predicted: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return macro-F1 `(R,)` of R confusion matrices given as counts `(R, C)` of the same C cells."""
    n_classes = int(max(true.max(), predicted.max())) + 1
    supports = _sum_by(counts, true, n_classes)
    answers = _sum_by(counts, predicted, n_classes)
    right = _sum_by(counts * (true == predicted), true, n_classes)
    # a class without support adds 0 to the sum, and is not counted below
    f1 = np.where(supports > 0, 2 * right / np.maximum(supports + answers, 1), 0.0)
    means: NDArray[np.float64] = f1.sum(axis=1) / (supports > 0).sum(axis=1)
    return means


def _sum_by(counts: NDArray[np.int64], key: NDArray[np.intp], n_keys: int) -> NDArray[np.int64]:
    """Sum the columns of `(R, C)` that share a key, into `(R, n_keys)`."""
    order = np.argsort(key, kind="stable")
    present, starts = np.unique(key[order], return_index=True)
    sums = np.zeros((len(counts), n_keys), dtype=np.int64)
    sums[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
