"""`headstart evaluate`."""

import json
from dataclasses import asdict
from pathlib import Path

from headstart.api.evaluate import evaluate as run_evaluation
from headstart.api.load import load
from headstart.cli.console import make_progress, print_findings
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
    result = run_evaluation(classifier, data, run=run, strict=strict, progress=progress)
    if json_:
        report = {
            "run": str(run),
            "data": str(data),
            "runtime": classifier.runtime.name,
            "metrics": result.scores.to_json(),
            "findings": list(result.findings),
            "skipped": [asdict(skipped) for skipped in result.skipped],
        }
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
        return
    print_findings(summarise(result.scores, source="test"), result.findings)
