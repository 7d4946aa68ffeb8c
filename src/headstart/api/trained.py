"""What a training knows at its end, and what it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.api.measure import Part
from headstart.api.plan import SplitPlan
from headstart.backbones.catalogue import Backbone
from headstart.backbones.trunk import Trunk
from headstart.config import TrainConfig, TuneConfig
from headstart.data.dataset import Dataset
from headstart.heads.probe import Probe
from headstart.metrics.scores import Scores
from headstart.metrics.summary import Source


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A calibrated linear head and how it came to be.

    Attributes:
        weight: `(K, d)`, the temperature already divided in.
        bias: `(K,)`, likewise.
        temperature: Multiply logits by it to undo the calibration.
        facts: For `config.json`.
        history: One object a step of the search or the training, for `history.jsonl`.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    facts: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, probe: Probe) -> "Head":
        """A solved probe's."""
        facts = {"method": probe.method, "c": probe.c, "mirrored": probe.mirrored}
        return cls(
            probe.weight, probe.bias, probe.temperature, facts, [asdict(trial) for trial in probe.trials]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """All that a training knows at its end.

    Attributes:
        config: What was asked for.
        backbone: What the user named.
        trunk: The backbone as it is now, trained further or not.
        runtime: What runs it.
        dataset: What was learnt from and measured on.
        plan: Who did which.
        head: Its classifier.
        parts: What was measured; the first is the model's.
        findings: What was noticed about the data, a line each.
        tuning: How the backbone was trained; None for the probe.
        results: One epoch a row, as CSV; empty for the probe.
    """

    config: TrainConfig
    backbone: Backbone
    trunk: Trunk
    runtime: str
    dataset: Dataset
    plan: SplitPlan
    head: Head
    parts: Mapping[Source, Part]
    findings: tuple[str, ...]
    tuning: TuneConfig | None = None
    results: str = ""

    @property
    def data_name(self) -> str:
        """The data folder's or manifest's name, without its path."""
        return data_name(self.dataset)


@dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """What a training left.

    Attributes:
        run: The run folder.
        scores: Of each measured part; the first, `headline`, is the model's.
        headline: `test`, or `cross-validation` where there is no test split.
        findings: What was noticed about the data, a line each.
        dataset: What was trained and measured on.
        seconds: Wall time by stage, and `total`.
    """

    run: Path
    scores: dict[str, Scores]
    headline: str
    findings: tuple[str, ...]
    dataset: Dataset
    seconds: dict[str, float]

    @classmethod
    def of(cls, run: Path, trained: Trained, seconds: dict[str, float]) -> "TrainResult":
        """What a saved training returns."""
        scores: dict[str, Scores] = {name: part.scores for name, part in trained.parts.items()}
        return cls(run, scores, next(iter(scores)), trained.findings, trained.dataset, seconds)


def data_name(dataset: Dataset) -> str:
    """The data folder's or manifest's name, without its path."""
    root = Path(dataset.root)
    return root.stem if root.is_file() else root.name
