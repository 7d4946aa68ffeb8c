"""The training images that a picture is most like, by the cosine of their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Similar:
    """A training image and how like it a picture is.

    Attributes:
        path: Where it was when the run was trained.
        label: Its class.
        cosine: Between the features, at most 1.
        moved: Whether it is no longer there.
    """

    path: str
    label: str
    cosine: float
    moved: bool


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Training images by their features.

    Attributes:
        features: `(N, d)`.
        paths: N places.
        labels: N classes.
        moved: Whether each is no longer in its place, `(N,)`.
    """

    features: Floats
    paths: Sequence[str]
    labels: Sequence[str]
    moved: NDArray[np.bool_]

    def find(self, features: Floats, count: int, *, without: str | None = None) -> list[Similar]:
        """The `count` most similar ones, the most similar first.

        Args:
            features: Of a picture, `(d,)`.
            count: At most so many.
            without: A place to leave out: the picture's own.
        """
        if not len(self.paths):
            return []
        cosines = _unit(self.features) @ _unit(features[None])[0]
        order = [int(row) for row in np.argsort(-cosines, kind="stable") if self.paths[row] != without]
        return [
            Similar(self.paths[row], self.labels[row], float(cosines[row]), bool(self.moved[row]))
            for row in order[:count]
        ]


def _unit(features: Floats) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = features / np.maximum(lengths, 1e-12)
    return scaled
