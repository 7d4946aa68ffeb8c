"""The linear probe: choose how to fit a linear head by cross-validation, fit it, calibrate it.

One set of shared fits serves everything. With folds A to E, the fits without one fold give the
cross-validation that chooses the final head's strength, and whether its ridge pulls towards 0 or
towards what the source classifier already knows (`heads/source.py`). Where no test split exists, fits
without two folds are added: those without A and another choose the strength and the
temperature with which the fit without A predicts A, so that A's labels have no part in its own
prediction (nested cross-validation; a fit without A and B serves both A and B).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.heads.lda import fit_lda
from headstart.heads.logistic import FeatureBlocks, Floats, LogisticPath, StackedBlocks, leading_directions
from headstart.heads.source import Prior
from headstart.metrics.calibration import fit_temperature, log_softmax, softmax

Method = Literal["logistic", "lda"]

STRENGTHS = tuple(float(10**exponent) for exponent in np.arange(-5, 2.1, 0.5))
"""Values of C = 1 / L2, from strong to weak; the walk ends when the log loss has risen twice."""

LDA_MAX_PER_CLASS = 10
NESTED_MAX_CLASSES = 50
"""With more classes the choice among a dozen strengths biases less than nesting would cost."""

_GROUP_BYTES = 32 * 2**20  # of one (K, P, N + 4 d) array; half a dozen live at once
_RISES_TO_STOP = 2
_CHOICE_TOLERANCE = 1e-5  # nats: far below what separates one strength from the next
_NOTHING = np.empty((0, 0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to fit the head, and its cross-validated log loss after calibration."""

    method: Method
    c: float | None
    mirrored: bool
    log_loss: float
    prior: bool = False


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
        prior: Whether the ridge pulls towards the source classifier's rows instead of 0.
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
    prior: bool
    trials: tuple[Trial, ...]
    probabilities: NDArray[np.float64]
    uncalibrated: NDArray[np.float64]
    nested: bool


def fit_probe(  # noqa: PLR0913 - four facts about the rows, five choices with defaults
    features: FeatureBlocks,
    labels: NDArray[np.int64],
    n_classes: int,
    folds: NDArray[np.int64],
    *,
    mirrored: FeatureBlocks | None = None,
    choose_view: bool = True,
    prior: Prior | None = None,
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
        prior: What the source classifier knows. Cross-validation decides whether the ridge pulls
            towards it or towards 0, and how strongly.
        balance: Weight all classes alike, whatever the counts among the rows that a fit is made from.
        nested: Also keep each fold out of the choice that predicts it.
    """
    subsets = _Subsets.plan(folds, nested and n_classes <= NESTED_MAX_CLASSES)
    weights = _balanced(subsets.masks(), labels, n_classes) if balance else subsets.masks()
    known = np.stack([np.isin(labels, labels[used > 0]) for used in weights])
    final, *outer = choosers = [
        _Chooser(labels, judged.among(known), predicted) for judged, predicted in subsets.choosers()
    ]
    towards = None if prior is None else prior.heads(weights > 0)[0]
    for mean in (None,) if towards is None else (None, towards):
        if mirrored is None or choose_view:
            _walk_strengths((features,), n_classes, weights, choosers, mean)
        if mirrored is not None:
            _walk_strengths((features, mirrored), n_classes, weights, choosers, mean)
    if len(labels) <= LDA_MAX_PER_CLASS * n_classes:
        _try_lda(features, n_classes, weights, choosers)
    views = (features, mirrored) if final.fit.mirrored and mirrored is not None else (features,)
    mean = towards[:, :1] if final.fit.prior and towards is not None else None
    weight, bias = _refine(final.fit, views, labels, weights[:1], mean)
    logits, temperatures = np.empty((len(labels), n_classes), np.float32), np.empty((len(labels), 1))
    for chooser in outer or [final]:
        logits[chooser.predicted.rows] = chooser.logits
        temperatures[chooser.predicted.rows] = chooser.temperature
    return Probe(
        weight=(weight / final.temperature).astype(np.float32),
        bias=(bias / final.temperature).astype(np.float32),
        temperature=final.temperature,
        method=final.fit.method,
        c=final.fit.c,
        mirrored=final.fit.mirrored,
        prior=final.fit.prior,
        trials=tuple(final.trials),
        probabilities=softmax(logits / temperatures),
        uncalibrated=softmax(logits),
        nested=bool(outer),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """One way to fit, carried out on every subset of the rows.

    Attributes:
        weight: `(K, d)`, from all rows.
        bias: `(K,)`, likewise.
        logits: Of every row under every subset's head, `(K, P, N)`.
    """

    method: Method
    c: float | None
    mirrored: bool
    prior: bool
    weight: Floats
    bias: Floats
    logits: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Some rows, each with the subset whose head predicts it."""

    rows: NDArray[np.int64]
    subsets: NDArray[np.int64]

    def among(self, known: NDArray[np.bool_]) -> "_Cells":
        """Those whose subset has seen their class, by `known` `(P, N)`; all, if none has.

        Where a class has few groups, some fits never see it. No strength predicts its rows then, and
        to judge by them would choose the head that learns least.
        """
        keep = known[self.subsets, self.rows]
        return _Cells(self.rows[keep], self.subsets[keep]) if keep.any() else self

    def of(self, fit: _Fit) -> Floats:
        """Their logits, `(n, K)`."""
        return fit.logits[:, self.subsets, self.rows].T


class _Chooser:
    """Keeps the best of the fits it is shown, and forgets the others, which are large.

    Args:
        labels: Class indices `(N,)`.
        judged: What a fit is judged on: by log loss after calibration.
        predicted: What the best fit is to predict.
    """

    def __init__(self, labels: NDArray[np.int64], judged: _Cells, predicted: _Cells) -> None:
        self.labels = labels
        self._judged_labels = labels[judged.rows]
        self._judged = judged
        self.predicted = predicted
        self.trials: list[Trial] = []
        self._least = np.inf
        self._rises = 0

    def start(self) -> None:
        """Begin another walk along the strengths."""
        self._rises, self._walk_least = 0, np.inf

    @property
    def has_seen_enough(self) -> bool:
        """Whether the loss has risen so often on this walk that weaker ridges won't lower it."""
        return self._rises >= _RISES_TO_STOP

    def see(self, fit: _Fit) -> None:
        """Judge a fit, unless this walk has been seen through."""
        if self.has_seen_enough:
            return
        logits = self._judged.of(fit)
        temperature = fit_temperature(logits, self._judged_labels)
        loss = _log_loss(logits / temperature, self._judged_labels)
        self.trials.append(Trial(fit.method, fit.c, fit.mirrored, loss, fit.prior))
        self._rises = 0 if loss < self._walk_least else self._rises + 1
        self._walk_least = min(loss, self._walk_least)
        if loss < self._least:
            self._least, self.fit, self.temperature = loss, replace(fit, logits=_NOTHING), temperature
            self.logits = self.predicted.of(fit)


@dataclass(frozen=True, slots=True)
class _Subsets:
    """Which folds each subset leaves out: none (the final fit), then one, then two."""

    folds: NDArray[np.int64]
    left_out: tuple[tuple[int, ...], ...]
    nested: bool

    @classmethod
    def plan(cls, folds: NDArray[np.int64], nested: bool) -> "_Subsets":
        n_folds = int(folds.max()) + 1
        nested = nested and n_folds > 2
        singles = [(fold,) for fold in range(n_folds)]
        pairs = list(combinations(range(n_folds), 2)) if nested else []
        return cls(folds, ((), *singles, *pairs), nested)

    def masks(self) -> Floats:
        """1 where a subset uses a row, `(P, N)`."""
        return np.stack([~np.isin(self.folds, out) for out in self.left_out]).astype(np.float32)

    def choosers(self) -> list[tuple[_Cells, _Cells]]:
        """What each choice is judged on and predicts: first the final head's, then each fold's own."""
        rows = np.arange(len(self.folds))
        out_of_fold = _Cells(rows, 1 + self.folds)
        cells = [(out_of_fold, out_of_fold)]
        for outer in range(int(self.folds.max()) + 1) if self.nested else ():
            others, own = rows[self.folds != outer], rows[self.folds == outer]
            without_both = [self.left_out.index(tuple(sorted({outer, fold}))) for fold in self.folds[others]]
            cells.append((_Cells(others, np.array(without_both)), _Cells(own, np.full(len(own), 1 + outer))))
        return cells


def _walk_strengths(
    views: tuple[FeatureBlocks, ...],
    n_classes: int,
    weights: Floats,
    choosers: Sequence[_Chooser],
    prior: Floats | None,
) -> None:
    """Fit along the strengths on one view or several, each image counting once in all.

    The ridge pulls towards each subset's prior, `(K, P, d)`, or towards 0.
    """
    n, labels = weights.shape[1], np.tile(choosers[0].labels, len(views))
    features = StackedBlocks(views)
    weights = np.tile(weights / len(views), len(views))
    directions = leading_directions(features)
    group = max(1, int(_GROUP_BYTES // (4 * n_classes * (len(labels) + 4 * features.dim))))
    groups = [slice(start, start + group) for start in range(0, len(weights), group)]
    paths = [
        LogisticPath(
            features,
            labels,
            n_classes,
            weights[some],
            directions=directions,
            prior=None if prior is None else prior[:, some],
        )
        for some in groups
    ]
    for chooser in choosers:
        chooser.start()
    for c in STRENGTHS:
        solved = [path.solve(1 / c, tolerance=_CHOICE_TOLERANCE) for path in paths]
        logits = np.concatenate([heads.logits[:, :, :n] for heads in solved], axis=1)
        weight, bias = solved[0].weight[:, 0], solved[0].bias[:, 0]
        for chooser in choosers:
            chooser.see(_Fit("logistic", c, len(views) > 1, prior is not None, weight, bias, logits))
        if all(chooser.has_seen_enough for chooser in choosers):
            return


def _refine(
    fit: _Fit,
    views: tuple[FeatureBlocks, ...],
    labels: NDArray[np.int64],
    weights: Floats,
    prior: Floats | None,
) -> tuple[Floats, Floats]:
    """Solve the chosen fit exactly, on all rows: weight `(K, d)` and bias `(K,)`."""
    if fit.c is None:
        return fit.weight, fit.bias
    stacked = StackedBlocks(views)
    weights = np.tile(weights / len(views), len(views))
    start = fit.weight[:, None], fit.bias[:, None]
    path = LogisticPath(
        stacked, np.tile(labels, len(views)), len(fit.bias), weights, prior=prior, start=start
    )
    heads = path.solve(1 / fit.c)
    return heads.weight[:, 0], heads.bias[:, 0]


def _try_lda(features: FeatureBlocks, n_classes: int, weights: Floats, choosers: Sequence[_Chooser]) -> None:
    x, labels = np.concatenate([block for _, block in features.blocks()]), choosers[0].labels
    heads = [fit_lda(x[used > 0], labels[used > 0], n_classes) for used in weights]
    logits = np.stack([weight @ x.T + bias[:, None] for weight, bias in heads], axis=1)
    for chooser in choosers:
        chooser.start()
        chooser.see(_Fit("lda", None, False, False, *heads[0], logits))


def _log_loss(logits: Floats | NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def _balanced(masks: Floats, labels: NDArray[np.int64], n_classes: int) -> Floats:
    """Weights `(P, N)` by which each subset's classes count alike, and its rows 1 on average.

    Counted subset by subset: a fold's own labels must not weigh what predicts it.
    """
    counts = np.stack([np.bincount(labels[used > 0], minlength=n_classes) for used in masks])
    present = (counts > 0).sum(axis=1, keepdims=True)
    shares = masks.sum(axis=1, keepdims=True) / (present * np.maximum(counts, 1))
    weights: Floats = (masks * shares[:, labels]).astype(np.float32)
    return weights
