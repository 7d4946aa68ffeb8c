"""`headstart curve`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console, print_findings
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import CurveConfig

if TYPE_CHECKING:
    from headstart.api.curve import LearningCurve

_DEFAULTS = CurveConfig()


def curve(  # noqa: PLR0913 - one parameter a flag
    data: Path,
    *,
    config: Annotated[CurveConfig, Parameter(name="*")] = _DEFAULTS,
    run: Path | None = None,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Accuracy against the number of images, and what twice as many would bring.

    Heads are solved on ever larger parts of the images' stored features, and a law fitted to their
    accuracies tells what 2 and 4 times as many images would bring.

    Parameters
    ----------
    data
        Labelled images, as for train.
    run
        A run trained on these images; curve.json and curve.png are written into it.
    out
        The PNG; numbered where it exists. Default: DATA-curve.png, or with --run none.
    """
    from headstart.api.curve import curve as measure  # seconds of imports that --help doesn't need

    found = measure(data, config, run=run, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        report = {**found.to_json(), "files": [str(file) for file in found.files]}
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
        return
    _print_table(found)
    print_findings(found.describe(), found.findings)
    console = make_results_console()
    for file in found.files:
        console.print(f"Saved {file}", markup=False, soft_wrap=True)


def _print_table(found: "LearningCurve") -> None:
    """A row for each size measured or foretold."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("images", "accuracy", "95 % interval", ""):
        table.add_column(heading, justify="left" if heading == "" else "right")
    measured = found.measured
    rows = [
        (int(n), estimate, "" if len(answers) > 1 else "all images")
        for n, estimate, answers in zip(measured.sizes, measured.accuracies(), measured.answers, strict=True)
    ]
    rows += [(some.n, some.accuracy, f"foretold, {some.factor} times as many") for some in found.forecasts]
    for n, estimate, note in rows:
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
        table.add_row(f"{n:,}", f"{estimate.value:.3f}", interval, note)
    console = make_results_console()
    console.print(table)
    console.print()
