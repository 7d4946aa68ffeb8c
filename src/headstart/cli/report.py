"""`headstart report`."""

import json
from pathlib import Path

from headstart.api.report import report as write_report
from headstart.cli.console import make_progress, make_results_console, printable
from headstart.cli.options import Json, Quiet

_SHOWN = 5


def report(run: Path, *, out: Path | None = None, quiet: Quiet = False, json_: Json = False) -> None:
    """Make one self-contained HTML page of a run, or of a comparison, from its folder alone.

    Parameters
    ----------
    run
        The run folder, or that of a comparison.
    out
        The page, replaced where it exists. Default: report.html in the folder.
    """
    progress = make_progress(quiet=quiet)
    with progress.stage("Making the page", None):
        made = write_report(run, out=out)
    if json_:
        told = {"file": str(made.file), "missing": list(made.missing), "notes": list(made.notes)}
        print(json.dumps(told, ensure_ascii=False))  # noqa: T201
        return
    console = make_results_console()
    console.print(f"Saved {made.file}.", markup=False, soft_wrap=True)
    for line in (*made.notes, *_missing(made.missing)):
        console.print(f"! {printable(line)}", style="yellow", markup=False, soft_wrap=True)


def _missing(paths: tuple[str, ...]) -> list[str]:
    if not paths:
        return []
    n, more = len(paths), len(paths) - _SHOWN
    what = (
        "1 image is not where the run found it"
        if n == 1
        else f"{n:,} images are not where the run found them"
    )
    listed = ", ".join(paths[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return [f"{what}, so the page goes without: {listed}"]
