"""What a head on the stored features says of each picture that it was not fitted on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.evidence import Evidence
from headstart.heads.logistic import Floats, LogisticPath
from headstart.metrics.calibration import fit_temperature, log_softmax, softmax
from headstart.metrics.paired import Estimate, mean_gain

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3)
"""Of the ridge's inverse, from strong to weak; not so weak that wrong labels are learnt."""

MANY_CLASSES = 100
"""With more, a picture is compared with the classes' mean features: a solved head would take minutes."""

_TOLERANCE = 1e-4  # nats: whom a head doubts shows long before its last digits
_WORTH_A_STEP = 1e-3


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
            f"The {self.leaked:,} leaked of {self.tested:,} test pictures are worth {points[0]:+.1f} points "
            f"of test accuracy (95 % interval {points[1]:+.1f} to {points[2]:+.1f}) to a linear head; a "
            "network that learns more by heart gains more."
        )


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Of N pictures and K classes.

    Attributes:
        probabilities: Calibrated, each from a head that has not seen the picture or its copies, `(N, K)`.
        worth: Of leaked pictures, if there are any.
    """

    probabilities: NDArray[np.float32]
    worth: LeakWorth | None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The likeliest class, `(N,)`."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest

    def of(self, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probability of one class a picture, `(N,)`."""
        return self.probabilities[np.arange(len(classes)), classes]


def predict_out_of_fold(evidence: Evidence, leaked: NDArray[np.bool_]) -> OutOfFold:
    """Cross-validate a head over all pictures, and measure what leaks are worth.

    Args:
        evidence: Pictures in two folds or more.
        leaked: Whether each has a copy on the other side of the test split, `(N,)`.
    """
    n_folds = int(evidence.folds.max()) + 1
    masks = [evidence.folds != fold for fold in range(n_folds)]
    learning = ~evidence.in_test
    if leaked.any() and len(np.unique(evidence.labels[learning & ~leaked])) > 1:
        masks += [learning, learning & ~leaked]
    weights = np.stack(masks).astype(np.float32)
    solve = _solve if len(evidence.dataset.classes) <= MANY_CLASSES else _compare_with_means
    out_of_fold, correct = solve(evidence, weights, n_folds)
    probabilities = softmax(out_of_fold / fit_temperature(out_of_fold, evidence.labels)).astype(np.float32)
    return OutOfFold(probabilities, _worth(evidence, leaked, correct))


def _solve(evidence: Evidence, weights: Floats, n_folds: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Out-of-fold logits `(N, K)` at the best strength; who is right in the other problems, `(P - F, N)`."""
    n, labels = len(evidence), evidence.labels
    path = LogisticPath(evidence.features, labels, len(evidence.dataset.classes), weights)
    best: tuple[Floats, NDArray[np.bool_]] | None = None
    least = np.inf
    for c in STRENGTHS:
        logits = path.solve(1 / c, tolerance=_TOLERANCE).logits
        out_of_fold = logits[:, evidence.folds, np.arange(n)].T
        scaled = out_of_fold / fit_temperature(out_of_fold, labels)
        loss = float(-log_softmax(scaled)[np.arange(n), labels].mean())
        if best is not None and loss > least - _WORTH_A_STEP:
            break
        least, best = loss, (out_of_fold.copy(), logits[:, n_folds:].argmax(axis=0) == labels)
    assert best is not None  # noqa: S101 - there is a strength
    return best


def _compare_with_means(
    evidence: Evidence, weights: Floats, n_folds: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """The same by the distance to the mean of each class, in standardised features."""
    labels, n_classes = evidence.labels, len(evidence.dataset.classes)
    x = evidence.features.matrix()
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-5)
    out_of_fold = np.empty((len(x), n_classes), np.float32)
    correct = []
    for number, used in enumerate(weights > 0):
        judged = np.flatnonzero(evidence.folds == number) if number < n_folds else np.arange(len(x))
        logits = _nearness(x[judged], x[used], labels[used], n_classes)
        if number < n_folds:
            out_of_fold[judged] = logits
        else:
            correct.append(logits.argmax(axis=1) == labels)
    return out_of_fold, np.array(correct, np.bool_).reshape(-1, len(x))


def _nearness(x: Floats, seen: Floats, labels: NDArray[np.int64], n_classes: int) -> Floats:
    """Logits `(n, K)` from squared distances to class means; a class that was not seen is farthest."""
    sums = np.zeros((n_classes, x.shape[1]), np.float32)
    np.add.at(sums, labels, seen)
    counts = np.bincount(labels, minlength=n_classes)
    means = sums / (counts + 1)[:, None]  # one picture's worth towards the mean of all, which is 0
    logits: Floats = (x @ means.T - np.square(means).sum(axis=1) / 2) / np.float32(np.sqrt(x.shape[1]))
    logits[:, counts == 0] = logits.min() - 1
    return logits


def _worth(evidence: Evidence, leaked: NDArray[np.bool_], correct: NDArray[np.bool_]) -> LeakWorth | None:
    if not len(correct):
        return None
    tested = evidence.in_test
    gain = mean_gain(correct[:1, tested], correct[1:, tested])
    return LeakWorth(int((leaked & tested).sum()), int(tested.sum()), gain)
