"""Measure a head on what it has not seen."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.api.plan import SplitPlan
from headstart.classifier import head_logits
from headstart.data.dataset import Dataset
from headstart.features.store import FeatureStore
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


def measure(
    dataset: Dataset, plan: SplitPlan, head: LinearHead, store: FeatureStore, probe: Probe | None = None
) -> dict[Source, Part]:
    """Score the test split, else the nested cross-validation, and the validation split if there is one.

    The first part is the one whose accuracy is the model's.

    Args:
        dataset: N samples.
        plan: Who learnt and who measures.
        head: What is measured.
        store: Features of the parts that measure.
        probe: Holds the cross-validated probabilities that stand in where there is no test split.
    """
    parts: dict[Source, Part] = {}
    labels = dataset.class_indices()
    held_out: tuple[Source, ...] = ("test", "val")
    for name in held_out:
        rows = plan.rows(name)
        if len(rows):
            features = store.table([dataset.samples[row].file.key for row in rows])
            blocks = [head_logits(x, head.weight, head.bias) for _, x in features.blocks()]
            logits = np.concatenate(blocks)
            p, uncalibrated = softmax(logits), softmax(logits * head.temperature)
            parts[name] = Part(rows, p, score(p, labels[rows], dataset.classes, uncalibrated=uncalibrated))
    if "test" not in parts and probe is not None:
        rows = plan.rows("train")
        scores = score(probe.probabilities, labels[rows], dataset.classes, uncalibrated=probe.uncalibrated)
        parts = {"cross-validation": Part(rows, probe.probabilities, scores), **parts}
    return parts
