"""`headstart compare`."""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console, print_findings
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import CompareConfig, TuneConfig

if TYPE_CHECKING:
    from rich.table import Table

    from headstart.api.compared import Comparison, Row
    from headstart.metrics.paired import Estimate

EXIT_SOME_FAILED = 1
_DEFAULTS, _TUNING = CompareConfig(), TuneConfig()
_SMALL_P = 0.001


def compare(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    config: Annotated[CompareConfig, Parameter(name="*")] = _DEFAULTS,
    tuning: Annotated[TuneConfig, Parameter(name="*", group="Training the backbone")] = _TUNING,
    out: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train recipes with models and seeds on one split, side by side; exits with 1 if some fail.

    Parameters
    ----------
    data
        Labelled images, as for train.
    out
        The comparison's folder; numbered where it exists. Default: runs/DATA-compare-N.
    resume
        Go on with the comparison of these data and settings: what is finished is not trained again, what
        was cut short goes on, and recipes, models and seeds may be added.
    """
    from headstart.api.compare import compare as run_comparison  # much that --help doesn't need

    config = replace(config, recipes=_split(config.recipes), models=_split(config.models))
    comparison = run_comparison(
        data, config, tuning, out=out, cache=cache, resume=resume, progress=make_progress(quiet=quiet)
    )
    if json_:
        report = {"folder": str(comparison.folder), **comparison.to_json()}
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
    else:
        _print(comparison)
    if any(row.failures for row in comparison.rows):
        sys.exit(EXIT_SOME_FAILED)


def _split(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _print(comparison: "Comparison") -> None:
    console = make_results_console()
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width to wrap at
    console.print(_table(comparison))
    console.print()
    for line in _explain(comparison):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    for who, why in _failures(comparison):
        console.print(f"! {who} failed: {why}", style="red", markup=False, soft_wrap=True)
    print_findings((), comparison.findings)
    saved = f"Saved in {comparison.folder}: compare.csv, compare.json, compare.png and each run."
    console.print(saved, markup=False, soft_wrap=True)
    if comparison.best.chosen:
        following = f"Next: headstart predict {shlex.quote(str(comparison.best.chosen.run))} IMAGES"
        console.print(following, style="dim", markup=False, soft_wrap=True)


def _table(comparison: "Comparison") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("recipe", "model", "test accuracy, %", "over scratch, points", "validation loss", "seconds")
    for name in (*names, "images/s", "parameters trained", "p against best"):
        table.add_column(name, justify="left" if name in {"recipe", "model"} else "right", overflow="fold")
    for row in comparison.rows:
        style = "bold" if row is comparison.best else "" if row.outcomes else "red"
        p_value = "best" if row is comparison.best else _p_value(row)
        table.add_row(*(Text(cell) for cell in (*_cells(row), p_value)), style=style)
    return table


def _cells(row: "Row") -> Iterator[str]:
    yield row.recipe
    yield row.model
    yield _estimate(row.accuracy) if row.accuracy else "failed"
    yield _estimate(row.gain, "+") if row.gain else "-"
    yield f"{row.val_log_loss:.3f}" if row.val_log_loss is not None else "-"
    yield f"{row.seconds:,.1f}" if row.seconds is not None else "-"
    yield f"{row.images_per_s:,.0f}" if row.images_per_s is not None else "-"
    yield f"{row.parameters:,}" if row.parameters is not None else "-"


def _estimate(estimate: "Estimate", sign: str = "") -> str:
    value, low, high = (f"{100 * x:{sign}.1f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _p_value(row: "Row") -> str:
    if row.p_value is None:
        return "-"
    return f"< {_SMALL_P}" if row.p_value < _SMALL_P else f"{row.p_value:.3f}"


def _failures(comparison: "Comparison") -> Iterator[tuple[str, str]]:
    """Which trainings failed, and why; those of one model that failed alike together."""
    recipes: dict[tuple[str, str], list[str]] = {}
    for row in comparison.rows:
        for failure in row.failures:
            recipes.setdefault((row.model, failure), []).append(row.recipe)
    for (model, failure), names in recipes.items():
        yield f"{' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))} with {model}", failure


def _explain(comparison: "Comparison") -> Iterator[str]:
    """What the numbers are, and what they are not."""
    best, images = comparison.best, comparison.images
    trainings = max(len(row.outcomes) for row in comparison.rows)
    yield (
        f"Best: {best.recipe} with {best.model}, by its validation log loss ({best.val_log_loss:.3f}). "
        "The test images had no say in that."
    )
    yield (
        f"All learnt from the same {images['train']:,} images, chose by the same {images['val']:,} and were "
        f"measured on the same {images['test']:,}. Epochs were chosen by the {images['val']:,}, too, which "
        "flatters the validation loss of recipes that have epochs a little."
    )
    yield (
        "Intervals are of 95 %, for the choice of test images"
        + (
            f" and of seeds (means of {trainings} trainings; few seeds make them wide)."
            if trainings > 1
            else "; with one training each, what the seed does is not in them."
        )
        + " p: exact McNemar test on the test images"
        + (", each row's training of lowest validation loss" if trainings > 1 else "")
        + " against the best; not corrected for the number of rows."
    )
    yield (
        "Seconds: solving the head, and training with its validation. Embedding and decoding are left out, "
        "as they are done once for all."
    )
