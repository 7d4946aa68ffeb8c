"""`headstart train`."""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from headstart.api.train import train as run_training
from headstart.api.trained import TrainResult
from headstart.cli.console import make_progress, make_results_console, print_findings
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import TrainConfig, TuneConfig
from headstart.metrics.summary import Source, summarise
from headstart.run.launch import process_rank

_DEFAULTS, _TUNING = TrainConfig(), TuneConfig()


def train(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    config: Annotated[TrainConfig, Parameter(name="*")] = _DEFAULTS,
    tuning: Annotated[TuneConfig, Parameter(name="*", group="Training the backbone")] = _TUNING,
    out: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
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
        The run folder; numbered where it exists. Default: runs/DATA-RECIPE-N.
    resume
        Go on with the training of these data and settings that was cut short.
    """
    progress = make_progress(quiet=quiet)
    result = run_training(data, config, tuning, out=out, cache=cache, resume=resume, progress=progress)
    if process_rank():
        return
    if json_:
        print(json.dumps(_as_json(result), ensure_ascii=False))  # noqa: T201
    else:
        print_result(result)
        source = ["--from", config.from_] if config.from_ else ["--model", config.model]
        print_next_rung(
            result, [str(data), *(source if config.from_ or config.model != _DEFAULTS.model else [])]
        )


def print_result(result: TrainResult) -> None:
    """Print the summary, the findings and where the run is."""
    source: Source = result.headline  # type: ignore[assignment]
    others = [
        summarise(scores, source=part, nested=result.nested, chosen=bool(result.epochs))[0]  # type: ignore[arg-type]
        for part, scores in result.scores.items()
        if part != source
    ]
    print_findings(
        [*summarise(result.scores[source], source=source, nested=result.nested), *others, *result.notes],
        result.findings,
    )
    console, run = make_results_console(), str(result.run)
    console.print(f"Saved in {run} after {result.seconds['total']:.1f} s.", markup=False, soft_wrap=True)
    following = f"Next: headstart predict {shlex.quote(run)} IMAGES"
    console.print(following, style="dim", markup=False, soft_wrap=True)


def print_next_rung(result: TrainResult, words: Sequence[str]) -> None:
    """Print what climbing would cost, and the command; it repeats the words."""
    if result.next_rung_s is None:
        return
    minutes = max(1, math.ceil(result.next_rung_s / 60))
    make_results_console().print(
        f"Or train the backbone's last stages too, about {minutes} min here, kept only if it is better: "
        f"headstart train {shlex.join(words)} --budget {minutes + 1}m",
        style="dim",
        markup=False,
        soft_wrap=True,
    )


def _as_json(result: TrainResult) -> dict[str, Any]:
    return {
        "run": str(result.run),
        "headline": result.headline,
        "nested": result.nested,
        "metrics": {name: scores.to_json() for name, scores in result.scores.items()},
        "zero_shot": result.zero_shot.to_json() if result.zero_shot else None,
        "notes": list(result.notes),
        "findings": list(result.findings),
        "skipped": [{"path": skipped.path, "reason": skipped.reason} for skipped in result.dataset.skipped],
        "seconds": result.seconds,
    }
