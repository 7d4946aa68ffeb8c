"""`headstart predict`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.api.load import load
from headstart.api.predict import expand_inputs
from headstart.api.predict import predict as run_prediction
from headstart.cli.console import make_progress
from headstart.cli.options import Cache, Quiet
from headstart.cli.rows import FORMATS, Format, write_rows
from headstart.config import RuntimeChoice
from headstart.errors import ConfigError

EXIT_SOME_UNREADABLE = 1


def predict(  # noqa: PLR0913 - one parameter a flag
    run: Path,
    images: Annotated[list[str], Parameter(negative="", allow_leading_hyphen=True)],
    *,
    format_: Annotated[Format, Parameter("--format")] = "table",
    top: int = 1,
    unknown_below: float = 0.0,
    out: Path | None = None,
    runtime: RuntimeChoice = "auto",
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Predict images with a trained run; exits with 1 if some can't be read.

    Parameters
    ----------
    run
        The run folder.
    images
        Files, folders and globs; - reads a list of files, a line each, from standard input.
    format_
        How to print: table, csv, jsonl, or parquet (which needs --out).
    top
        How many classes to list for each image.
    unknown_below
        Answer "unknown" where the best class's probability is below this, in [0, 1].
    out
        Write here instead of to standard output.
    runtime
        What runs the backbone; auto takes that of the training if this machine has it.
    """
    _check(format_, top, unknown_below, out)
    names = [name for image in images for name in (_stdin_lines() if image == "-" else [image])]
    paths = expand_inputs(names)
    classifier = load(run, cache=cache, runtime=runtime, progress=make_progress(quiet=quiet))
    top = min(top, len(classifier.classes))
    rows = run_prediction(classifier, paths, top=top, unknown_below=unknown_below)
    unreadable = write_rows(rows, format_, top, out)
    if unreadable:
        print(f"headstart: {unreadable:,} of {len(paths):,} files can't be read", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_SOME_UNREADABLE)


def _check(format_: Format, top: int, unknown_below: float, out: Path | None) -> None:
    problems = []
    if format_ not in FORMATS:
        problems.append(f"--format must be one of {', '.join(FORMATS)}, not {format_}")
    if top < 1:
        problems.append(f"--top must be at least 1, not {top}")
    if not 0 <= unknown_below <= 1:
        problems.append(f"--unknown-below must lie between 0 and 1, not {unknown_below}")
    if format_ == "parquet" and out is None:
        problems.append("--format parquet needs --out FILE")
    if problems:
        raise ConfigError("; ".join(problems) + ".")


def _stdin_lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line]
