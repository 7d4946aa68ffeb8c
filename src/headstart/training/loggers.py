"""TensorBoard and MLflow, for those who ask: they listen to a training's events and write local files.

`history.jsonl` and `results.csv` are always written. Nothing here opens a connection, unless the user's
own `MLFLOW_TRACKING_URI` names a server.
"""

import difflib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from headstart.errors import ConfigError, HeadstartError
from headstart.run.atomic import write_text
from headstart.run.folder import new_run_folder
from headstart.training.events import Advice, EpochEnded, Event, Finished, PhaseStarted, StepEnded

_EPOCH_SCALARS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_s", "seconds")
_EXPERIMENT = "headstart"
_FLUSH = 200  # metrics
_MOST_PARAMETER_CHARS = 500  # MLflow takes 6000, its pages show far fewer


class Logger(Protocol):
    """Somebody who writes down what a training tells."""

    def log(self, event: Event, step: int) -> None:
        """Take an event; `step` counts optimiser steps from the training's beginning."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TensorBoard:
    """Event files in `runs/tensorboard/`, for `tensorboard --logdir`.

    After a kill, what was logged of steps that are done again is taken back.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str], name: str) -> None:
        remembered = folder / f"tensorboard-{name}.txt"
        self._resumed = remembered.is_file()
        if not self._resumed:
            write_text(remembered, str(new_run_folder(folder.absolute().parent / "tensorboard", name)))
        self._place = remembered.read_text(encoding="utf-8")
        self._facts = facts
        self._held: list[Event] = []
        self._writer: Any = None

    def log(self, event: Event, step: int) -> None:
        """Scalars of steps and epochs; what is said in words goes to the text page."""
        if self._writer is None:
            if self._resumed and not isinstance(event, StepEnded | Finished):
                self._held.append(event)  # until it is known from which step on this training goes on
                return
            self._open(step if self._resumed and isinstance(event, StepEnded) else None)
            for held in self._held:
                self._write(held, step)
        self._write(event, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, purge_step: int | None) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(self._place, purge_step=purge_step)
        if not self._resumed:
            rows = "\n".join(f"| {name} | {value} |" for name, value in self._facts.items())
            self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def _write(self, event: Event, step: int) -> None:
        match event:
            case StepEnded():
                self._writer.add_scalar("step/loss", event.loss, step)
                self._writer.add_scalar("step/learning_rate", event.lr, step)
            case EpochEnded():
                for name in _EPOCH_SCALARS:
                    self._writer.add_scalar(f"epoch/{name}", getattr(event, name), step)
                self._writer.flush()
            case PhaseStarted():
                text = f"{event.phase}: {event.parameters:,} of {event.of:,} parameters learn"
                self._writer.add_text("phase", text, step)
            case Advice():
                self._writer.add_text("advice", event.message, step)
            case Finished():
                self._writer.add_text("finished", f"Best epoch {event.best_epoch}; {event.reason}.", step)


class MLflow:
    """A run in `runs/mlflow.db`, or in the store that the user's `MLFLOW_TRACKING_URI` names."""

    def __init__(self, folder: Path, facts: Mapping[str, str], name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # Headstart sends nothing anywhere
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it tells how it makes its tables
        self._metric = Metric
        base = folder.absolute().parent
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=uri or f"sqlite:///{base / 'mlflow.db'}")
        self._waiting: list[Any] = []
        remembered = folder / f"mlflow-{name}.txt"
        if remembered.is_file():
            self._run_id = remembered.read_text(encoding="utf-8")
            self._client.update_run(self._run_id, status="RUNNING")
            return
        artifacts = None if uri else (base / "mlartifacts").as_uri()
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment_id = (
            experiment.experiment_id
            if experiment is not None
            else self._client.create_experiment(_EXPERIMENT, artifact_location=artifacts)
        )
        self._run_id = str(self._client.create_run(experiment_id, run_name=name).info.run_id)
        for key, value in facts.items():
            self._client.log_param(self._run_id, key, value[:_MOST_PARAMETER_CHARS])
        write_text(remembered, self._run_id)

    def log(self, event: Event, step: int) -> None:
        """Metrics of steps and epochs; what is said in words becomes a tag."""
        match event:
            case StepEnded():
                self._add({"step_loss": event.loss, "learning_rate": event.lr}, step)
            case EpochEnded():
                self._add({name: getattr(event, name) for name in _EPOCH_SCALARS}, step)
                self._flush()
            case Advice():
                self._client.set_tag(self._run_id, f"advice_{step}", event.message)
            case Finished():
                self._add({"best_epoch": event.best_epoch, "best_val_accuracy": event.val_accuracy}, step)
                self._flush()
                self._client.set_terminated(self._run_id)

    def close(self) -> None:
        """Write what is left; a run that has not finished is marked so."""
        self._flush()
        if self._client.get_run(self._run_id).info.status == "RUNNING":
            self._client.set_terminated(self._run_id, status="KILLED")

    def _add(self, values: Mapping[str, float], step: int) -> None:
        now_ms = int(1000 * time.time())
        self._waiting += [self._metric(name, float(value), now_ms, step) for name, value in values.items()]
        if len(self._waiting) >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._client.log_batch(self._run_id, metrics=self._waiting)
            self._waiting = []


LOGGERS: dict[str, Callable[[Path, Mapping[str, str], str], Logger]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
"""What makes each; its package has the same name."""


def parse_loggers(text: str) -> tuple[str, ...]:
    """The loggers that `--log tensorboard,mlflow` asks for; none for an empty text.

    Raises:
        ConfigError: One is unknown, or its package is not installed.
    """
    names = tuple(dict.fromkeys(text.split(","))) if text else ()
    for name in names:
        if name not in LOGGERS:
            near = difflib.get_close_matches(name, LOGGERS, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"--log {text}: no logger is called {name!r}.{hint} Known: {', '.join(LOGGERS)}."
            )
        if find_spec(name) is None:
            raise ConfigError(
                f"--log {name} needs the package {name}, which is not installed. "
                "Install it: pip install 'headstart[log]'"
            )
    return names


def logged(
    events: Iterator[Event], names: Sequence[str], folder: Path, facts: Mapping[str, str], run_name: str
) -> Iterator[Event]:
    """Pass events on, told to each logger on their way; a logger that fails is left out from then on.

    Args:
        events: Of a training.
        names: As `parse_loggers` gives them.
        folder: Where the training keeps what it needs to go on; logs lie beside it.
        facts: Settings, shown beside the curves.
        run_name: What the training is called.

    Raises:
        ConfigError: A logger can't begin.
    """
    loggers = {name: _open(name, folder, facts, run_name) for name in names}
    step = 0
    try:
        for event in events:
            step = event.total if isinstance(event, StepEnded) else step
            for name, logger in list(loggers.items()):
                if reason := _try(logger, event, step):
                    del loggers[name]
                    yield Advice(f"{name} can't be written any more, and training goes on without: {reason}")
            yield event
    finally:
        for logger in loggers.values():
            logger.close()


def _open(name: str, folder: Path, facts: Mapping[str, str], run_name: str) -> Logger:
    try:
        return LOGGERS[name](folder, facts, run_name)
    except HeadstartError:
        raise
    except Exception as error:  # whatever somebody's tracking server makes of us
        raise ConfigError(f"--log {name}: {_first_line(error)}. See to that, or leave it out.") from error


def _try(logger: Logger, event: Event, step: int) -> str:
    """Tell a logger; the reason if it fails."""
    try:
        logger.log(event, step)
    except Exception as error:  # whatever it is, hours of training are worth more
        return _first_line(error)
    return ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
