"""`headstart gain`."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.api.gain import gain as measure_gain
from headstart.cli.console import print_findings
from headstart.cli.options import Json


def gain(
    runs: Annotated[list[Path], Parameter(negative="")],
    *,
    over: Annotated[list[Path], Parameter(negative="", consume_multiple=True)],
    json_: Json = False,
) -> None:
    """Measure how far some runs are ahead of others on the same test images.

    Parameters
    ----------
    runs
        Run folders; several are trainings that differ in their seed alone.
    over
        Run folders to hold them against, likewise.
    """
    found = measure_gain(runs, over)
    if json_:
        print(json.dumps(found.to_json(), ensure_ascii=False))  # noqa: T201
        return
    print_findings(found.lines(), ())
