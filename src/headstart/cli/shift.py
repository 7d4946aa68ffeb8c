"""`headstart shift`."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console, print_findings
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import ShiftConfig

if TYPE_CHECKING:
    from rich.table import Table

    from headstart.api.shift import Hardened, ShiftReport
    from headstart.evaluation.shift import Level
    from headstart.metrics.paired import Estimate

_DEFAULTS = ShiftConfig()


def shift(  # noqa: PLR0913 - one parameter a flag
    run: Path,
    data: Path,
    *,
    config: Annotated[ShiftConfig, Parameter(name="*")] = _DEFAULTS,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Measure whether a run survives darker, warmer, blurrier, smaller, tilted pictures.

    Parameters
    ----------
    run
        The run folder.
    data
        Labelled images, as for train; of data with a test split, that split alone is measured.
    out
        The folder for shift.json, shift.png and shift.html. Default: the run's.
    """
    from headstart.api.shift import shift as measure  # seconds of torch that --help doesn't need

    kinds = tuple(word.strip() for text in config.kinds for word in text.split(",") if word.strip())
    config = replace(config, kinds=kinds)
    report = measure(run, data, config, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        print(json.dumps({"folder": str(report.folder), **report.to_json()}, ensure_ascii=False))  # noqa: T201
        return
    console = make_results_console()
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width to wrap at
    console.print(_table(report))
    console.print()
    print_findings(list(_explain(report, run)), report.findings)


def _table(report: "ShiftReport") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    hardened = report.hardened
    names = ("shift", "accuracy from weak to strong, %", "mean change, points", "at worst", "flips", "ECE")
    for name in (*names, *(("hardened, %", "gain, points") if hardened else ())):
        table.add_column(name, justify="left" if name == "shift" else "right", overflow="fold")
    for kind, levels in report.scores.kinds.items():
        worst = min(levels, key=lambda level: level.accuracy)
        cells = [
            kind,
            _accuracies(levels),
            _points(report.scores.changes[kind]),
            f"{100 * worst.change:+z.1f}",
            f"{100 * worst.flips:.1f} %",
            f"{worst.ece:.3f}",
        ]
        if hardened:
            gain = hardened.gain.kinds[kind] if hardened.gain else None
            cells += [_accuracies(hardened.scores.kinds[kind]), _points(gain) if gain else ""]
        table.add_row(*cells, style="bold" if kind in report.scores.harmful else None)
    return table


def _accuracies(levels: "Sequence[Level]") -> str:
    return " ".join(f"{100 * level.accuracy:5.1f}" for level in levels)


def _points(change: "Estimate") -> str:
    return f"{100 * change.value:+z.1f} ({100 * change.low:+z.1f} to {100 * change.high:+z.1f})"


def _explain(report: "ShiftReport", run: Path) -> Iterator[str]:
    scores, hardened = report.scores, report.hardened
    whole = scores.robustness
    yield (
        f"Robustness {whole.value:.3f} ({whole.low:.3f} to {whole.high:.3f}): the mean accuracy on shifted "
        f"pictures, divided by that on the {scores.n:,} as they are "
        f"({100 * scores.accuracy.value:.1f} %). 1 is unmoved."
    )
    if scores.policy:
        yield f"What harms for sure: {', '.join(scores.harmful)}. Augmentation against it: {scores.policy}"
    else:
        yield "Nothing harms it both for sure and by two points on average, so no augmentation is advised."
    if hardened:
        yield from _explain_hardened(hardened)
    yield f"Saved in {report.folder}: shift.json, shift.png and shift.html."
    if scores.policy and not hardened:
        words = shlex.quote(str(run))
        yield f"Next: headstart shift {words} DATA --harden, or headstart report {words}"


def _explain_hardened(hardened: "Hardened") -> Iterator[str]:
    whole = hardened.scores.robustness
    yield (
        f"Hardened by the recipe {hardened.recipe}, saved in {hardened.run}: robustness {whole.value:.3f} "
        f"({whole.low:.3f} to {whole.high:.3f}), {100 * hardened.scores.accuracy.value:.1f} % as they are."
    )
    if gain := hardened.gain:
        yield (
            f"That is {_points(gain.shifted)} points on shifted pictures and {_points(gain.accuracy)} on "
            f"those as they are. {gain.verdict}"
        )
    if hardened.replaced:
        yield (
            f"The first run's recipe, {hardened.replaced}, learns nothing from augmentation, so a part of "
            "this may be the other recipe's."
        )
