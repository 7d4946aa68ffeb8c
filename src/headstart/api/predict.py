"""Predict: files, folders and globs become rows."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.classifier import Classifier, Prediction
from headstart.data.files import Skipped, find_images, natural_key
from headstart.errors import DatasetNotFoundError

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One image's answer.

    Attributes:
        path: The file.
        predicted: The most probable class, `unknown` below the threshold, None for an unreadable file.
        confidence: Its probability.
        top: The most probable classes with their probabilities, best first.
        error: Why the file can't be read, or None.
    """

    path: str
    predicted: str | None
    confidence: float | None
    top: tuple[tuple[str, float], ...]
    error: str | None


def expand_inputs(inputs: Iterable[str]) -> list[str | Skipped]:
    """Files as they are, folders to the images in them, globs to what they match; order kept.

    A file that doesn't exist stays in the list, and becomes a row with its error; so does what a
    folder holds but can't be listed.

    Raises:
        DatasetNotFoundError: A folder holds no images, a glob matches nothing, a name is empty, or nothing
            was given.
    """
    paths: list[str | Skipped] = []
    for name in inputs:
        if not name:
            raise DatasetNotFoundError("An image's name is empty. Name files, folders or globs.")
        if os.path.isdir(name):  # noqa: PTH112 - Path's own raises where a folder is forbidden
            paths += _look_inside(name)
        elif not os.path.lexists(name) and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True), key=natural_key)  # noqa: PTH207
            if not matches:
                raise DatasetNotFoundError(f"Nothing matches {name}. Check the pattern.")
            paths += expand_inputs(matches)
        else:
            paths.append(name)
    if not paths:
        raise DatasetNotFoundError("No images to predict. Name files, folders or globs, or - for a list.")
    return paths


def _look_inside(folder: str) -> list[str | Skipped]:
    """Images below a folder as the user spells it, then what can't be used."""
    images, skipped = find_images(Path(folder))
    if not images and not skipped:
        raise DatasetNotFoundError(f"The folder {folder} has no images in it. Name another.")
    top = len(os.path.abspath(folder))  # noqa: PTH100 - as find_images spells it
    return [
        *(f"{folder.rstrip(os.sep)}{path[top:]}" for path in images),
        *(Skipped(f"{folder.rstrip(os.sep)}{skip.path[top:]}", skip.reason) for skip in skipped),
    ]


def predict(
    classifier: Classifier, paths: Sequence[str | Skipped], *, top: int = 1, unknown_below: float = 0.0
) -> Iterator[Row]:
    """Predict files in order, a row each, in bounded memory.

    Args:
        classifier: From `load`.
        paths: Files, see `expand_inputs`.
        top: How many classes each row lists.
        unknown_below: Answer `unknown` where the best probability is below this.
    """
    predictions = classifier.stream([path for path in paths if isinstance(path, str)])
    for path in paths:
        if isinstance(path, Skipped):
            yield Row(path.path, None, None, (), path.reason)
        else:
            yield _row(classifier.classes, next(predictions), top, unknown_below)


def _row(classes: Sequence[str], prediction: Prediction, top: int, unknown_below: float) -> Row:
    p = prediction.probabilities
    if p is None:
        return Row(prediction.path, None, None, (), prediction.error)
    best = np.argsort(-p, kind="stable")[:top]
    confidence = float(p[best[0]])
    predicted = classes[best[0]] if confidence >= unknown_below else UNKNOWN
    return Row(prediction.path, predicted, confidence, tuple((classes[k], float(p[k])) for k in best), None)
