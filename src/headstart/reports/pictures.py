"""Which pictures a report shows, and beside which words."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.reports.contents import Judged
from headstart.run.tables import SplitTable

FULL_MATRIX = 20
"""With more classes, only so many of the most confused are drawn."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture and its words.

    Attributes:
        path: Of the file.
        words: Below it.
        wrong: Whether the model was.
    """

    path: str
    words: str
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix.

    Attributes:
        true: Position of the true class.
        predicted: Position of the class predicted.
        count: Images.
        share: Of the true class's images.
        shots: Some of them, the surest first where they are wrong, the least sure where they are right.
    """

    true: int
    predicted: int
    count: int
    share: float
    shots: tuple[Shot, ...]


def sample_grid(
    split: SplitTable, classes: Sequence[str], per_class: int, most_classes: int
) -> list[tuple[str, list[Shot]]]:
    """Some training pictures of each class, chosen by content, so that the same data show the same.

    Of very many classes, those spread evenly over the list are shown.
    """
    rows: dict[str, list[int]] = {name: [] for name in classes}
    for row, (label, part) in enumerate(zip(split.labels, split.splits, strict=True)):
        if part == "train" and label in rows:
            rows[label].append(row)
    step = max(-(-len(classes) // most_classes), 1)
    shown = []
    for name in list(classes)[::step]:
        chosen = sorted(rows[name], key=lambda row: split.keys[row])[:per_class]
        if chosen:
            shown.append((name, [Shot(split.paths[row], "") for row in chosen]))
    return shown


def top_losses(judged: Judged, classes: Sequence[str], most: int) -> list[Shot]:
    """The pictures whose true class the model gave the least probability."""
    order = np.argsort(judged.of_truth, kind="stable")[:most]
    return [_shot(judged, classes, int(row)) for row in order if judged.of_truth[row] < 1]


def shown_classes(confusion: NDArray[np.int64]) -> list[int]:
    """Positions of the classes that the matrix shows: all, or the most confused."""
    k = len(confusion)
    if k <= FULL_MATRIX:
        return list(range(k))
    mistakes = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * np.diag(confusion)
    return sorted(int(c) for c in np.argsort(-mistakes, kind="stable")[:FULL_MATRIX])


def make_cells(
    confusion: NDArray[np.int64], judged: Judged | None, classes: Sequence[str], per_cell: int
) -> list[list[Cell]]:
    """Rows of the matrix, of the classes that are shown."""
    chosen = shown_classes(confusion)
    supports = np.maximum(confusion.sum(axis=1), 1)
    return [
        [
            Cell(
                true,
                predicted,
                int(confusion[true, predicted]),
                float(confusion[true, predicted] / supports[true]),
                _of_cell(judged, classes, true, predicted, per_cell) if judged else (),
            )
            for predicted in chosen
        ]
        for true in chosen
    ]


def _of_cell(
    judged: Judged, classes: Sequence[str], true: int, predicted: int, most: int
) -> tuple[Shot, ...]:
    rows = np.flatnonzero((judged.labels == true) & (judged.predicted == predicted))
    sureness = judged.probabilities[rows, predicted]
    order = np.argsort(sureness if true == predicted else -sureness, kind="stable")[:most]
    return tuple(_shot(judged, classes, int(row)) for row in rows[order])


def _shot(judged: Judged, classes: Sequence[str], row: int) -> Shot:
    true, predicted = int(judged.labels[row]), int(judged.predicted[row])
    sure = f"{classes[predicted]} {_percent(judged.probabilities[row, predicted])}"
    if true == predicted:
        return Shot(judged.paths[row], sure)
    words = f"{sure}; truly {classes[true]}, {_percent(judged.of_truth[row])}"
    return Shot(judged.paths[row], words, wrong=True)


def _percent(share: float) -> str:
    """In whole percent, but never nothing for something; the space does not break."""
    return (
        f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
        if share >= 0.005
        else "<\N{NO-BREAK SPACE}1\N{NO-BREAK SPACE}%"
    )


def find_missing(paths: Iterable[str]) -> list[str]:
    """Those that are no files any more."""
    return [path for path in dict.fromkeys(paths) if not os.path.isfile(path)]  # noqa: PTH113 - of many


def common_root(paths: Sequence[str]) -> str:
    """The deepest folder above all paths, so that a page need not tell where on a machine they lie."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - text, as the tables have it
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative ones, or of two drives
        return ""


def short_path(path: str, root: str) -> str:
    """A path below the root, else its name and its folder's."""
    if root and path.startswith(root + os.sep):
        return path[len(root) + 1 :]
    return str(Path(*Path(path).parts[-2:]))
