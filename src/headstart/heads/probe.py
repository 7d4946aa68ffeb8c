"""The linear probe: choose how to fit a linear head by cross-validation, fit it, calibrate it.

One set of shared fits serves everything. With folds A to E, the fits without one fold give the
cross-validation that chooses the final head's strength, and whether its ridge pulls towards 0 or
towards what the source classifier already knows (`heads/source.py`). Where no test split exists, fits
without two folds are added: those without A and another choose the strength and the
temperature with which the fit without A predicts A, so that A's labels have no part in its own
prediction (nested cross-validation; a fit without A and B serves both A and B).

Each fit costs in proportion to the classes. With many of them nothing is nested, and one fold finds the
strength, or where it lies, before all subsets are solved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.heads.choice import WORTH_A_STEP, Chooser, Fit, Method, Subsets, Trial, make_scout
from headstart.heads.lda import fit_lda
from headstart.heads.logistic import FeatureBlocks, Floats, LogisticPath, StackedBlocks, leading_directions
from headstart.heads.source import Prior
from headstart.metrics.calibration import softmax

STRENGTHS = tuple(float(10**exponent) for exponent in np.arange(-5, 2.1, 0.5))
"""Values of C = 1 / L2, from strong to weak; the walk ends when the log loss has twice not fallen."""

LDA_MAX_PER_CLASS = 10
NESTED_MAX_CLASSES = 50
"""With more classes the choice among a dozen strengths biases less than nesting would cost."""

_GROUP_BYTES = 32 * 2**20  # of one (K, P, N + 4 d) array; half a dozen live at once
_CHOICE_TOLERANCE = 1e-5  # nats: far below what separates one strength from the next
_ENOUGH_TO_CHOOSE = 1000  # rows: neighbouring strengths differ by more than their chance on so many


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
        mirrored: Features of the mirrored images, row for row; they teach, and are not predicted.
        choose_view: Let cross-validation decide whether to use `mirrored`; else it is used.
        prior: What the source classifier knows. Cross-validation decides whether the ridge pulls
            towards it or towards 0, and how strongly.
        balance: Weight all classes alike, whatever the counts among the rows that a fit is made from.
        nested: Also keep each fold out of the choice that predicts it.
    """
    subsets = Subsets.plan(folds, nested and n_classes <= NESTED_MAX_CLASSES)
    weights = _balanced(subsets.masks(), labels, n_classes) if balance else subsets.masks()
    known = np.stack([np.isin(labels, labels[used > 0]) for used in weights])
    final, *outer = choosers = [
        Chooser(labels, judged.among(known), predicted) for judged, predicted in subsets.choosers()
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


class _Sweep:
    """The problems of some subsets on one view or several, each image counting once in all.

    Args:
        views: Features, row for row.
        n_classes: K.
        weights: Of each subset's rows, `(P, N)`.
        choosers: Who judges the fits.
        prior: What each subset's ridge pulls towards, `(K, P, d)`; else 0.
        start: Where all subsets start, `(K, d)` and `(K,)`; else at the class frequencies.
    """

    def __init__(
        self,
        views: tuple[FeatureBlocks, ...],
        n_classes: int,
        weights: Floats,
        choosers: Sequence[Chooser],
        prior: Floats | None,
        *,
        start: tuple[Floats, Floats] | None = None,
    ) -> None:
        self._choosers, self._n_classes, self._n = choosers, n_classes, weights.shape[1]
        self._mirrored, self._prior = len(views) > 1, prior is not None
        labels, features = np.tile(choosers[0].labels, len(views)), StackedBlocks(views)
        spread: Floats = np.tile(weights / np.float32(len(views)), len(views))
        directions = leading_directions(features)
        group = max(1, int(_GROUP_BYTES // (4 * n_classes * (len(labels) + 4 * features.dim))))
        self._paths: dict[int, LogisticPath] = {}
        for first in range(0, len(spread), group):
            some = spread[first : first + group]
            self._paths[first] = LogisticPath(
                features,
                labels,
                n_classes,
                some,
                directions=directions,
                prior=None if prior is None else prior[:, first : first + group],
                start=start and (_repeat(start[0], len(some)), _repeat(start[1], len(some))),
            )

    def fit(self, c: float) -> None:
        """Solve all subsets at one strength, and show them to those who choose."""
        choosers = [chooser for chooser in self._choosers if not chooser.has_seen_enough]
        sheets = [chooser.blank(self._n_classes) for chooser in choosers]
        weight = bias = np.empty(0, np.float32)
        for first, path in self._paths.items():
            heads = path.solve(1 / c, tolerance=_CHOICE_TOLERANCE)
            if first == 0:
                weight, bias = heads.weight[:, 0].copy(), heads.bias[:, 0].copy()
            for chooser, sheet in zip(choosers, sheets, strict=True):
                chooser.read(sheet, heads.logits[:, :, : self._n], first)
        for chooser, sheet in zip(choosers, sheets, strict=True):
            chooser.see(Fit("logistic", c, self._mirrored, self._prior, weight, bias), sheet)


def _walk_strengths(
    views: tuple[FeatureBlocks, ...],
    n_classes: int,
    weights: Floats,
    choosers: Sequence[Chooser],
    prior: Floats | None,
) -> None:
    """Fit along the strengths on one view or several, until weaker ridges no longer help."""
    if n_classes > NESTED_MAX_CLASSES:
        _narrow_strengths(views, n_classes, weights, choosers[0], prior)
        return
    sweep = _Sweep(views, n_classes, weights, choosers, prior)
    for chooser in choosers:
        chooser.start()
    for c in STRENGTHS:
        sweep.fit(c)
        if all(chooser.has_seen_enough for chooser in choosers):
            return


def _narrow_strengths(
    views: tuple[FeatureBlocks, ...],
    n_classes: int,
    weights: Floats,
    chooser: Chooser,
    prior: Floats | None,
) -> None:
    """Find the strength by one subset, and fit all subsets there; where it judged few rows, around it, too.

    The region around grows as long as its edge is the best in it.
    """
    scout = make_scout(chooser.labels, weights[1])
    one = _Sweep(views, n_classes, weights[1:2], [scout], None if prior is None else prior[:, 1:2])
    for c in STRENGTHS:
        one.fit(c)
        if scout.has_seen_enough:
            break
    near = STRENGTHS.index(scout.fit.c or STRENGTHS[0])
    sweep = _Sweep(views, n_classes, weights, [chooser], prior, start=(scout.fit.weight, scout.fit.bias))
    chooser.start(rises_to_stop=len(STRENGTHS))
    if len(scout.predicted.rows) >= _ENOUGH_TO_CHOOSE:
        sweep.fit(STRENGTHS[near])
        return
    losses: dict[int, float] = {}
    wanted = {near - 1, near, near + 1}
    while wanted := {place for place in wanted if 0 <= place < len(STRENGTHS)} - losses.keys():
        for place in sorted(wanted):
            sweep.fit(STRENGTHS[place])
            losses[place] = chooser.trials[-1].log_loss
        enough = min(losses.values()) + WORTH_A_STEP
        best = min(place for place, loss in losses.items() if loss <= enough)
        wanted = {best - 1, best + 1}


def _refine(
    fit: Fit,
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


def _try_lda(features: FeatureBlocks, n_classes: int, weights: Floats, choosers: Sequence[Chooser]) -> None:
    x, labels = np.concatenate([block for _, block in features.blocks()]), choosers[0].labels
    sheets = [chooser.blank(n_classes) for chooser in choosers]
    heads: list[tuple[Floats, Floats]] = []
    for first, used in enumerate(weights):
        heads = [*heads[:1], fit_lda(x[used > 0], labels[used > 0], n_classes)]
        weight, bias = heads[-1]
        logits = (weight @ x.T + bias[:, None])[:, None]
        for chooser, sheet in zip(choosers, sheets, strict=True):
            chooser.read(sheet, logits, first)
    for chooser, sheet in zip(choosers, sheets, strict=True):
        chooser.start()
        chooser.see(Fit("lda", None, False, False, *heads[0]), sheet)


def _repeat(part: Floats, n_subsets: int) -> Floats:
    """The same for every subset: `(K, ...)` becomes `(K, P, ...)`."""
    return np.stack([part] * n_subsets, axis=1)


def _balanced(masks: Floats, labels: NDArray[np.int64], n_classes: int) -> Floats:
    """Weights `(P, N)` by which each subset's classes count alike, and its rows 1 on average.

    Counted subset by subset: a fold's own labels must not weigh what predicts it.
    """
    counts = np.stack([np.bincount(labels[used > 0], minlength=n_classes) for used in masks])
    present = (counts > 0).sum(axis=1, keepdims=True)
    shares = masks.sum(axis=1, keepdims=True) / (present * np.maximum(counts, 1))
    weights: Floats = (masks * shares[:, labels]).astype(np.float32)
    return weights
