"""A run as one HTML page: no script, no request, its pictures inside."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from headstart.metrics.intervals import wilson_interval
from headstart.metrics.summary import summarise
from headstart.reports.calibration import draw_reliability
from headstart.reports.charts import draw_ruler
from headstart.reports.contents import RunContents, read_run
from headstart.reports.extras import read_extras
from headstart.reports.layout import template
from headstart.reports.pictures import (
    Cell,
    Shot,
    common_root,
    find_missing,
    make_cells,
    sample_grid,
    short_path,
    shown_classes,
    top_losses,
)
from headstart.reports.thumbnails import Limits, Thumbnails
from headstart.reports.training import describe_training, draw_epochs, draw_search
from headstart.run.folder import RunFolder

_SHOWN_CLASSES = 100
_SHOWN_PATHS = 20
_SHOWN_FINDINGS = 30
_FULL = Limits()
_OTHER_PICTURES = (
    "It holds for pictures like those it was measured on. Other cameras, places, light or seasons can lower "
    "it; headstart shift measures some of that."
)


@dataclass(frozen=True, slots=True)
class Detail:
    """How many pictures a page shows.

    Attributes:
        limits: Of all together.
        per_class: In the sample grid.
        classes: In the sample grid.
        losses: Top losses.
        per_cell: Of the confusion matrix.
        check_files: Whether every measured file is looked for, not only those shown.
    """

    limits: Limits = _FULL
    per_class: int = 6
    classes: int = 12
    losses: int = 24
    per_cell: int = 8
    check_files: bool = True


BRIEF = Detail(Limits(pictures=90, bytes=500_000, side_px=80), 4, 6, 12, 4, check_files=False)
"""For the page that every training leaves: a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page and what it could not show.

    Attributes:
        html: The whole of it.
        missing: Image files that are not where the run found them.
        notes: What else was left out, a line each.
    """

    html: str
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def render_run(run: Path, detail: Detail | None = None, *, name: str | None = None) -> Page:
    """Make the page of a run from its folder alone.

    Args:
        run: The folder.
        detail: How many pictures; default: as many as a report needs.
        name: What to call the run; default: the folder's name.

    Raises:
        RunNotFoundError: There is no run.
        DamagedRunError: Its settings or numbers are missing, damaged, or from a newer version.
    """
    detail = detail or Detail()
    contents = read_run(run, name)
    confusion = np.array(contents.scores.confusion)
    classes, judged = contents.scores.classes, contents.judged
    samples = sample_grid(contents.split, classes, detail.per_class, detail.classes) if contents.split else []
    losses = top_losses(judged, classes, detail.losses) if judged else []
    cells = make_cells(confusion, judged, classes, detail.per_cell)
    thumbnails = Thumbnails.read(_in_order(samples, losses, cells), detail.limits)
    measured = judged.paths if judged else ()
    missing = tuple(find_missing(measured) if detail.check_files else thumbnails.missing)
    missing = tuple(dict.fromkeys([*missing, *thumbnails.missing]))
    root = common_root([*(contents.split.paths if contents.split else ()), *measured])
    html = template("run.html.jinja").render(
        run=contents,
        scores=contents.scores,
        lines=summarise(contents.scores, source=contents.headline, nested=contents.nested),
        limits=_limits(contents),
        ruler=_ruler(contents),
        counts=_counts(contents),
        samples=samples,
        charts=draw_epochs(contents.epochs) or draw_search(contents.history),
        learnt=describe_training(contents.history),
        rows=_class_rows(contents),
        hidden_classes=max(len(classes) - _SHOWN_CLASSES, 0),
        cells=cells,
        shown=[classes[k] for k in shown_classes(confusion)],
        losses=losses,
        reliability=draw_reliability(judged.probabilities.max(axis=1), judged.uncalibrated, judged.right)
        if judged
        else "",
        extras=read_extras(contents, RunFolder(run).explanations),
        findings=_findings(contents),
        missing=missing,
        missing_shown=missing[:_SHOWN_PATHS],
        uris=thumbnails.uris,
        root=root,
        short=lambda path: short_path(path, root),
        settings=_settings(contents),
        machine=_machine(contents.environment),
        command=command_of(contents.environment),
    )
    return Page(html, missing, contents.notes)


def _in_order(
    samples: Sequence[tuple[str, Sequence[Shot]]], losses: Sequence[Shot], cells: Sequence[Sequence[Cell]]
) -> list[str]:
    """Paths by importance: what is wrong, then some of each class, then what is right."""
    flat = [cell for row in cells for cell in row]
    wrong = [shot.path for cell in flat if cell.true != cell.predicted for shot in cell.shots]
    right = [shot.path for cell in flat if cell.true == cell.predicted for shot in cell.shots]
    grid = [shot.path for _, shots in samples for shot in shots]
    return [*(shot.path for shot in losses), *grid, *wrong, *right]


def _limits(contents: RunContents) -> list[str]:
    """What the headline number does not say."""
    lines = [
        _OTHER_PICTURES,
        (
            f"The model knows its {len(contents.scores.classes):,} classes and nothing else: a picture of "
            "anything else is given one of them, sometimes confidently."
        ),
    ]
    if contents.headline == "val":
        lines.append("Choices were made on the same images, so expect a little less on new ones.")
    if contents.headline == "cross-validation":
        lines.append(
            "It is the number of models fitted on part of the images each; the model saved here learnt from "
            "all of them, and was itself measured on none."
        )
    if leaked := contents.metrics.get("data", {}).get("leaked"):
        lines.append(
            f"{len(leaked):,} of the test images have a copy, a near-duplicate or one of the same group in "
            "training, which flatters."
        )
    return lines


def _ruler(contents: RunContents) -> Markup:
    scores = contents.scores
    commonest = max(one.support for one in scores.per_class.values())
    marks = [("always guessing the commonest class", commonest / scores.n)]
    return draw_ruler(scores.accuracy, scores.accuracy_interval, marks)


def _counts(contents: RunContents) -> dict[str, Any]:
    """Images by class and by split."""
    if contents.split is None:
        return {}
    parts = [part for part in ("train", "val", "test") if part in set(contents.split.splits)]
    table: dict[str, dict[str, int]] = {name: dict.fromkeys(parts, 0) for name in contents.scores.classes}
    for label, part in zip(contents.split.labels, contents.split.splits, strict=True):
        if label in table and part in parts:
            table[label][part] += 1
    totals = {part: sum(row[part] for row in table.values()) for part in parts}
    largest = max((sum(row.values()) for row in table.values()), default=0)
    shown = dict(_largest(table) if len(table) > _SHOWN_CLASSES else table)
    return {"parts": parts, "rows": shown, "totals": totals, "largest": max(largest, 1), "n": len(table)}


def _largest(table: Mapping[str, dict[str, int]]) -> list[tuple[str, dict[str, int]]]:
    return sorted(table.items(), key=lambda item: -sum(item[1].values()))[:_SHOWN_CLASSES]


def _class_rows(contents: RunContents) -> list[dict[str, Any]]:
    """The table of classes, the weakest first if there are too many to show."""
    scores = contents.scores
    rows: list[dict[str, Any]] = []
    for name, one in scores.per_class.items():
        found = round((one.recall or 0.0) * one.support)
        interval = wilson_interval(found, one.support) if one.support else None
        rows.append({"name": name, "scores": one, "interval": interval})
    if len(rows) > _SHOWN_CLASSES:
        rows.sort(key=lambda row: 2.0 if row["scores"].f1 is None else row["scores"].f1)
    return rows[:_SHOWN_CLASSES]


def _findings(contents: RunContents) -> list[str]:
    found = contents.metrics.get("data", {}).get("findings") or []
    more = len(found) - _SHOWN_FINDINGS
    return [*map(str, found[:_SHOWN_FINDINGS]), *([f"and {more:,} more"] if more > 0 else [])]


def _settings(contents: RunContents) -> dict[str, str]:
    """What was asked for, in flags, without what nobody set."""
    settings = {**(contents.facts.get("settings") or {}), **(contents.facts.get("tuning") or {})}
    return {
        f"--{name.replace('_', '-')}": str(value)
        for name, value in settings.items()
        if value not in (None, False, "", [], ())
    }


def _machine(environment: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "headstart": "Headstart",
        "python": "Python",
        "platform": "system",
        "cpu": "processor",
        "cores": "cores",
        "memory_gb": "memory, GB",
        "runtime": "runtime of the backbone",
    }
    rows = {title: str(environment[name]) for name, title in names.items() if environment.get(name)}
    for name, title in (("packages", "packages"), ("seconds", "seconds")):
        if isinstance(environment.get(name), Mapping):
            values = environment[name].items()
            rows[title] = ", ".join(f"{k} {f'{v:.1f}' if isinstance(v, float) else v}" for k, v in values)
    return rows


def command_of(environment: Mapping[str, Any]) -> str:
    """The command that made a run, as a shell takes it; empty where it is not known."""
    words = environment.get("command")
    return shlex.join(map(str, words)) if isinstance(words, list) else ""
