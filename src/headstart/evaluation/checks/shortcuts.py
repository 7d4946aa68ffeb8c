"""Shortcuts: what says nothing about the object and yet tells the label.

If a file's size alone predicts the class, the model may learn the camera, not the object
(Geirhos and others, "Shortcut learning in deep neural networks", 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.finding import Finding
from headstart.metrics.intervals import wilson_interval

TELLING, SPOILING = 0.2, 0.5
"""Share of what guessing leaves unknown that one attribute surely tells: to be named, and to be grave."""

MAX_CLASSES = 50
"""Shortcuts are sought among the largest ones."""

_LEAST_PICTURES = 30
_LEAVES, _LEAST_A_LEAF = 24, 5
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_OF_THE_OBJECT = {"mean colour", "border"}
"""May belong to the object or its surroundings, and so be of use: told, but never grave."""


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How well one attribute alone predicts the label.

    Attributes:
        attribute: Such as `width`.
        accuracy: Cross-validated, of a small decision tree.
        interval: Its 95 % interval.
        guessing: The share of the largest class.
    """

    attribute: str
    accuracy: float
    interval: tuple[float, float]
    guessing: float

    @property
    def telling(self) -> float:
        """Share of what guessing leaves unknown that it surely tells."""
        return max((self.interval[0] - self.guessing) / max(1 - self.guessing, 1e-9), 0.0)


def find_shortcuts(evidence: Evidence) -> Iterator[Finding]:
    """Attributes that predict the label well above chance."""
    for found in measure_shortcuts(evidence):
        if found.telling < TELLING:
            continue
        low, high = found.interval
        grave = found.telling >= SPOILING and found.attribute not in _OF_THE_OBJECT
        yield Finding(
            "shortcut",
            "error" if grave else "warning",
            (),
            found.telling,
            f"{found.attribute} alone predicts the class with {found.accuracy:.1%} accuracy (95 % interval "
            f"{low:.1%} to {high:.1%}); guessing has {found.guessing:.1%}",
            "The model may learn this instead of the object. Take the pictures of all classes in one way, "
            "or save all alike, and test on pictures from elsewhere.",
        )


def measure_shortcuts(evidence: Evidence) -> list[Shortcut]:
    """Cross-validate a small decision tree on each attribute, among the largest classes."""
    from sklearn.tree import DecisionTreeClassifier

    largest = np.argsort(-evidence.counts, kind="stable")[:MAX_CLASSES]
    rows = np.flatnonzero(np.isin(evidence.labels, largest))
    if len(rows) < _LEAST_PICTURES:
        return []
    labels, folds = evidence.labels[rows], evidence.folds[rows]
    guessing = float(np.bincount(labels).max() / len(labels))
    measured = []
    for name, values in attributes(evidence).items():
        x = values[rows]
        if (x == x[0]).all():
            continue
        right = 0
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            if not out.any() or out.all():
                continue
            tree = DecisionTreeClassifier(
                max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST_A_LEAF, random_state=0
            )
            tree.fit(x[~out], labels[~out])
            right += int((tree.predict(x[out]) == labels[out]).sum())
        measured.append(Shortcut(name, right / len(rows), wilson_interval(right, len(rows)), guessing))
    return measured


def attributes(evidence: Evidence) -> dict[str, NDArray[np.float32]]:
    """What is looked at, each `(N, columns)`."""
    files = [sample.file for sample in evidence.dataset.samples]
    looks = evidence.appearance
    sizes = np.array([(f.width_px, f.height_px) for f in files], np.float32)
    turned = looks["orientation"] >= 5
    sizes[turned & (looks["orientation"] <= 8)] = sizes[turned & (looks["orientation"] <= 8)][:, ::-1]
    formats = np.array([_FORMATS.index(f.format) if f.format in _FORMATS else -1 for f in files], np.float32)
    found = {
        "width": sizes[:, :1],
        "height": sizes[:, 1:],
        "aspect": sizes[:, :1] / sizes[:, 1:],
        "file size": np.array([[f.size_bytes] for f in files], np.float32),
        "format": (formats[:, None] == np.arange(len(_FORMATS))).astype(np.float32),
        "JPEG quality": looks.take(["jpeg_quality"]),
        "mean colour": looks.take(["red", "green", "blue"]),
        "border": looks.take(["border_red", "border_green", "border_blue", "border_spread"]),
    }
    return {name: np.nan_to_num(values) for name, values in found.items()}
