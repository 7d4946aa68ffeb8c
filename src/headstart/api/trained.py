"""What a training knows at its end, and what it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.api.measure import Part
from headstart.api.plan import SplitPlan
from headstart.api.source import ZeroShot
from headstart.backbones.catalogue import Backbone
from headstart.backbones.trunk import Trunk
from headstart.config import TrainConfig, TuneConfig
from headstart.data.dataset import Dataset
from headstart.heads.hidden import Hidden
from headstart.heads.probe import Probe
from headstart.metrics.scores import Scores
from headstart.metrics.summary import Source
from headstart.training.events import Advice, EpochEnded


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A calibrated head and how it came to be.

    Attributes:
        weight: `(K, d)`, or `(K, m)` above hidden layers; the temperature already divided in.
        bias: `(K,)`, likewise.
        temperature: Multiply logits by it to undo the calibration.
        facts: For `config.json`.
        history: One object a step of the search or the training, for `history.jsonl`.
        hidden: Layers between the features and `weight`; none where the head is linear.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    facts: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    hidden: Hidden = ()

    @classmethod
    def of(cls, probe: Probe) -> "Head":
        """A solved probe's."""
        facts: dict[str, Any] = {
            "method": probe.method,
            "c": probe.c,
            "mirrored": probe.mirrored,
            "nested": probe.nested,
        }
        if any(trial.prior for trial in probe.trials):
            facts["prior"] = _compare_priors(probe)
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
        zero_shot: How good the source classifier's rows were before, where they were asked for.
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
    zero_shot: ZeroShot | None = None

    @property
    def data_name(self) -> str:
        """The data folder's or manifest's name, without its path."""
        return data_name(self.dataset)

    @property
    def nested(self) -> bool:
        """Whether the headline's images had no part in any choice: false of plain cross-validation alone."""
        return next(iter(self.parts)) != "cross-validation" or bool(self.head.facts["nested"])

    @property
    def epochs(self) -> tuple[EpochEnded, ...]:
        """What each pass over the images came to; nothing where a head was solved."""
        return tuple(
            EpochEnded(**{name: value for name, value in line.items() if name != "event"})
            for line in self.head.history
            if line.get("event") == EpochEnded.__name__
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out about the options asked for, and what looked wrong, a line each."""
        lines = self.zero_shot.describe() if self.zero_shot else []
        lines += [line["message"] for line in self.head.history if line.get("event") == Advice.__name__]
        if prior := self.head.facts.get("prior"):
            lines.append(
                f"As the probe's prior they give a cross-validated log loss of {prior['log_loss_with']:.4f}, "
                f"against {prior['log_loss_without']:.4f} without them, so they were "
                f"{'used' if prior['used'] else 'left out'}."
            )
        lines += [
            f"The weights are {line['alpha']:.0%} of the way from the training's start to its end, where the "
            f"validation loss is least ({line['val_loss']:.4f})."
            for line in self.head.history
            if line.get("event") == "Blended" and line["chosen"]
        ]
        return tuple(lines)


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
        nested: False where the headline is of cross-validation that was not nested.
        zero_shot: How good the source classifier's rows were before, where they were asked for.
        notes: What was found out about the options asked for, and what looked wrong, a line each.
        next_rung_s: About how long training the last stages would take; None unless this is the probe.
        epochs: Loss, accuracies, images a second and seconds of each pass; none where a head was solved.
    """

    run: Path
    scores: dict[str, Scores]
    headline: str
    findings: tuple[str, ...]
    dataset: Dataset
    seconds: dict[str, float]
    nested: bool = True
    zero_shot: ZeroShot | None = None
    notes: tuple[str, ...] = ()
    next_rung_s: float | None = None
    epochs: tuple[EpochEnded, ...] = ()

    @classmethod
    def of(cls, run: Path, trained: Trained, seconds: dict[str, float]) -> "TrainResult":
        """What a saved training returns."""
        scores: dict[str, Scores] = {name: part.scores for name, part in trained.parts.items()}
        return cls(
            run,
            scores,
            next(iter(scores)),
            trained.findings,
            trained.dataset,
            seconds,
            trained.nested,
            trained.zero_shot,
            trained.notes,
            epochs=trained.epochs,
        )


def _compare_priors(probe: Probe) -> dict[str, Any]:
    """Whether the source's rows won as prior, and the least log loss with and without them."""
    least = {
        used: min(trial.log_loss for trial in probe.trials if trial.prior == used) for used in (True, False)
    }
    return {"used": probe.prior, "log_loss_with": least[True], "log_loss_without": least[False]}


def data_name(data: str | Path | Dataset) -> str:
    """The data folder's or manifest's name, without its path."""
    root = Path(data.root if isinstance(data, Dataset) else data)
    return root.stem if root.is_file() else root.name
