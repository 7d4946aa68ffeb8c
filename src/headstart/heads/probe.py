"""The linear probe: choose how to fit a linear head by cross-validation, fit it, calibrate it.

One set of shared fits serves everything. With folds A to E, the fits without one fold give the
cross-validation that chooses the final head's strength. Where no test split exists, fits
without two folds are added: those without A and another choose the strength and the
temperature with which the fit without A predicts A, so that A's labels have no part in its own
prediction (nested cross-validation; a fit without A and B serves both A and B).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.heads.lda import fit_lda
from headstart.heads.logistic import FeatureBlocks, Floats, LogisticPath, StackedBlocks, leading_directions
from headstart.metrics.calibration import fit_temperature, log_softmax, softmax

Method = Literal["logistic", "lda"]

STRENGTHS = tuple(float(10**exponent) for exponent in np.arange(-5, 2.1, 0.5))
"""Values of C = 1 / L2, from strong to weak; the walk ends when the log loss has risen twice."""

LDA_MAX_PER_CLASS = 10
NESTED_MAX_CLASSES = 50
"""With more classes the choice among a dozen strengths biases less than nesting would cost."""

_GROUP_BYTES = 128 * 2**20
_RISES_TO_STOP = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to fit the head, and its cross-validated log loss before calibration."""

    method: Method
    c: float | None
    mirrored: bool
    log_loss: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A calibrated linear head.

    Attributes:
        weight: `(K, d)`, the temperature already divided in.
        bias: `(K,)`, likewise.
        temperature: Multiply logits by it to undo the calibration.
        method: How it was fitted.
        c: The inverse L2 strength, None for LDA.
        mirrored: Whether it was fitted on mirrored images, too.
        trials: All that was tried, in order.
        probabilities: Cross-validated calibrated probabilities of every row, `(N, K)`; each row
            predicted by a head that never saw its fold.
        uncalibrated: The same before calibration.
        nested: Whether strength and temperature were chosen without the row's own fold, too.
    """

    weight: Floats
    bias: Floats
    temperature: float
    method: Method
    c: float | None
    mirrored: bool
    trials: tuple[Trial, ...]
    probabilities: NDArray[np.float64]
    uncalibrated: NDArray[np.float64]
    nested: bool


@dataclass(frozen=True, slots=True)
class _Fit:
    """One way to fit, carried out on every subset of the rows.

    Attributes:
        head: Weight `(K, d)` and bias `(K,)` from all rows.
        logits: Of every row under every subset's head, `(K, P, N)`.
    """

    method: Method
    c: float | None
    mirrored: bool
    head: tuple[Floats, Floats]
    logits: Floats


def fit_probe(  # noqa: PLR0913 - four facts about the rows, four choices with defaults
    features: FeatureBlocks,
    labels: NDArray[np.int64],
    n_classes: int,
    folds: NDArray[np.int64],
    *,
    mirrored: FeatureBlocks | None = None,
    choose_view: bool = True,
    balance: bool = False,
    nested: bool = True,
) -> Probe:
    """Choose, fit and calibrate a linear head.

    Args:
        features: N rows of d features, whole or streaming.
        labels: Class indices `(N,)`.
        n_classes: K, at least 2.
        folds: Fold of each row `(N,)`, from 0; duplicates and groups share one.
        mirrored: Features of the mirrored images, row for row. They only teach; the centre view alone
            is predicted.
        choose_view: Let cross-validation decide whether to use `mirrored`; else it is used.
        balance: Weight each class's images by N / (K n_class).
        nested: Also keep each fold out of the choice that predicts it.
    """
    n_folds = int(folds.max()) + 1
    nested = nested and n_folds > 2 and n_classes <= NESTED_MAX_CLASSES
    subsets = _Subsets.plan(folds, n_folds, nested)
    weights = _class_weights(labels, n_classes, balance)
    fits: list[_Fit] = []
    if mirrored is None or choose_view:
        fits += _logistic_fits((features,), labels, n_classes, subsets, weights)
    if mirrored is not None:
        fits += _logistic_fits((features, mirrored), labels, n_classes, subsets, weights)
    if len(labels) <= LDA_MAX_PER_CLASS * n_classes:
        fits.append(_lda_fit(features, labels, n_classes, subsets))
    trials = tuple(
        Trial(fit.method, fit.c, fit.mirrored, _log_loss(subsets.out_of_fold(fit), labels)) for fit in fits
    )
    best, temperature = _choose([(subsets.out_of_fold(fit), labels) for fit in fits])
    logits, temperatures = subsets.out_of_fold(fits[best]), np.full((len(labels), 1), temperature)
    if nested:
        logits, temperatures = _predict_nested(fits, subsets, labels)
    weight, bias = fits[best].head
    return Probe(
        weight=(weight / temperature).astype(np.float32),
        bias=(bias / temperature).astype(np.float32),
        temperature=temperature,
        method=fits[best].method,
        c=fits[best].c,
        mirrored=fits[best].mirrored,
        trials=trials,
        probabilities=softmax(logits / temperatures),
        uncalibrated=softmax(logits),
        nested=nested,
    )


@dataclass(frozen=True, slots=True)
class _Subsets:
    """Which folds each subset leaves out: none (the final fit), then one, then two."""

    folds: NDArray[np.int64]
    left_out: tuple[tuple[int, ...], ...]

    @classmethod
    def plan(cls, folds: NDArray[np.int64], n_folds: int, nested: bool) -> "_Subsets":
        singles = [(fold,) for fold in range(n_folds)]
        pairs = list(combinations(range(n_folds), 2)) if nested else []
        return cls(folds, ((), *singles, *pairs))

    @property
    def n_folds(self) -> int:
        return int(self.folds.max()) + 1

    def masks(self) -> Floats:
        """1 where a subset uses a row, `(P, N)`."""
        return np.stack([~np.isin(self.folds, out) for out in self.left_out]).astype(np.float32)

    def out_of_fold(self, fit: _Fit) -> Floats:
        """Each row's logits by the head that left out its fold, `(N, K)`."""
        return fit.logits[:, 1 + self.folds, np.arange(len(self.folds))].T

    def inner(self, fit: _Fit, outer: int) -> tuple[Floats, NDArray[np.int64]]:
        """Logits of the rows outside fold `outer` by heads that saw neither it nor their own fold.

        Returns:
            `(n, K)` and the indices `(n,)` of its rows.
        """
        rows = np.flatnonzero(self.folds != outer)
        column = [
            self.left_out.index(tuple(sorted((outer, f)))) if f != outer else 0 for f in range(self.n_folds)
        ]
        return fit.logits[:, np.array(column)[self.folds[rows]], rows].T, rows


def _logistic_fits(
    views: tuple[FeatureBlocks, ...],
    labels: NDArray[np.int64],
    n_classes: int,
    subsets: _Subsets,
    class_weights: Floats,
) -> list[_Fit]:
    """Fit along the strengths on one view or several, each image counting once in all."""
    n = len(labels)
    features = views[0] if len(views) == 1 else StackedBlocks(views)
    weights = np.tile(subsets.masks() * class_weights / len(views), len(views)).astype(np.float32)
    labels_of_rows = np.tile(labels, len(views))
    directions = leading_directions(features)
    row_bytes = 4 * n_classes * (len(labels_of_rows) + 4 * features.dim)
    size = max(1, int(_GROUP_BYTES // row_bytes))
    paths = [
        LogisticPath(
            features, labels_of_rows, n_classes, weights[start : start + size], directions=directions
        )
        for start in range(0, len(weights), size)
    ]
    fits: list[_Fit] = []
    curves: list[list[float]] = []
    for c in STRENGTHS:
        solved = [path.solve(1 / c) for path in paths]
        logits = np.concatenate([heads.logits[:, :, :n] for heads in solved], axis=1)
        fit = _Fit("logistic", c, len(views) > 1, (solved[0].weight[:, 0], solved[0].bias[:, 0]), logits)
        fits.append(fit)
        curves.append(_all_log_losses(fit, subsets, labels))
        if all(_has_risen(curve) for curve in zip(*curves, strict=True)):
            break
    return fits


def _lda_fit(features: FeatureBlocks, labels: NDArray[np.int64], n_classes: int, subsets: _Subsets) -> _Fit:
    x = np.concatenate([block for _, block in features.blocks()])
    heads = [fit_lda(x[mask > 0], labels[mask > 0], n_classes) for mask in subsets.masks()]
    logits = np.stack([weight @ x.T + bias[:, None] for weight, bias in heads], axis=1)
    return _Fit("lda", None, False, heads[0], logits)


def _predict_nested(
    fits: Sequence[_Fit], subsets: _Subsets, labels: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.float64]]:
    """Each row's logits `(N, K)` and temperature `(N, 1)`, chosen without its fold."""
    logits = np.empty_like(subsets.out_of_fold(fits[0]))
    temperatures = np.empty((len(labels), 1))
    for outer in range(subsets.n_folds):
        inner = [subsets.inner(fit, outer) for fit in fits]
        best, temperature = _choose([(values, labels[rows]) for values, rows in inner])
        here = subsets.folds == outer
        logits[here] = subsets.out_of_fold(fits[best])[here]
        temperatures[here] = temperature
    return logits, temperatures


def _choose(candidates: Sequence[tuple[Floats, NDArray[np.int64]]]) -> tuple[int, float]:
    """Index and temperature of the candidate with the least log loss after calibration."""
    temperatures = [fit_temperature(logits, labels) for logits, labels in candidates]
    losses = [
        _log_loss(logits / temperature, labels)
        for (logits, labels), temperature in zip(candidates, temperatures, strict=True)
    ]
    best = int(np.argmin(losses))
    return best, temperatures[best]


def _all_log_losses(fit: _Fit, subsets: _Subsets, labels: NDArray[np.int64]) -> list[float]:
    losses = [_log_loss(subsets.out_of_fold(fit), labels)]
    if len(subsets.left_out) > 1 + subsets.n_folds:
        for outer in range(subsets.n_folds):
            logits, rows = subsets.inner(fit, outer)
            losses.append(_log_loss(logits, labels[rows]))
    return losses


def _has_risen(curve: Sequence[float]) -> bool:
    return len(curve) - 1 - int(np.argmin(curve)) >= _RISES_TO_STOP


def _log_loss(logits: Floats | NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def _class_weights(labels: NDArray[np.int64], n_classes: int, balance: bool) -> Floats:
    if not balance:
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels, minlength=n_classes)
    weights: Floats = (len(labels) / (n_classes * np.maximum(counts, 1)))[labels].astype(np.float32)
    return weights
