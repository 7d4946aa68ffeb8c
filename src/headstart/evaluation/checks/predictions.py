"""What a head on the stored features says of each picture that it was not fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.evidence import Evidence
from headstart.heads.discriminants import discriminate
from headstart.heads.logistic import Floats, LogisticPath
from headstart.metrics.calibration import fit_temperature, log_softmax, softmax
from headstart.metrics.paired import Estimate, mean_gain

Head = Literal["logistic regression", "discriminant analysis"]

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3)
"""Of the ridge's inverse, from strong to weak; not so weak that wrong labels are learnt."""

LOGISTIC_CELLS = 50_000
"""Pictures times classes above which discriminant analysis is taken. At 100,000 it takes half the time, and
little more with thousands of classes; of planted wrong labels it found 86 %, logistic regression 88 %."""

_TOLERANCE = 1e-4  # nats: whom a head doubts shows long before its last digits
_WORTH_A_STEP = 1e-3
_BLOCK_CELLS = 4_000_000  # logits looked at at once


@dataclass(frozen=True, slots=True)
class LeakWorth:
    """What leaked pictures add to the accuracy of the test split.

    Attributes:
        leaked: Test pictures with a copy outside.
        tested: All test pictures.
        gain: Accuracy with the copies in training less without them, on the same test pictures.
    """

    leaked: int
    tested: int
    gain: Estimate

    def describe(self) -> str:
        """In a sentence."""
        points = [100 * value for value in (self.gain.value, self.gain.low, self.gain.high)]
        return (
            f"The {self.leaked:,} leaked of {self.tested:,} test pictures are worth {points[0]:+z.1f} points "
            f"of test accuracy (95 % interval {points[1]:+z.1f} to {points[2]:+z.1f}) to a linear head; a "
            "network that learns more by heart gains more."
        )


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Of N pictures and K classes.

    Attributes:
        probabilities: Calibrated, each from a head that has not seen the picture or its copies, `(N, K)`.
        predicted: The likeliest class, `(N,)`.
        worth: Of leaked pictures, if there are any.
        head: Which one said so.
    """

    probabilities: Floats
    predicted: NDArray[np.int64]
    worth: LeakWorth | None
    head: Head

    def of(self, classes: NDArray[np.int64]) -> Floats:
        """Probability of one class a picture, `(N,)`."""
        return self.probabilities[np.arange(len(classes)), classes]


def predict_out_of_fold(evidence: Evidence, leaked: NDArray[np.bool_]) -> OutOfFold:
    """Cross-validate a head over all pictures, and measure what leaks are worth.

    Args:
        evidence: Pictures in two folds or more.
        leaked: Whether each has a copy on the other side of the test split, `(N,)`.
    """
    n_folds = int(evidence.folds.max()) + 1
    learning = [evidence.folds != fold for fold in range(n_folds)]
    outside = ~evidence.in_test
    if leaked.any() and len(np.unique(evidence.labels[outside & ~leaked])) > 1:
        learning += [outside, outside & ~leaked]
    is_small = len(evidence) * len(evidence.dataset.classes) <= LOGISTIC_CELLS
    solve = _solve if is_small else _discriminate
    logits, correct = solve(evidence, np.stack(learning), n_folds)
    return OutOfFold(
        probabilities=_calibrated(logits, evidence.labels),
        predicted=logits.argmax(axis=1),
        worth=_worth(evidence, leaked, correct),
        head="logistic regression" if is_small else "discriminant analysis",
    )


def _solve(evidence: Evidence, learning: NDArray[np.bool_], n_folds: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Out-of-fold logits `(N, K)`; whether the others are right about T test pictures, `(P - F, T)`."""
    n, labels = len(evidence), evidence.labels
    path = LogisticPath(evidence.features, labels, len(evidence.dataset.classes), learning.astype(np.float32))
    best: tuple[Floats, NDArray[np.bool_]] | None = None
    least = np.inf
    for c in STRENGTHS:
        logits = path.solve(1 / c, tolerance=_TOLERANCE).logits
        out_of_fold = logits[:, evidence.folds, np.arange(n)].T
        scaled = out_of_fold / fit_temperature(out_of_fold, labels)
        loss = float(-log_softmax(scaled)[np.arange(n), labels].mean())
        if best is not None and loss > least - _WORTH_A_STEP:
            break
        tested = logits[:, n_folds:, evidence.in_test].argmax(axis=0)
        least, best = loss, (out_of_fold.copy(), tested == labels[evidence.in_test])
    assert best is not None  # noqa: S101 - there is a strength
    return best


def _discriminate(
    evidence: Evidence, learning: NDArray[np.bool_], n_folds: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """The same by discriminant analysis."""
    labels, n_classes = evidence.labels, len(evidence.dataset.classes)
    tested = np.flatnonzero(evidence.in_test)
    judged = [np.flatnonzero(evidence.folds == fold) for fold in range(n_folds)]
    judged += [tested] * (len(learning) - n_folds)
    out_of_fold = np.empty((len(evidence), n_classes), np.float32)
    correct = []
    said = discriminate(evidence.features.matrix(), labels, n_classes, learning, judged)
    for number, (rows, logits) in enumerate(zip(judged, said, strict=True)):
        if number < n_folds:
            out_of_fold[rows] = logits
        else:
            correct.append(logits.argmax(axis=1) == labels[rows])
    return out_of_fold, np.array(correct, np.bool_).reshape(len(correct), len(tested))


def _calibrated(logits: Floats, labels: NDArray[np.int64]) -> Floats:
    """Probabilities at the temperature of evenly spread rows, as many as are enough, `(N, K)`."""
    n_classes = logits.shape[1]
    enough = min(len(logits), max(_BLOCK_CELLS // n_classes, 500))
    some = np.linspace(0, len(logits) - 1, enough).astype(np.int64)
    temperature = fit_temperature(logits[some], labels[some])
    probabilities = np.empty_like(logits)
    for rows in _blocks(len(logits), n_classes):
        probabilities[rows] = softmax(logits[rows] / temperature)
    return probabilities


def _blocks(n: int, n_classes: int) -> Iterator[slice]:
    step = max(_BLOCK_CELLS // n_classes, 1)
    yield from (slice(start, start + step) for start in range(0, n, step))


def _worth(evidence: Evidence, leaked: NDArray[np.bool_], correct: NDArray[np.bool_]) -> LeakWorth | None:
    if not len(correct):
        return None
    tested = evidence.in_test
    gain = mean_gain(correct[:1], correct[1:])
    return LeakWorth(int((leaked & tested).sum()), int(tested.sum()), gain)
