"""Say in plain words how good a classifier is, and what its number can't tell."""

import math
from typing import Literal

import numpy as np

from headstart.metrics.scores import Scores

Source = Literal["test", "val", "cross-validation"]
"""Where the judged images come from: a test split, a validation split, or each image held out in turn."""

FEW_IMAGES_OF_A_CLASS = 30
WIDE_INTERVAL = 0.10
FEW_IMAGES_FOR_CONFIDENCE = 100  # below, chance alone moves the calibration error by several points

_IMAGES: dict[Source, str] = {"test": "test images", "val": "validation images", "cross-validation": "images"}
_HOW: dict[Source, str] = {
    "test": "",
    "val": " Choices were made on these images, so expect a little less on new ones.",
    "cross-validation": " Each was judged by a model that had not seen it.",
}
_NOT_NESTED = (
    " Each was judged by a model that had not seen it, but settings were chosen on all: cross-validation "
    "(not nested), which flatters a little."
)


def summarise(scores: Scores, *, source: Source, nested: bool = True, chosen: bool = True) -> list[str]:
    """Describe `scores` in three to six lines, without jargon.

    In order: accuracy and its interval; what always guessing the commonest class would reach; the
    weakest class and the most frequent confusion; whether its confidence can be believed; and, where
    the images are few, what the number can't tell.

    Args:
        scores: What was measured.
        source: Where the judged images come from.
        nested: Whether cross-validation kept each image out of the choices, too.
        chosen: Whether a validation split decided anything; a solved head chooses by cross-validation.
    """
    how = _HOW[source] if nested or source != "cross-validation" else _NOT_NESTED
    if source == "val" and not chosen:
        how = ""
    lines = [_accuracy(scores, source, how), _guessing(scores), *_weakest(scores), *_confusion(scores)]
    lines += [_confidence(scores), *_limits(scores, source)]
    return lines


def _accuracy(scores: Scores, source: Source, how: str) -> str:
    low, high = scores.accuracy_interval
    images = _IMAGES[source] if scores.n != 1 else _IMAGES[source].removesuffix("s")
    return (
        f"{_percent(scores.accuracy)} of {scores.n:,} {images} right "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f}).{how}"
    )


def _guessing(scores: Scores) -> str:
    name, commonest = max(scores.per_class.items(), key=lambda item: item[1].support)
    share = _percent(commonest.support / scores.n)
    return f"Always answering {_quoted(name)}, the commonest class, would get {share}."


def _weakest(scores: Scores) -> list[str]:
    recalls = {name: s.recall for name, s in scores.per_class.items() if s.recall is not None}
    if len(recalls) < 2 or min(recalls.values()) == max(recalls.values()):
        return []
    name = min(recalls, key=lambda key: recalls[key])
    support = scores.per_class[name].support
    found = f"{round(recalls[name] * support):,} of its {_count(support)} found"
    return [f"Weakest class: {_quoted(name)}, {found} ({_percent(recalls[name])})."]


def _confusion(scores: Scores) -> list[str]:
    counts = np.array(scores.confusion)
    errors = counts - np.diag(np.diag(counts))
    if not errors.any():
        return []
    true, predicted = np.unravel_index(int(errors.argmax()), errors.shape)
    support = int(counts[true].sum())
    mixed_up = f"{_quoted(scores.classes[true])} taken for {_quoted(scores.classes[predicted])}"
    return [f"Most frequent mistake: {mixed_up}, {errors[true, predicted]:,} of {_count(support)}."]


def _confidence(scores: Scores) -> str:
    before = (
        ""
        if scores.ece_uncalibrated is None
        else f" (before calibration: {_points(scores.ece_uncalibrated)})"
    )
    line = f"How sure it is and how often it is right differ by {_points(scores.ece)} on average{before}"
    if scores.n < FEW_IMAGES_FOR_CONFIDENCE:
        return f"{line}; on so few images, part of that is chance."
    return f"{line}."


def _limits(scores: Scores, source: Source) -> list[str]:
    low, high = scores.accuracy_interval
    if high - low > WIDE_INTERVAL:
        return [_too_few(scores)]
    few = [name for name, s in scores.per_class.items() if s.support < FEW_IMAGES_OF_A_CLASS]
    return [_too_few_of_a_class(scores, few, source)] if few else []


def _too_few(scores: Scores) -> str:
    return (
        f"With {_count(scores.n)}, one more or fewer right moves the accuracy by {_points(1 / scores.n)}; "
        "two models measured this way can't be told apart if they differ by less than about "
        f"{_points(_indistinguishable(scores), 0)}."
    )


def _too_few_of_a_class(scores: Scores, few: list[str], source: Source) -> str:
    fewest = min(few, key=lambda name: scores.per_class[name].support)
    support = scores.per_class[fewest].support
    kind = _IMAGES[source].removesuffix("s")
    others = f" {len(few)} classes have fewer than {FEW_IMAGES_OF_A_CLASS}." if len(few) > 1 else ""
    if support == 0:
        return f"{_quoted(fewest)} has no {kind}, so nothing is known of how well it is found.{others}"
    return (
        f"{_quoted(fewest)} has only {support} {kind}{'s' if support > 1 else ''}: "
        f"one more or fewer right moves its share found by {_points(1 / support)}.{others}"
    )


def _indistinguishable(scores: Scores) -> float:
    """Return the difference of two independent accuracies that chance exceeds once in twenty.

    The accuracy is first pulled towards one half by two right and two wrong answers, else a model
    that makes no mistake would seem to be known exactly (Agresti and Coull, 1998).
    """
    p = (scores.accuracy * scores.n + 2) / (scores.n + 4)
    return min(1.96 * math.sqrt(2 * p * (1 - p) / scores.n), 1.0)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float, digits: int = 1) -> str:
    number = f"{100 * share:.{digits}f}"
    return f"{number} {'point' if float(number) == 1 else 'points'}"


def _count(n: int) -> str:
    return f"{n:,} image{'' if n == 1 else 's'}"


def _quoted(name: str) -> str:
    """Return a class's name on one line, set off from the words around it."""
    return f"“{' '.join(name.split())}”"
