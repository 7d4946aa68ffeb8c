"""`headstart evaluate`."""

import json
from pathlib import Path

from rich.console import Console

from headstart.api.evaluate import evaluate as run_evaluation
from headstart.api.load import load
from headstart.cli.console import make_progress
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import RuntimeChoice
from headstart.metrics.summary import summarise


def evaluate(  # noqa: PLR0913 - one parameter a flag
    run: Path,
    data: Path,
    *,
    runtime: RuntimeChoice = "auto",
    strict: bool = False,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Measure a trained run on other labelled images.

    Parameters
    ----------
    run
        The run folder.
    data
        Labelled images, as for train; of data with a test split, that split alone is measured.
    runtime
        What runs the backbone; auto takes that of the training if this machine has it.
    strict
        Refuse if any file can't be read, instead of leaving it out.
    """
    progress = make_progress(quiet=quiet)
    classifier = load(run, cache=cache, runtime=runtime, progress=progress)
    result = run_evaluation(classifier, data, strict=strict, progress=progress)
    if json_:
        report = {"run": str(run), "data": str(data), "runtime": classifier.runtime.name}
        print(json.dumps({**report, "metrics": result.scores.to_json()}, ensure_ascii=False))  # noqa: T201
        return
    console = Console(highlight=False, soft_wrap=True)
    first, *rest = summarise(result.scores, source="test")
    console.print(first, style="bold", markup=False)
    for line in rest:
        console.print(line, markup=False)
