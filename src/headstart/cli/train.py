"""`headstart train`."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from headstart.api.train import TrainResult
from headstart.api.train import train as run_training
from headstart.cli.console import make_progress, make_results_console, print_findings
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import TrainConfig
from headstart.metrics.summary import Source, summarise

_DEFAULTS = TrainConfig()


def train(
    data: Path,
    *,
    config: Annotated[TrainConfig, Parameter(name="*")] = _DEFAULTS,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train a classifier on a folder of labelled images, measure it and save it.

    Parameters
    ----------
    data
        A folder with one folder per class, inside train/, val/ and test/ or not; or a CSV or Parquet
        manifest with the columns path, label and, if wanted, split and group.
    out
        The run folder; numbered where it exists. Default: runs/DATA-probe-N.
    """
    result = run_training(data, config, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        print(json.dumps(_as_json(result), ensure_ascii=False))  # noqa: T201
    else:
        print_result(result)


def print_result(result: TrainResult) -> None:
    """Print the summary, the findings and where the run is."""
    source: Source = result.headline  # type: ignore[assignment]
    print_findings(summarise(result.scores[source], source=source), result.findings)
    console, run = make_results_console(), str(result.run)
    console.print(f"Saved in {run} after {result.seconds['total']:.1f} s.", markup=False, soft_wrap=True)
    following = f"Next: headstart predict {shlex.quote(run)} IMAGES"
    console.print(following, style="dim", markup=False, soft_wrap=True)


def _as_json(result: TrainResult) -> dict[str, Any]:
    return {
        "run": str(result.run),
        "headline": result.headline,
        "metrics": {name: scores.to_json() for name, scores in result.scores.items()},
        "findings": list(result.findings),
        "skipped": [{"path": skipped.path, "reason": skipped.reason} for skipped in result.dataset.skipped],
        "seconds": result.seconds,
    }
