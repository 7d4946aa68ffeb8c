"""`headstart predict`."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress
from headstart.cli.options import Cache, Quiet
from headstart.cli.rows import Format, print_rows
from headstart.config import PredictConfig
from headstart.errors import ConfigError
from headstart.progress import Progress, Silent

if TYPE_CHECKING:
    from headstart.api.predict import Job
    from headstart.api.rows import Row

EXIT_SOME_UNREADABLE = 1
_TABLE_SUFFIXES = {"", ".txt"}
_DEFAULTS = PredictConfig()


def predict(  # noqa: PLR0913 - one parameter a flag
    run: Path,
    images: Annotated[list[str], Parameter(negative="", allow_leading_hyphen=True)],
    *,
    config: Annotated[PredictConfig, Parameter(name="*")] = _DEFAULTS,
    format_: Annotated[Format | None, Parameter("--format")] = None,
    out: str | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Predict images with a trained run; exits with 1 if some can't be read.

    Parameters
    ----------
    run
        The run folder.
    images
        Files, folders, globs, tar shards (.tar, .tar.gz) and tables (.parquet), each a path or a URL that
        fsspec can open; @LIST reads names from a file, a line each, and - from standard input.
    format_
        How to print: table, csv, jsonl, or parquet (which needs --out). Default: what the name of --out
        ends in, else table; parquet for parts.
    out
        Write here instead of to standard output: a file; or, ending in a slash, a folder of parts, which the
        same command resumes.
    """
    _check(format_, images, out, config)
    names = [sys.stdin if image == "-" else image for image in images]
    progress = make_progress(quiet=quiet)
    if out is None or _is_table(format_, out, config):
        from headstart.api.predict import open_job  # what --help doesn't need

        job = open_job(run, names, config, cache=cache, progress=progress)
        n, unreadable = _print(job, format_ or "table", out, progress)
    else:
        from headstart.api.predict import predict as predict_into

        row_format = None if format_ == "table" else format_
        done = predict_into(run, names, config, out=out, format_=row_format, cache=cache, progress=progress)
        n, unreadable = done.images, done.unreadable
    if unreadable:
        noun = "image" if n == 1 else "images"
        print(f"headstart: {unreadable:,} of {n:,} {noun} can't be read", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_SOME_UNREADABLE)


def _print(job: "Job", format_: Format, out: str | None, progress: Progress) -> tuple[int, int]:
    """Print every row; how many there are, and how many say why an image can't be read."""
    from headstart.api.rows import Tally

    tally = Tally()

    def watched(watcher: Progress) -> "Iterator[Row]":  # the stage ends before a table is printed
        with watcher.stage("Predicting", job.total) as advance:
            yield from tally.count(job.answer(job.pictures), advance)

    rows_show_it = out is None and format_ != "table" and sys.stdout.isatty()
    print_rows(watched(Silent() if rows_show_it else progress), format_, job.top, out)
    return tally.rows, tally.unreadable


def _is_table(format_: Format | None, out: str, config: PredictConfig) -> bool:
    """Whether a table is to be written: asked for, or because the file's name asks for nothing.

    Raises:
        ConfigError: A table can't go there.
    """
    from headstart.api.predict import check_file, is_folder_of_parts

    if is_folder_of_parts(out, config.part_rows):
        if format_ == "table":
            raise ConfigError("Parts can't be tables. Say --format parquet, csv or jsonl.")
        return False
    check_file(out, format_)
    is_called_so = Path(out).suffix.lower() in _TABLE_SUFFIXES
    return format_ == "table" or (format_ is None and is_called_so)


def _check(format_: Format | None, images: Sequence[str], out: str | None, config: PredictConfig) -> None:
    if config.part_rows is not None and out is None:
        raise ConfigError("--part-rows needs --out FOLDER.")
    if format_ == "parquet" and out is None:
        raise ConfigError("--format parquet needs --out FILE.")
    # a mistyped flag and a file may both begin with a hyphen
    unknown = [name for name in images if name.startswith("-") and name != "-" and not os.path.lexists(name)]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: neither a flag of predict nor a file. See `headstart predict --help`."
        )
