"""`headstart shift`."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console, print_findings
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import ShiftConfig

if TYPE_CHECKING:
    from rich.table import Table

    from headstart.api.shift import ShiftReport

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
        The folder for shift.json and shift.png. Default: the run's.
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
    hardened = ("hardened, %",) if report.hardened else ()
    names = ("accuracy from weak to strong, %", "mean change, points", *hardened, "at worst", "flips", "ECE")
    for name in ("shift", *names):
        table.add_column(name, justify="left" if name == "shift" else "right", overflow="fold")
    for kind, levels in report.scores.kinds.items():
        worst = min(levels, key=lambda level: level.accuracy)
        mean = sum(level.change for level in levels) / len(levels)
        low, high = worst.change_interval
        cells = [
            kind,
            " ".join(f"{100 * level.accuracy:5.1f}" for level in levels),
            f"{100 * mean:+.1f}",
        ]
        if report.hardened:
            cells.append(" ".join(f"{100 * one.accuracy:5.1f}" for one in report.hardened.kinds[kind]))
        cells += [
            f"{100 * worst.change:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
            f"{100 * worst.flips:.1f} %",
            f"{worst.ece:.3f}",
        ]
        table.add_row(*cells, style="bold" if kind in report.scores.harmful else None)
    return table


def _explain(report: "ShiftReport", run: Path) -> Iterator[str]:
    scores = report.scores
    low, high = scores.robustness_interval
    yield (
        f"Robustness {scores.robustness:.3f} ({low:.3f} to {high:.3f}): the mean accuracy on shifted "
        f"pictures, divided by that on the {scores.n:,} as they are "
        f"({100 * scores.accuracy:.1f} %). 1 is unmoved."
    )
    if scores.policy:
        yield f"What harms for sure: {', '.join(scores.harmful)}. Augmentation against it: {scores.policy}"
    else:
        yield "Nothing harms it both for sure and by two points on average, so no augmentation is advised."
    if report.hardened and report.hardened_run:
        low, high = report.hardened.robustness_interval
        yield (
            f"Hardened: robustness {report.hardened.robustness:.3f} ({low:.3f} to {high:.3f}), "
            f"{100 * report.hardened.accuracy:.1f} % as they are. Saved in {report.hardened_run}."
        )
    yield f"Saved in {report.folder}: shift.json and shift.png."
    words = shlex.quote(str(run))
    if scores.policy and not report.hardened:
        yield f"Next: headstart shift {words} DATA --harden, or headstart report {words}"
