"""What the checks look at: the labelled pictures, their features, what they look like, which are copies."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.data.dataset import Dataset
from headstart.data.splits import choose_n_folds, make_folds, make_groups
from headstart.evaluation.checks.appearance import Appearance
from headstart.features.store import FeatureTable


@dataclass(frozen=True, eq=False)
class Evidence:
    """N labelled pictures that can be decoded.

    Attributes:
        dataset: Their files, labels and splits.
        features: Of the frozen backbone, `(N, d)`.
        appearance: What was measured of the pixels.
        near: Pairs of rows that show the same picture, `(M, 2)`; exact copies are told by their keys.
        seed: Deals the folds.
    """

    dataset: Dataset
    features: FeatureTable
    appearance: Appearance
    near: NDArray[np.int64]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Of each picture."""
        return tuple(sample.file.path for sample in self.dataset.samples)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Content hash of each picture."""
        return tuple(sample.file.key for sample in self.dataset.samples)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Position of each picture's class in `dataset.classes`, `(N,)`."""
        return self.dataset.class_indices()

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Pictures of each class, `(K,)`."""
        return np.bincount(self.labels, minlength=len(self.dataset.classes))

    @cached_property
    def in_test(self) -> NDArray[np.bool_]:
        """Whether a picture is in the test split, `(N,)`."""
        return np.array([sample.split == "test" for sample in self.dataset.samples], np.bool_)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Copies, near-duplicates and the user's own groups share a number, `(N,)`."""
        return make_groups(self.keys, [sample.group for sample in self.dataset.samples], self.near)

    @cached_property
    def folds(self) -> NDArray[np.int64]:
        """Fold of each picture, `(N,)`; all zero where the pictures can't be parted."""
        n_folds = choose_n_folds(self.labels, self.groups)
        if n_folds < 2:
            return np.zeros(len(self), np.int64)
        return make_folds(self.keys, self.labels, self.groups, n_folds=n_folds, seed=self.seed)

    @cached_property
    def can_cross_validate(self) -> bool:
        """Whether there are two folds, and two classes to tell apart."""
        return bool(self.folds.any()) and int((self.counts > 0).sum()) > 1
