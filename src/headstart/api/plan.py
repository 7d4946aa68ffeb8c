"""Who learns and who measures."""

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headstart.config import TrainConfig
from headstart.data.dataset import Dataset
from headstart.data.splits import choose_n_folds, hold_out, make_folds, make_groups, parse_split
from headstart.errors import ConfigError
from headstart.features.duplicates import find_near_duplicates
from headstart.features.store import FeatureStore

_TEST_FRACTION = 0.2
_OTHER_SEED = 0x9E3779B9  # so that validation images are drawn independently of test images


@dataclass(frozen=True, slots=True, eq=False)
class SplitPlan:
    """Which part each sample is in.

    Attributes:
        parts: `train`, `val` or `test` of each sample, `(N,)`.
        groups: `(N,)`; copies, near-duplicates and the user's own groups share a number.
        folds: Fold of each training sample, -1 of the others, `(N,)`.
    """

    parts: NDArray[np.str_]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]

    def rows(self, part: str) -> NDArray[np.int64]:
        """Positions of one part's samples."""
        return np.flatnonzero(self.parts == part)

    @property
    def leaked(self) -> NDArray[np.int64]:
        """Positions of test samples of which training holds a copy or a near-duplicate."""
        learnt = np.unique(self.groups[self.parts != "test"])
        test = self.rows("test")
        return test[np.isin(self.groups[test], learnt)]


def plan_split(
    dataset: Dataset, store: FeatureStore, config: TrainConfig, *, val_fraction: float | None = None
) -> SplitPlan:
    """Use the data's own splits; without a test split hold one out if asked; deal folds for training.

    Args:
        dataset: N samples.
        store: Their features, which tell near-duplicates.
        config: Says how much to hold out.
        val_fraction: Share of the training images to make choices on, where the data has no
            validation split; without a test split a fifth is then held out for the test, too. None
            holds nothing out for choices.

    Raises:
        ConfigError: A test split exists, and another is to be held out.
    """
    samples = dataset.samples
    keys = [sample.file.key for sample in samples]
    labels = dataset.class_indices()
    links = find_near_duplicates(store.table(keys), store.difference_hashes(keys), labels)
    names = [sample.group for sample in samples]
    groups = make_groups(keys, names, links)
    parts = np.array([sample.split or "train" for sample in samples])
    train = np.flatnonzero(parts == "train")
    has_test = bool((parts == "test").any())
    if has_test and config.test_fraction is not None:
        raise ConfigError(
            f"{dataset.root} has a test split of its own, so --test-fraction {config.test_fraction} "
            "would make a second one. Leave it out, or remove the test split."
        )
    test_fraction = config.test_fraction
    if test_fraction is None and val_fraction is not None and not has_test:
        test_fraction = _TEST_FRACTION
    has_val = bool((parts == "val").any())
    wanted = {"test": test_fraction, "val": None if has_val else val_fraction}
    for offset, (part, fraction) in enumerate(wanted.items()):
        if fraction is not None:
            held = hold_out(
                [keys[row] for row in train],
                labels[train],
                groups[train],
                [names[row] for row in train],
                fraction=fraction,
                seed=(config.seed + offset * _OTHER_SEED) % 2**32,
            )
            parts[train[held]] = part
            train = train[~held]
    folds = np.full(len(samples), -1, np.int64)
    n_folds = choose_n_folds(labels[train], groups[train], config.folds)
    if n_folds < 2:
        raise ConfigError(
            f"All training images of {dataset.root} belong to one group of copies or near-duplicates, so "
            "nothing is left to measure with. Add different images, or other groups."
        )
    folds[train] = make_folds(
        [keys[row] for row in train], labels[train], groups[train], n_folds=n_folds, seed=config.seed
    )
    return SplitPlan(parts, groups, folds)


def check_held_out(dataset: Dataset, plan: SplitPlan) -> None:
    """See that there are images to make choices on, and images to measure with.

    Raises:
        ConfigError: Nothing could be held out.
    """
    for part, name in (("val", "validation"), ("test", "the test")):
        if not len(plan.rows(part)):
            raise ConfigError(
                f"Nothing of {dataset.root} can be held out for {name}: each class is one group of copies, "
                f"near-duplicates or the same group. Add different images, or a {part}/ folder."
            )


def fix_split(dataset: Dataset, plan: SplitPlan) -> Dataset:
    """The data set with the plan's parts as its own splits: whoever trains on it holds out the same."""
    samples = [
        replace(sample, split=parse_split(str(part)))
        for sample, part in zip(dataset.samples, plan.parts, strict=True)
    ]
    return replace(dataset, samples=tuple(samples))


def digest_split(dataset: Dataset, plan: SplitPlan) -> str:
    """Decided by the images' content, their classes and parts, not by their names or order."""
    content = sorted(
        (sample.file.key, sample.label, str(part))
        for sample, part in zip(dataset.samples, plan.parts, strict=True)
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
