"""Flags that several commands share."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Cache = Annotated[
    Path | None,
    Parameter(
        "--cache",
        help="Where features and converted backbones are kept. Default: the platform's cache folder.",
    ),
]
Quiet = Annotated[bool, Parameter("--quiet", negative="", help="Print results and errors only.")]
Json = Annotated[
    bool,
    Parameter(
        "--json", negative="", help="Print one JSON object on standard output, and nothing else there."
    ),
]
