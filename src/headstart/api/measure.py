"""Measure a head on what it has not seen."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.api.plan import SplitPlan
from headstart.classifier import head_logits
from headstart.data.dataset import Dataset
from headstart.features.store import FeatureStore
from headstart.heads.hidden import Hidden
from headstart.heads.probe import Probe
from headstart.metrics.calibration import softmax
from headstart.metrics.scores import Scores, score
from headstart.metrics.summary import Source


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One measured part of the data.

    Attributes:
        rows: Its samples' positions in the data set, `(n,)`.
        probabilities: `(n, K)`.
        scores: What they are worth.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    scores: Scores


class LinearHead(Protocol):
    """A calibrated head: weight `(K, d)`, bias `(K,)`, and the temperature that was divided in."""

    @property
    def weight(self) -> NDArray[np.float32]: ...  # noqa: D102

    @property
    def bias(self) -> NDArray[np.float32]: ...  # noqa: D102

    @property
    def temperature(self) -> float: ...  # noqa: D102


def measure_probe(dataset: Dataset, plan: SplitPlan, probe: Probe, store: FeatureStore) -> dict[Source, Part]:
    """Score a probe: as `measure` does, but without a test split its nested cross-validation comes first."""
    parts = measure(dataset, plan, probe, store)
    if "test" in parts:
        return parts
    rows = plan.rows("train")
    labels = dataset.class_indices()[rows]
    scores = score(probe.probabilities, labels, dataset.classes, uncalibrated=probe.uncalibrated)
    return {"cross-validation": Part(rows, probe.probabilities, scores), **parts}


def measure(
    dataset: Dataset, plan: SplitPlan, head: LinearHead, store: FeatureStore, hidden: Hidden = ()
) -> dict[Source, Part]:
    """Score the test split and the validation split, where there are such.

    The first part is the one whose accuracy is the model's. A head may have hidden layers before it.
    """
    parts: dict[Source, Part] = {}
    labels = dataset.class_indices()
    held_out: tuple[Source, ...] = ("test", "val")
    for name in held_out:
        rows = plan.rows(name)
        if len(rows):
            features = store.table([dataset.samples[row].file.key for row in rows])
            blocks = [head_logits(x, head.weight, head.bias, hidden) for _, x in features.blocks()]
            logits = np.concatenate(blocks)
            p, uncalibrated = softmax(logits), softmax(logits * head.temperature)
            parts[name] = Part(rows, p, score(p, labels[rows], dataset.classes, uncalibrated=uncalibrated))
    return parts
