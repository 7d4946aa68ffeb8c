"""What a run folder holds, read for a report: the needed strictly, everything else as far as it is there."""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DamagedRunError
from headstart.metrics.calibration import softmax
from headstart.metrics.scores import Scores
from headstart.metrics.summary import Source
from headstart.run.folder import RunFolder
from headstart.run.tables import Predictions, SplitTable, read_predictions, read_split

_SMALLEST = 1e-12
_ROWS = 256
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The images that the headline number was measured on, and what the model says of them.

    Attributes:
        paths: Of N files.
        labels: True class indices, `(N,)`.
        predicted: The most probable class, `(N,)`.
        probabilities: `(N, K)`, calibrated.
        uncalibrated: How sure the model was before calibration, `(N,)`.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    uncalibrated: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each was predicted rightly, `(N,)`."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right

    @property
    def of_truth(self) -> NDArray[np.float32]:
        """Probability of the true class, `(N,)`."""
        found: NDArray[np.float32] = self.probabilities[np.arange(len(self.labels)), self.labels]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class RunContents:
    """A run, read. What is optional is None or empty where it is missing or damaged; `notes` say so.

    Attributes:
        name: The folder's.
        config: `config.json`.
        metrics: `metrics.json`.
        headline: What was measured.
        scores: Of the headline.
        judged: The images behind the headline.
        split: Every image's split.
        epochs: One object an epoch of the training: its phase, and numbers.
        history: The lines of `history.jsonl`.
        environment: `environment.json`.
        curve: `curve.json`.
        shift: `shift.json`.
        explain: `explain/explain.json`.
        notes: What could not be read, a line each.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    headline: Source
    scores: Scores
    judged: Judged | None
    split: SplitTable | None
    epochs: Sequence[Mapping[str, Any]]
    history: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any]
    curve: Any = None
    shift: Any = None
    explain: Any = None
    notes: tuple[str, ...] = field(default=())

    @property
    def facts(self) -> Mapping[str, Any]:
        """What Headstart wrote into `config.json`."""
        found: Mapping[str, Any] = self.config["headstart"]
        return found

    @property
    def nested(self) -> bool:
        """Whether the headline's images had no part in any choice."""
        return bool(self.metrics.get("nested", True))


def read_run(path: Path, name: str | None = None) -> RunContents:
    """Read a run for a report.

    Args:
        path: The run folder.
        name: What to call it; default: the folder's name.

    Raises:
        RunNotFoundError: There is no run.
        DamagedRunError: `config.json` or `metrics.json` is missing, damaged, or from a newer version.
    """
    run = RunFolder.open(path)
    config, metrics = run.read_config(), run.read_metrics()
    headline: Source | None = next((one for one in get_args(Source) if one == metrics.get("headline")), None)
    if headline is None or not isinstance(config.get("headstart"), dict):
        raise DamagedRunError(
            f"{run.metrics_json} names no headline that Headstart knows (found {metrics.get('headline')!r}), "
            f"or {run.config_json} lacks 'headstart'. Train again, or restore them from a copy."
        )
    scores = Scores.from_json(metrics.get(headline, {}))
    reader = _Reader(run)
    predictions = reader.read(run.predictions_parquet, read_predictions)
    return RunContents(
        name=name or run.path.absolute().name,
        folder=run.path,
        config=config,
        metrics=metrics,
        headline=headline,
        scores=scores,
        judged=reader.judge(predictions, headline, scores, config) if predictions else None,
        split=reader.read(run.split_parquet, read_split),
        epochs=reader.read(run.results_csv, _read_epochs, required=False) or (),
        history=reader.read(run.history_jsonl, _read_lines) or (),
        environment=reader.read(run.environment_json, _read_object) or {},
        curve=reader.read(run.curve_json, _read_object, required=False),
        shift=reader.read(run.shift_json, _read_object, required=False),
        explain=reader.read(run.explanations / "explain.json", _read_object, required=False),
        notes=tuple(reader.notes),
    )


class _Reader:
    """Reads what may be missing, and remembers what was."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.notes: list[str] = []

    def read(self, path: Path, read: Callable[[Path], _T], *, required: bool = True) -> _T | None:
        if not os.path.lexists(path):
            if required:
                self.notes.append(f"{path.name} is missing from the run; what it tells is left out.")
            return None
        try:
            return read(path)
        except (DamagedRunError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = str(error).replace(str(path), path.name)
            self.notes.append(f"{path.name} can't be read, so what it tells is left out: {reason}")
            return None

    def judge(
        self, predictions: Predictions, headline: str, scores: Scores, config: Mapping[str, Any]
    ) -> Judged | None:
        """The headline's rows; None if they are not those that were measured."""
        index = {name: position for position, name in enumerate(scores.classes)}
        rows = [
            row
            for row, (split, label) in enumerate(zip(predictions.splits, predictions.labels, strict=True))
            if split == headline and label in index
        ]
        if len(rows) != scores.n or predictions.classes != scores.classes:
            self.notes.append(
                f"predictions.parquet has {len(rows)} images of {headline}, metrics.json {scores.n}: they "
                "are not of one training, so no pictures are shown."
            )
            return None
        p = predictions.probabilities[rows]
        temperature = float(config["headstart"].get("head", {}).get("temperature", 1.0))
        return Judged(
            paths=tuple(predictions.paths[row] for row in rows),
            labels=np.array([index[str(predictions.labels[row])] for row in rows], np.int64),
            predicted=p.argmax(axis=1),
            probabilities=p,
            uncalibrated=_sureness_before(p, temperature),
        )


def _sureness_before(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """The largest probability of each row `(N,)` before calibration; a part at a time, for many classes."""
    parts = [
        softmax(temperature * np.log(np.maximum(part.astype(np.float64), _SMALLEST))).max(axis=1)
        for part in np.array_split(probabilities, len(probabilities) // _ROWS + 1)
    ]
    return np.concatenate(parts)


def _read_object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise TypeError(f"it holds {type(value).__name__}, not an object")
    return value


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _read_epochs(path: Path) -> list[dict[str, Any]]:
    """Rows of `results.csv`: the phase's name, and what is a number."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {"phase": row.get("phase") or ""}
        | {name: float(value) for name, value in row.items() if name != "phase" and _is_number(value)}
        for row in rows
    ]


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and np.isfinite(float(text))
    except ValueError:
        return False
