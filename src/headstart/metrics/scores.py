"""Measure predicted probabilities against true labels.

Every number is defined where a class has no image in the split, which small
test sets bring about: averages over classes leave such a class out, and what
can't be known is None, never NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.errors import DamagedRunError
from headstart.metrics.intervals import macro_f1_interval, wilson_interval

ECE_BINS = 15

_DENSE_CLASSES = 100
_CELL_PARTS = ("true", "predicted", "count")


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one class fares."""

    precision: float | None
    """Of the images given this class, the share that has it; None if none was given it."""
    recall: float | None
    """Of the images that have this class, the share given it; None without support."""
    f1: float | None
    """Harmonic mean of precision and recall, 0 if the class is never found; None without support."""
    support: int
    """How many images have this class."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What `score` measured on one split."""

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    """95 % Wilson interval."""
    balanced_accuracy: float
    """Mean recall of the classes that have support."""
    macro_f1: float
    """Mean F1 of the classes that have support."""
    macro_f1_interval: tuple[float, float]
    """95 % bootstrap interval."""
    log_loss: float
    """Mean of -ln(probability of the true class)."""
    brier: float
    """Squared error of the probabilities, summed over classes, mean over images; 0 to 2."""
    ece: float
    """Expected calibration error: how far confidence and accuracy lie apart, 0 to 1."""
    ece_uncalibrated: float | None
    """The same before calibration; None if it was not measured."""
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    """`(K, K)` counts: rows are true classes, columns predicted ones, in the order of `classes`."""
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, numbers and None, fit for `metrics.json`.

        Of more than 100 classes, `confusion` has the cells that are not 0, as `true`, `predicted` and
        `count`: the whole of 5,000 classes would fill a quarter of a gigabyte with zeros.
        """
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("accuracy_interval", "macro_f1_interval", "classes"):
            plain[name] = list(plain[name])
        plain["per_class"] = {name: asdict(one) for name, one in self.per_class.items()}
        if len(self.classes) > _DENSE_CLASSES:
            cells = [
                (true, predicted, count)
                for true, row in enumerate(self.confusion)
                for predicted, count in enumerate(row)
                if count
            ]
            plain["confusion"] = {
                name: [cell[place] for cell in cells] for place, name in enumerate(_CELL_PARTS)
            }
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Scores":
        """Undo `to_json`: `Scores.from_json(s.to_json()) == s`.

        Raises:
            DamagedRunError: A field is missing, unknown or of another kind.
        """
        try:
            found = dict(plain)
            for name in ("accuracy_interval", "macro_f1_interval"):
                low, high = found[name]
                found[name] = (float(low), float(high))
            found["classes"] = tuple(found["classes"])
            found["per_class"] = {name: ClassScores(**values) for name, values in found["per_class"].items()}
            found["confusion"] = _read_confusion(found["confusion"], len(found["classes"]))
            return cls(**found)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"The stored scores can't be read ({type(error).__name__}: {error}). "
                "metrics.json is damaged or from another version; evaluate the model again."
            ) from error


def _read_confusion(stored: Any, n_classes: int) -> list[list[int]]:
    """The whole matrix of what `to_json` made of it."""
    if not isinstance(stored, Mapping):
        return [[int(count) for count in row] for row in stored]
    whole = [[0] * n_classes for _ in range(n_classes)]
    for true, predicted, count in zip(*(stored[name] for name in _CELL_PARTS), strict=True):
        whole[true][predicted] = int(count)
    return whole


def score(
    probabilities: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    uncalibrated: ArrayLike | None = None,
    seed: int = 0,
) -> Scores:
    """Measure probabilities against true labels.

    The predicted class is the most probable one, the first of equals. Balanced accuracy and macro-F1
    average over the classes that have images here (so macro-F1 equals scikit-learn's with
    `labels=` those classes); a wrong answer still counts against the class it should have been.

    Args:
        probabilities: `(N, K)` float; rows sum to 1.
        labels: `(N,)` int within 0..K-1.
        classes: K names.
        uncalibrated: `(N, K)` float, the probabilities before calibration.
        seed: Of the bootstrap of macro-F1.

    Raises:
        ValueError: Shapes disagree, there are no images, a label is out of range, or the rows are
            not probabilities.
    """
    p = _checked_probabilities(probabilities, len(classes))
    y = _checked_labels(labels, p)
    predicted = p.argmax(axis=1)
    confusion = confusion_matrix(y, predicted, len(classes))
    n, right = len(y), int(np.trace(confusion))
    per_class = _per_class(confusion, classes)
    seen = [scores for scores in per_class.values() if scores.support]
    before = None if uncalibrated is None else _checked_probabilities(uncalibrated, len(classes))
    if before is not None and before.shape != p.shape:
        raise ValueError(f"uncalibrated must be of shape {p.shape} as probabilities; got {before.shape}")
    return Scores(
        n=n,
        accuracy=right / n,
        accuracy_interval=wilson_interval(right, n),
        balanced_accuracy=float(np.mean([s.recall for s in seen if s.recall is not None])),
        macro_f1=float(np.mean([s.f1 for s in seen if s.f1 is not None])),
        macro_f1_interval=macro_f1_interval(confusion, seed=seed),
        log_loss=_log_loss(p, y),
        brier=_brier(p, y),
        ece=expected_calibration_error(p, y),
        ece_uncalibrated=None if before is None else expected_calibration_error(before, y),
        per_class=per_class,
        confusion=confusion.tolist(),
        classes=tuple(classes),
    )


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Count `(K, K)`: rows are true classes, columns predicted ones; both given as `(N,)` int."""
    cells = np.asarray(labels) * n_classes + np.asarray(predicted)
    counts = np.bincount(cells, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return how far the top class's probability and its accuracy lie apart, on average.

    Images are put into 15 bins of equal width by the probability of their top class; the gaps between
    mean probability and accuracy of the bins are averaged, weighted by the images in each.

    Source: Naeini et al., 2015, in the form of Guo et al., "On Calibration of Modern Neural Networks", 2017.

    Args:
        probabilities: `(N, K)` float.
        labels: `(N,)` int.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    return calibration_error(p.max(axis=1), p.argmax(axis=1) == np.asarray(labels))


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The expected calibration error of answers given with some confidence `(N,)`, right or not `(N,)`."""
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, ClassScores]:
    supports, answers, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    return {
        name: _class_scores(int(right[k]), int(supports[k]), int(answers[k]))
        for k, name in enumerate(classes)
    }


def _class_scores(right: int, support: int, answers: int) -> ClassScores:
    return ClassScores(
        precision=right / answers if answers else None,
        recall=right / support if support else None,
        f1=2 * right / (support + answers) if support else None,
        support=support,
    )


def _log_loss(p: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    of_truth = p[np.arange(len(y)), y]
    return 0.0 - float(np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0)).mean())  # never -0.0


def _brier(p: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    # sum over classes of (p - onehot)² without making the one-hot matrix
    return float(((p * p).sum(axis=1) - 2 * p[np.arange(len(y)), y] + 1).mean())


def _checked_probabilities(probabilities: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != n_classes or len(p) == 0:
        raise ValueError(f"probabilities must be (N, {n_classes}) with N of at least 1; got {p.shape}")
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-2).any():
        raise ValueError(
            "probabilities must be finite, not negative, and sum to 1 in each row; are they logits?"
        )
    return p


def _checked_labels(labels: ArrayLike, p: NDArray[np.float64]) -> NDArray[np.intp]:
    y = np.asarray(labels)
    if y.shape != p.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels must be ({len(p)},) integers; got {y.shape} {y.dtype}")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels must lie within 0..{p.shape[1] - 1}; got {y.min()}..{y.max()}")
    return y.astype(np.intp)
