"""Turn logits into probabilities that mean what they say."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0

_CHUNK_VALUES = 4_000_000  # logits raised to float64 at once: 32 MB
_MAX_STEPS = 60
_TOLERANCE = 1e-8  # of log T


def softmax(logits: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Return probabilities of the logits' shape, in float64; logits of any size don't overflow."""
    z = np.asarray(logits, dtype=np.float64)
    powers = np.exp(z - z.max(axis=axis, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=axis, keepdims=True)
    return probabilities


def log_softmax(logits: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Return log probabilities of the logits' shape, in float64; exact where `log(softmax)` is -inf."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=axis, keepdims=True)
    logs: NDArray[np.float64] = z - np.log(np.exp(z).sum(axis=axis, keepdims=True))
    return logs


def fit_temperature(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Find the T for which `softmax(logits / T)` gives the labels the most likelihood.

    The sum of the images' negative log-likelihoods is convex in 1/T. To it is added the penalty
    (log T)² / 2, a Gaussian prior on log T with a standard deviation of 1. On hundreds of images it
    is nothing; on ten, or on images that are all classified rightly (whose likelihood would grow
    until T is 0), it keeps T near 1. The minimum is found by Newton's method on log T, inside
    brackets that bisection narrows where a Newton step would leave them.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.

    Args:
        logits: `(N, K)`, from a model that has not been fitted on these images.
        labels: `(N,)` int, indices of the true classes.
        weights: `(N,)`, not negative; scaled to a mean of 1. None weighs all images alike.

    Returns:
        T within 0.05 to 20; 1.0 if there are no images.

    Raises:
        ValueError: Shapes disagree, a logit is not finite, a label has no logit, or a weight is negative.
    """
    z = np.asarray(logits)
    y = np.asarray(labels)
    w = _checked_weights(z, y, weights)
    if len(z) == 0 or w.sum() == 0:
        return 1.0
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    if _slopes(z, y, w, low)[0] >= 0:
        return MIN_TEMPERATURE
    if _slopes(z, y, w, high)[0] <= 0:
        return MAX_TEMPERATURE
    log_t = 0.0
    for _ in range(_MAX_STEPS):
        slope, curvature = _slopes(z, y, w, log_t)
        low, high = (low, log_t) if slope > 0 else (log_t, high)
        step = log_t - slope / curvature if curvature > 0 else math.nan
        following = step if low <= step <= high else (low + high) / 2
        if abs(following - log_t) < _TOLERANCE:
            break
        log_t = following
    return math.exp(log_t)


def _slopes(
    z: NDArray[np.float64], y: NDArray[np.intp], w: NDArray[np.float64], log_t: float
) -> tuple[float, float]:
    """Return the first and second derivative by log T of the penalised negative log-likelihood."""
    beta = math.exp(-log_t)
    first = second = 0.0  # by beta = 1/T
    step = max(1, _CHUNK_VALUES // z.shape[1])
    for start in range(0, len(z), step):
        part = slice(start, start + step)
        raw = np.asarray(z[part], dtype=np.float64)
        raw = raw - raw.max(axis=1, keepdims=True)
        p = softmax(beta * raw)
        mean = (p * raw).sum(axis=1)
        variance = (p * (raw - mean[:, None]) ** 2).sum(axis=1)
        first += float(w[part] @ (mean - raw[np.arange(len(raw)), y[part]]))
        second += float(w[part] @ variance)
    return log_t - beta * first, 1 + beta * first + beta * beta * second


def _checked_weights(
    z: NDArray[np.float64], y: NDArray[np.intp], weights: ArrayLike | None
) -> NDArray[np.float64]:
    if z.ndim != 2 or y.shape != z.shape[:1]:
        raise ValueError(f"logits must be (N, K) and labels (N,); got {z.shape} and {y.shape}")
    if len(z) and (y.min() < 0 or y.max() >= z.shape[1]):
        raise ValueError(f"labels must lie within 0..{z.shape[1] - 1}; got {y.min()}..{y.max()}")
    if not np.isfinite(z).all():
        raise ValueError("logits must be finite; some are infinite or NaN")
    if weights is None:
        return np.ones(len(z))
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != y.shape or (w < 0).any() or not np.isfinite(w).all():
        raise ValueError(f"weights must be (N,), finite and not negative; got shape {w.shape} for N={len(z)}")
    return w / w.mean() if w.any() else w
