"""What a finished run says of itself, read back from its folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DamagedRunError
from headstart.metrics.scores import Scores
from headstart.run.folder import RunFolder
from headstart.run.tables import read_predictions


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A run's numbers.

    Attributes:
        run: Its folder.
        test: Scores on the test split.
        val: Scores on the validation split.
        images: Paths of the N test images.
        correct: Whether each was predicted rightly, `(N,)` bool.
        seconds: Of solving the head and of training, validation included; not of listing, embedding and
            decoding, which a cache may have spared, nor of measuring and saving. Of auto all rungs count.
        images_per_s: Of the epochs without validation; None where only a head was solved.
        parameters: That learnt, in the phase in which most did; of auto's rungs those that were kept.
        curve: Seconds and validation accuracy after each epoch; of a solved head one such point.
    """

    run: Path
    test: Scores
    val: Scores
    images: tuple[str, ...]
    correct: NDArray[np.bool_]
    seconds: float
    images_per_s: float | None
    parameters: int
    curve: tuple[tuple[float, float], ...]

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """Read a run that was measured on a test and a validation split.

        Raises:
            RunNotFoundError: There is no run.
            DamagedRunError: A file is missing, damaged, or from a version that didn't write it so.
        """
        run = RunFolder.open(path)
        metrics, config = run.read_metrics(), run.read_config()
        try:
            test, val = (Scores.from_json(metrics[name]) for name in ("test", "val"))
            events = _read_events(run)
            stages = json.loads(run.environment_json.read_text(encoding="utf-8"))["seconds"]
            epochs = [event for event in events if event["event"] == "EpochEnded"]
            curve = _curve(epochs, stages)
            rates = [float(epoch["images_per_s"]) for epoch in epochs]
            head_parameters = (int(config["num_features"]) + 1) * int(config["num_classes"])
            parameters = max(_learning(events), default=head_parameters)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"{path} lacks or garbles what a comparison needs ({type(error).__name__}: {error}). "
                "Remove it and compare again with --resume."
            ) from error
        images, correct = read_test(run)
        return cls(
            run=path,
            test=test,
            val=val,
            images=images,
            correct=correct,
            seconds=curve[-1][0] if curve else float(stages["head"]),
            images_per_s=harmonic_mean(rates) if rates else None,
            parameters=parameters,
            curve=curve or ((float(stages["head"]), val.accuracy),),
        )

    def to_json(self) -> dict[str, Any]:
        """Its numbers without the images; the run's name instead of its path."""
        return {
            "run": self.run.name,
            "test": self.test.to_json(),
            "val": self.val.to_json(),
            "seconds": self.seconds,
            "images_per_s": self.images_per_s,
            "parameters": self.parameters,
            "curve": [list(point) for point in self.curve],
        }


def _read_events(run: RunFolder) -> list[dict[str, Any]]:
    """What the training told; nothing where a head was solved."""
    lines = [json.loads(line) for line in run.history_jsonl.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "event" in line]


def _curve(epochs: Sequence[Mapping[str, Any]], stages: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """Seconds and validation accuracy after each epoch.

    The stage counts what lies between epochs, too, such as running frozen stages once; but of a training
    that was cut short only the last sitting, where the epochs count all.
    """
    own = [float(epoch["seconds"]) for epoch in epochs]
    before = float(stages["head"]) + max(float(stages.get("training", 0.0)) - sum(own), 0.0)
    ends = list(accumulate(own, initial=before))[1:]
    return tuple((end, float(epoch["val_accuracy"])) for end, epoch in zip(ends, epochs, strict=True))


def _learning(events: Sequence[Mapping[str, Any]]) -> list[int]:
    """Parameters that learnt in each phase of what was kept."""
    rungs = {event["rung"]: event["kept"] for event in events if event["event"] == "RungEnded"}
    phases = [event for event in events if event["event"] == "PhaseStarted"]
    return [int(phase["parameters"]) for phase in phases if rungs.get(phase["phase"], not rungs)]


def read_test(run: RunFolder) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Paths of the test images and whether each was predicted rightly."""
    table = read_predictions(run.predictions_parquet)
    rows = [row for row, split in enumerate(table.splits) if split == "test"]
    predicted = table.predicted
    correct = np.array([predicted[row] == table.labels[row] for row in rows], np.bool_)
    return tuple(table.paths[row] for row in rows), correct
