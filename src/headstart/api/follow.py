"""Follow a training: a bar for its steps, a line an epoch, a file for all that is worth keeping."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headstart.progress import Progress
from headstart.run.atomic import write_bytes
from headstart.training.events import (
    Advice,
    Blended,
    EpochEnded,
    Event,
    Finished,
    PhaseStarted,
    RungEnded,
    RungStarted,
    StepEnded,
    to_json,
)


def watch(events: Iterator[Event], history: Path, progress: Progress) -> list[dict[str, Any]]:
    """Follow a training to its end; returns the history, earlier trainings' in the same file included."""
    with progress.stage("Training", None) as advance:
        for event in events:
            if isinstance(event, StepEnded):
                advance(1)
                continue
            if text := describe(event):
                progress.note(text)
            keep(event, history)
    return read_history(history)


def keep(event: Event, history: Path) -> None:
    """Add an event to a history on disk."""
    lines = _replace_epoch(read_history(history), to_json(event))
    write_bytes(history, "".join(json.dumps(line) + "\n" for line in lines).encode())


def read_history(history: Path) -> list[dict[str, Any]]:
    """The events kept so far."""
    return [json.loads(line) for line in history.read_text().splitlines()] if history.is_file() else []


def _replace_epoch(lines: Sequence[dict[str, Any]], line: dict[str, Any]) -> list[dict[str, Any]]:
    """Add a line; after a resume it takes the place of the one that told the same before the kill."""
    same = ("event", "phase", "epoch", "step", "rung", "message")
    kept = [old for old in lines if any(old.get(name) != line.get(name) for name in same)]
    return [*kept, line]


def describe(event: Event) -> str:
    """An event in one line; empty for those that only loggers want."""
    text = ""
    match event:
        case PhaseStarted():
            text = (
                f"{event.phase}: {event.epochs} epoch{'s' if event.epochs > 1 else ''} of {event.steps} "
                f"steps; {event.parameters:,} of {event.of:,} parameters learn"
            )
        case EpochEnded():
            text = (
                f"epoch {event.epoch}/{event.epochs} {event.phase}: loss {event.train_loss:.3f}, train "
                f"accuracy {event.train_accuracy:.3f}; validation loss {event.val_loss:.3f}, accuracy "
                f"{event.val_accuracy:.3f}; {event.images_per_s:.0f} images/s, "
                f"{event.seconds_left:.0f} s left"
            )
        case Advice():
            text = event.message
        case RungStarted():
            left = "" if event.seconds_left is None else f" of {event.seconds_left:.0f} s left"
            grow = f" on views of {event.sizes[0]} to {event.sizes[-1]} pixels" if event.sizes else ""
            text = (
                f"Next rung: {event.about}; {event.epochs} epochs{grow}, learning rate {event.lr:.1g}, "
                f"about {event.seconds:.0f} s in all{left}"
            )
        case RungEnded():
            text = f"{event.rung}: {'kept' if event.kept else 'not kept'}; {event.reason}"
        case Blended():
            text = (
                f"weights {event.alpha:.0%} of the way from the start to the end: validation loss "
                f"{event.val_loss:.3f}, accuracy {event.val_accuracy:.3f}"
            )
        case Finished():
            text = (
                f"best epoch {event.best_epoch}: validation accuracy {event.val_accuracy:.3f}; {event.reason}"
            )
    return text


def results_csv(history: Sequence[dict[str, Any]]) -> str:
    """One row an epoch."""
    rows = [line for line in history if line["event"] == EpochEnded.__name__]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, [name for name in rows[0] if name != "event"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
