"""Predict: files, folders and globs become rows."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.classifier import Classifier, Prediction
from headstart.data.files import find_images
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


def expand_inputs(inputs: Iterable[str]) -> list[str]:
    """Files as they are, folders to the images in them, globs to what they match; order kept.

    A file that doesn't exist stays in the list, and becomes a row with its error.

    Raises:
        DatasetNotFoundError: A folder holds no images, a glob matches nothing, or nothing was given.
    """
    paths: list[str] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = find_images(path)[0]
            if not found:
                raise DatasetNotFoundError(f"The folder {name} has no images in it.")
            paths += found
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - keeps the user's spelling
            if not matches:
                raise DatasetNotFoundError(f"Nothing matches {name}.")
            paths += expand_inputs(matches)
        else:
            paths.append(name)
    if not paths:
        raise DatasetNotFoundError("No images to predict. Name files, folders or globs, or - for a list.")
    return paths


def predict(
    classifier: Classifier, paths: Sequence[str], *, top: int = 1, unknown_below: float = 0.0
) -> Iterator[Row]:
    """Predict files in order, a row each, in bounded memory.

    Args:
        classifier: From `load`.
        paths: Files, see `expand_inputs`.
        top: How many classes each row lists.
        unknown_below: Answer `unknown` where the best probability is below this.
    """
    for prediction in classifier.stream(paths):
        yield _row(classifier.classes, prediction, top, unknown_below)


def _row(classes: Sequence[str], prediction: Prediction, top: int, unknown_below: float) -> Row:
    p = prediction.probabilities
    if p is None:
        return Row(prediction.path, None, None, (), prediction.error)
    best = np.argsort(-p, kind="stable")[:top]
    confidence = float(p[best[0]])
    predicted = classes[best[0]] if confidence >= unknown_below else UNKNOWN
    return Row(prediction.path, predicted, confidence, tuple((classes[k], float(p[k])) for k in best), None)
