"""What the source classifier knows before any training: checked, shown, and handed to the head."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.api.plan import SplitPlan
from headstart.api.prepare import Prepared
from headstart.features.store import FeatureTable
from headstart.heads.source import (
    By,
    EstimatedPrior,
    NamedPrior,
    Prior,
    SourceClassifier,
    judge_prior,
    match_classes,
)
from headstart.metrics.intervals import wilson_interval

_HOW: dict[By, str] = {"name": "carried over by name", "estimate": "mixed by its answers to each class"}
_IMAGES = {"train": "training images", "test": "test images"}


@dataclass(frozen=True, slots=True)
class Hits:
    """How many images of a part are right, and its accuracy with a 95 % Wilson interval."""

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """How good the source classifier's rows are without any training.

    Attributes:
        by: Whether rows were carried over by name, or estimated. An estimate reads labels, so each
            training image is judged by rows that were mixed without its fold.
        rows: The weightiest source classes of each class.
        parts: The training images, which taught nothing; and the test images where there are any.
    """

    by: By
    rows: Mapping[str, tuple[str, ...]]
    parts: Mapping[Literal["train", "test"], Hits]

    def describe(self) -> list[str]:
        """A line a part."""
        return [
            f"Zero-shot: the source classifier's rows, {_HOW[self.by]}, get {100 * hits.accuracy:.1f} % of "
            f"{hits.n:,} {_IMAGES[part]} right before any training (95 % interval "
            f"{100 * hits.accuracy_interval[0]:.1f} to {100 * hits.accuracy_interval[1]:.1f})."
            for part, hits in self.parts.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "by": self.by,
            "rows": {name: list(rows) for name, rows in self.rows.items()},
            **{part: asdict(hits) for part, hits in self.parts.items()},
        }


def find_prior(prepared: Prepared, plan: SplitPlan) -> Prior | None:
    """Heads from the source classifier's rows, if they were asked for.

    Raises:
        ConfigError: A class named is none of the data's or the source's.
    """
    config, trunk, dataset = prepared.config, prepared.trunk, prepared.dataset
    if config.head_init != "source":
        return None
    source = SourceClassifier(*trunk.source_head, trunk.source_classes)
    rows = plan.rows("train")
    features = prepared.stores["center"].table([dataset.samples[row].file.key for row in rows])
    classes = dataset.classes
    if not config.source_class:
        return EstimatedPrior(source, features, dataset.class_indices()[rows], len(classes))
    matches = match_classes(config.source_class, classes, trunk.source_classes)
    return NamedPrior(source, matches, len(classes), features)


def show_zero_shot(prepared: Prepared, plan: SplitPlan, prior: Prior | None) -> None:
    """Tell how good the source's rows are on the training images, which have taught nothing yet."""
    if prior is not None:
        for line in _zero_shot(prepared, plan, prior, ()).describe():
            prepared.progress.note(line)


def measure_zero_shot(prepared: Prepared, plan: SplitPlan) -> ZeroShot | None:
    """Measure the source's rows on training and test images; None where they weren't asked for."""
    prior = find_prior(prepared, plan)
    return None if prior is None else _zero_shot(prepared, plan, prior, ("test",))


def source_head(prior: Prior, n_train: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head that all training images imply: weight `(K, d)` and bias `(K,)`."""
    weight, bias = prior.heads(np.ones((1, n_train), np.bool_))
    return weight[:, 0], bias[:, 0]


def _zero_shot(
    prepared: Prepared, plan: SplitPlan, prior: Prior, held_out: tuple[Literal["test"], ...]
) -> ZeroShot:
    dataset, labels = prepared.dataset, prepared.dataset.class_indices()
    rows = plan.rows("train")
    logits = judge_prior(prior, _features(prepared, rows), plan.folds[rows])
    parts: dict[Literal["train", "test"], Hits] = {"train": _count(logits, labels[rows])}
    weight, bias = source_head(prior, len(rows))
    for part in held_out:
        if len(measured := plan.rows(part)):
            blocks = [x @ weight.T + bias for _, x in _features(prepared, measured).blocks()]
            parts[part] = _count(np.concatenate(blocks), labels[measured])
    return ZeroShot(prior.by, dict(zip(dataset.classes, prior.rows(), strict=True)), parts)


def _features(prepared: Prepared, rows: NDArray[np.int64]) -> FeatureTable:
    samples = prepared.dataset.samples
    return prepared.stores["center"].table([samples[row].file.key for row in rows])


def _count(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Hits:
    right = int((logits.argmax(axis=1) == labels).sum())
    return Hits(len(labels), right / len(labels), wilson_interval(right, len(labels)))
