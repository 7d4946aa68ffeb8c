"""Who judges the fits by which rows, and keeps the best of them."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.heads.logistic import Floats
from headstart.metrics.calibration import fit_temperature, log_softmax

Method = Literal["logistic", "lda"]

WORTH_A_STEP = 1e-4
"""Nats by which a weaker ridge must lower the log loss, or classes that planes part would invite ever weaker
ones for nothing."""

_RISES_TO_STOP = 2
_LOSS_VALUES = 4_000_000  # logits raised to float64 at once: 32 MB


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to fit the head, and its cross-validated log loss after calibration."""

    method: Method
    c: float | None
    mirrored: bool
    log_loss: float
    prior: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One way to fit, carried out on every subset of the rows.

    Attributes:
        weight: `(K, d)`, from all rows.
        bias: `(K,)`, likewise.
    """

    method: Method
    c: float | None
    mirrored: bool
    prior: bool
    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Some rows, each with the subset whose head predicts it."""

    rows: NDArray[np.int64]
    subsets: NDArray[np.int64]

    def among(self, known: NDArray[np.bool_]) -> "Cells":
        """Those whose subset has seen their class, by `known` `(P, N)`; all, if none has.

        Where a class has few groups, some fits never see it. No strength predicts its rows then, and
        to judge by them would choose the head that learns least.
        """
        keep = known[self.subsets, self.rows]
        return Cells(self.rows[keep], self.subsets[keep]) if 0 < keep.sum() < len(keep) else self

    def copy(self, logits: Floats, first: int, out: Floats) -> None:
        """Copy to `(n, K)` what is theirs of the logits `(K, p, N)` of the subsets from `first` on."""
        mine = np.flatnonzero((self.subsets >= first) & (self.subsets < first + logits.shape[1]))
        out[mine] = logits[:, self.subsets[mine] - first, self.rows[mine]].T


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What a chooser needs of one fit's logits; all of them, `(K, P, N)`, may be too large to keep.

    Attributes:
        judged: `(n, K)`.
        predicted: `(m, K)`.
    """

    judged: Floats
    predicted: Floats


class Chooser:
    """Keeps the best of the fits it is shown, and forgets the others, which are large.

    Args:
        labels: Class indices `(N,)`.
        judged: What a fit is judged on: by log loss after calibration.
        predicted: What the best fit is to predict.
    """

    def __init__(self, labels: NDArray[np.int64], judged: Cells, predicted: Cells) -> None:
        self.labels = labels
        self._judged_labels = labels[judged.rows]
        self._judged = judged
        self.predicted = predicted
        self.trials: list[Trial] = []
        self._least = np.inf
        self.start()

    def start(self, *, rises_to_stop: int = _RISES_TO_STOP) -> None:
        """Begin another walk along the strengths."""
        self._rises, self._rises_to_stop, self._walk_least = 0, rises_to_stop, np.inf

    @property
    def has_seen_enough(self) -> bool:
        """Whether the loss has failed to fall so often on this walk that weaker ridges won't lower it."""
        return self._rises >= self._rises_to_stop

    def blank(self, n_classes: int) -> Sheet:
        """Room for one fit's logits."""
        judged = np.empty((len(self._judged.rows), n_classes), np.float32)
        is_same = self._judged is self.predicted
        return Sheet(
            judged, judged if is_same else np.empty((len(self.predicted.rows), n_classes), np.float32)
        )

    def read(self, sheet: Sheet, logits: Floats, first: int) -> None:
        """Take from the logits `(K, p, N)` of the subsets from `first` on what is judged and predicted."""
        self._judged.copy(logits, first, sheet.judged)
        if sheet.predicted is not sheet.judged:
            self.predicted.copy(logits, first, sheet.predicted)

    def see(self, fit: Fit, sheet: Sheet) -> None:
        """Judge a fit, unless this walk has been seen through."""
        if self.has_seen_enough:
            return
        temperature = fit_temperature(sheet.judged, self._judged_labels)
        loss = _log_loss(sheet.judged, self._judged_labels, temperature)
        self.trials.append(Trial(fit.method, fit.c, fit.mirrored, loss, fit.prior))
        self._rises = 0 if loss < self._walk_least - WORTH_A_STEP else self._rises + 1
        self._walk_least = min(loss, self._walk_least)
        if loss < self._least:
            self._least, self.fit, self.temperature = loss, fit, temperature
            self.logits = sheet.predicted


@dataclass(frozen=True, slots=True)
class Subsets:
    """Which folds each subset leaves out: none (the final fit), then one, then two."""

    folds: NDArray[np.int64]
    left_out: tuple[tuple[int, ...], ...]
    nested: bool

    @classmethod
    def plan(cls, folds: NDArray[np.int64], nested: bool) -> "Subsets":
        """Those that cross-validation needs, with pairs of folds if it is nested and there are three."""
        n_folds = int(folds.max()) + 1
        nested = nested and n_folds > 2
        singles = [(fold,) for fold in range(n_folds)]
        pairs = list(combinations(range(n_folds), 2)) if nested else []
        return cls(folds, ((), *singles, *pairs), nested)

    def masks(self) -> Floats:
        """1 where a subset uses a row, `(P, N)`."""
        return np.stack([~np.isin(self.folds, out) for out in self.left_out]).astype(np.float32)

    def choosers(self) -> list[tuple[Cells, Cells]]:
        """What each choice is judged on and predicts: first the final head's, then each fold's own."""
        rows = np.arange(len(self.folds))
        out_of_fold = Cells(rows, 1 + self.folds)
        cells = [(out_of_fold, out_of_fold)]
        for outer in range(int(self.folds.max()) + 1) if self.nested else ():
            others, own = rows[self.folds != outer], rows[self.folds == outer]
            without_both = [self.left_out.index(tuple(sorted({outer, fold}))) for fold in self.folds[others]]
            cells.append((Cells(others, np.array(without_both)), Cells(own, np.full(len(own), 1 + outer))))
        return cells


def make_scout(labels: NDArray[np.int64], weights: Floats) -> Chooser:
    """One that judges a single subset `(N,)` by the rows that it leaves out, and stops at the first rise."""
    rows = np.flatnonzero(weights == 0)
    cells = Cells(rows, np.zeros(len(rows), np.int64))
    known = np.isin(labels, labels[weights > 0])[None]
    judged = cells.among(known)
    scout = Chooser(labels, judged, judged)
    scout.start(rises_to_stop=1)
    return scout


def _log_loss(logits: Floats, labels: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log-likelihood of logits `(n, K)` divided by the temperature."""
    total, step = 0.0, max(1, _LOSS_VALUES // logits.shape[1])
    for start in range(0, len(labels), step):
        part = labels[start : start + step]
        logs = log_softmax(logits[start : start + step] / temperature)
        total -= float(logs[np.arange(len(part)), part].sum())
    return total / len(labels)
