"""What a finished run says of itself, read back from its folder."""

import json
from collections.abc import Sequence
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
        seconds: Of solving the head and of all epochs, validation included; not of listing, embedding
            and decoding, which a cache may have spared, nor of measuring and saving.
        images_per_s: Of the epochs without validation; None where only a head was solved.
        parameters: That learnt, in the phase in which most did.
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
            epochs, phases = _read_history(run)
            seconds = json.loads(run.environment_json.read_text(encoding="utf-8"))["seconds"]
            ends = list(accumulate((epoch["seconds"] for epoch in epochs), initial=float(seconds["head"])))
            head_parameters = (int(config["num_features"]) + 1) * int(config["num_classes"])
            rates = [float(epoch["images_per_s"]) for epoch in epochs]
            accuracies = [float(epoch["val_accuracy"]) for epoch in epochs]
            parameters = max([int(phase["parameters"]) for phase in phases], default=head_parameters)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                f"{path} lacks or garbles what a comparison needs ({type(error).__name__}: {error}). "
                "Remove it and compare again with --resume."
            ) from error
        images, correct = _read_test(run)
        return cls(
            run=path,
            test=test,
            val=val,
            images=images,
            correct=correct,
            seconds=ends[-1],
            images_per_s=harmonic_mean(rates) if rates else None,
            parameters=parameters,
            curve=tuple(zip(ends[1:], accuracies, strict=True)) or ((ends[0], val.accuracy),),
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


def _read_history(run: RunFolder) -> tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
    """Epochs that ended and phases that began; none of either where a head was solved."""
    lines = [json.loads(line) for line in run.history_jsonl.read_text(encoding="utf-8").splitlines()]
    return (
        [line for line in lines if line.get("event") == "EpochEnded"],
        [line for line in lines if line.get("event") == "PhaseStarted"],
    )


def _read_test(run: RunFolder) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Paths of the test images and whether each was predicted rightly."""
    table = read_predictions(run.predictions_parquet)
    rows = [row for row, split in enumerate(table.splits) if split == "test"]
    predicted = table.predicted
    correct = np.array([predicted[row] == table.labels[row] for row in rows], np.bool_)
    return tuple(table.paths[row] for row in rows), correct
