"""`headstart predict`."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.api.load import load
from headstart.api.predict import Row, expand_inputs
from headstart.api.predict import predict as run_prediction
from headstart.cli.console import make_progress
from headstart.cli.options import Cache, Quiet
from headstart.cli.rows import FORMATS, Format, write_rows
from headstart.config import RuntimeChoice
from headstart.errors import ConfigError
from headstart.progress import Progress

EXIT_SOME_UNREADABLE = 1


def predict(  # noqa: PLR0913 - one parameter a flag
    run: Path,
    images: Annotated[list[str], Parameter(negative="", allow_leading_hyphen=True)],
    *,
    format_: Annotated[Format | None, Parameter("--format")] = None,
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
        How to print: table, csv, jsonl, or parquet (which needs --out). Default: what the name of --out
        ends in, else table.
    top
        How many classes to list for each image.
    unknown_below
        Answer "unknown" where the best class's probability is below this, in [0, 1].
    out
        Write here instead of to standard output.
    runtime
        What runs the backbone; auto takes that of the training if this machine has it.
    """
    format_ = format_ or _format_of(out)
    _check(format_, top, unknown_below, out)
    _check_no_flags(images)
    names = [name for image in images for name in (_stdin_lines() if image == "-" else [image])]
    paths, progress = expand_inputs(names), make_progress(quiet=quiet)
    classifier = load(run, cache=cache, runtime=runtime, progress=progress)
    top = min(top, len(classifier.classes))
    rows = run_prediction(classifier, paths, top=top, unknown_below=unknown_below)
    if out is not None or format_ == "table" or not sys.stdout.isatty():  # else the rows show it
        rows = _watched(rows, len(paths), progress)
    unreadable = write_rows(rows, format_, top, out)
    if unreadable:
        files = "file" if len(paths) == 1 else "files"
        print(f"headstart: {unreadable:,} of {len(paths):,} {files} can't be read", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_SOME_UNREADABLE)


def _watched(rows: Iterable[Row], total: int, progress: Progress) -> Iterator[Row]:
    """Show how the work moves; the stage ends before the rows are printed."""
    with progress.stage("Predicting", total) as advance:
        for row in rows:
            yield row
            advance(1)


def _format_of(out: Path | None) -> Format:
    """What a file's name asks for; a table where it asks for nothing."""
    suffix = "" if out is None else out.suffix.lower().removeprefix(".")
    return next((name for name in FORMATS if name == suffix), "table")


def _check(format_: Format, top: int, unknown_below: float, out: Path | None) -> None:
    problems = []
    if format_ not in FORMATS:
        problems.append(f"--format must be one of {', '.join(FORMATS)}, not {format_}")
    if top < 1:
        problems.append(f"--top must be at least 1, not {top}")
    if not 0 <= unknown_below <= 1:
        problems.append(f"--unknown-below must lie between 0 and 1, not {unknown_below}")
    if out is not None and os.path.isdir(out):  # noqa: PTH112 - Path's own raises where a folder is forbidden
        problems.append(f"--out {out} is a folder; name a file in it, such as {out / 'predictions.csv'}")
    if format_ == "parquet" and out is None:
        problems.append("--format parquet needs --out FILE")
    if problems:
        raise ConfigError("; ".join(problems) + ".")


def _check_no_flags(images: Sequence[str]) -> None:
    """Tell a mistyped flag from a file; both may begin with a hyphen."""
    unknown = [name for name in images if name.startswith("-") and name != "-" and not os.path.lexists(name)]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: neither a flag of predict nor a file. See `headstart predict --help`."
        )


def _stdin_lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line]
