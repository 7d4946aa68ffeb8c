"""Predict: files, folders, shards and tables become rows of files."""

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, TextIO

from headstart.api.load import load
from headstart.api.parts import PART_ROWS, PROGRESS_NAME, Asked, open_parts
from headstart.api.rows import Row, Tally, holds_answers, make_row, write_rows
from headstart.classifier import Classifier
from headstart.config import ROW_FORMATS, PredictConfig, RowFormat
from headstart.data.pictures import Picture
from headstart.data.remote import is_url
from headstart.data.sources import Word, nothing_to_predict, open_sources
from headstart.errors import ConfigError
from headstart.progress import Progress, Silent
from headstart.run.atomic import converting_errors

Named = str | os.PathLike[str] | TextIO
"""A file, folder, pattern, list, shard or table, here or at a URL, or an open list."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was written.

    Attributes:
        out: The file, or the folder of parts.
        images: Rows in it.
        unreadable: How many of them say why an image can't be read.
        kept: Rows that an earlier call had written.
    """

    out: Path
    images: int
    unreadable: int
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A model, and the images it is to answer.

    Attributes:
        classifier: The model.
        pictures: The images, each to be taken once.
        total: How many; None where only reading them tells.
        top: Classes a row.
        unknown_below: Least probability of an answer.
    """

    classifier: Classifier
    pictures: Iterator[Picture]
    total: int | None
    top: int
    unknown_below: float

    def answer(self, pictures: Iterable[Picture], part_rows: int | None = None) -> Iterator[Row]:
        """A row for each picture, in order; only a few are under way at once."""
        for prediction in self.classifier.stream(pictures, part_rows=part_rows):
            yield make_row(self.classifier.classes, prediction, self.top, self.unknown_below)


def predict(  # noqa: PLR0913 - the run, the images, what to ask, and where things go
    run: str | Path,
    images: Named | Iterable[Named],
    config: PredictConfig | None = None,
    *,
    out: str | Path,
    format_: RowFormat | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Predicted:
    """Predict images of any number with a trained run, and write a row for each.

    Memory does not grow with their number. For answers in memory instead, see `Classifier.predict`.

    Args:
        run: The run folder.
        images: Files, folders, patterns, tar shards and Parquet tables, each a path or a URL that fsspec can
            open; `@` and the name of a list that has one a line; or an open list.
        config: What to ask.
        out: A `.csv`, `.jsonl` or `.parquet` file, which is replaced once all is written; or, where it ends
            in a slash or `config.part_rows` is set, a folder of parts, which a second call resumes.
        format_: How to write; default: what the name of `out` ends in, and Parquet for parts.
        cache: Where converted backbones are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The run, the images, the settings or the disk need the user.
    """
    config, progress = config or PredictConfig(), progress or Silent()
    format_, part_rows = _choose_layout(out, format_, config.part_rows)
    job = open_job(run, images, config, cache=cache, progress=progress)
    if part_rows is not None:
        return _write_parts(Path(out), job, config, (format_, part_rows), progress)
    tally = Tally()
    with progress.stage("Predicting", job.total) as advance:
        rows = tally.count(job.answer(job.pictures), advance)
        write_rows(rows, format_, job.top, Path(out))
    return Predicted(Path(out), tally.rows, tally.unreadable)


def open_job(
    run: str | Path,
    images: Named | Iterable[Named],
    config: PredictConfig,
    *,
    cache: str | Path | None,
    progress: Progress,
) -> Job:
    """Check the images' names, find the first, and load the model."""
    sources = open_sources(_words(images), config.column)
    pictures = iter(sources)
    first = next(pictures, None)
    if first is None:
        raise nothing_to_predict()
    first = first.held()
    classifier = load(run, cache=cache, runtime=config.runtime, progress=progress)
    top = min(config.top, len(classifier.classes))
    return Job(classifier, chain([first], pictures), sources.total, top, config.unknown_below)


def is_folder_of_parts(out: str | Path, part_rows: int | None) -> bool:
    """Whether parts are to be written: said by a slash, by their size, or by parts that are there."""
    ends_in_slash = os.fspath(out).endswith(("/", os.sep))
    return ends_in_slash or part_rows is not None or os.path.isfile(Path(out) / PROGRESS_NAME)  # noqa: PTH113


def check_file(out: str | Path, format_: RowFormat | Literal["table"] | None) -> None:
    """Refuse what can't be one file on this machine, or would replace what is no answers.

    Raises:
        ConfigError: It is a folder or a URL; it is called as another format; or it is a file that holds
            something else, such as a picture, or the list that is to be read.
    """
    _check_local(out)
    named = format_of(out)
    if named and format_ and named != format_:
        raise ConfigError(
            f"--out {out} and --format {format_} contradict each other. Leave out --format, or name the file "
            f"{Path(out).with_suffix('.txt' if format_ == 'table' else f'.{format_}')}."
        )
    if os.path.isdir(Path(out)):  # noqa: PTH112 - Path's own raises where a folder is forbidden
        raise ConfigError(
            f"--out {out} is a folder; name a file in it, such as {Path(out) / 'predictions.csv'}, or write "
            f"--out {out}/ to have parts there."
        )
    with converting_errors(Path(out)):
        if os.path.isfile(out) and not holds_answers(Path(out)):  # noqa: PTH113 - likewise
            raise ConfigError(
                f"--out {out} is there already, and holds something else than answers. Name another file."
            )


def _choose_layout(
    out: str | Path, format_: RowFormat | None, part_rows: int | None
) -> tuple[RowFormat, int | None]:
    """Format of what is written, and the rows a part where it is a folder of parts.

    Raises:
        ConfigError: The name tells no format, or is a folder's that was not meant.
    """
    if is_folder_of_parts(out, part_rows):
        _check_local(out)
        return format_ or "parquet", part_rows or PART_ROWS
    check_file(out, format_)
    format_ = format_ or format_of(out)
    if format_ is None:
        raise ConfigError(
            f"--out {out} tells no format. Name it .csv, .jsonl or .parquet (.txt for a table), end it in a "
            "slash to have parts, or say --format."
        )
    return format_, None


def _check_local(out: str | Path) -> None:
    if is_url(os.fspath(out)):
        raise ConfigError(f"--out {out} is a URL. Write to this machine, and copy it from there.")


def format_of(out: str | Path) -> RowFormat | None:
    """What a file's name asks for."""
    suffix = Path(out).suffix.lower().removeprefix(".")
    return next((name for name in ROW_FORMATS if name == suffix), None)


def _write_parts(
    out: Path, job: Job, config: PredictConfig, layout: tuple[RowFormat, int], progress: Progress
) -> Predicted:
    format_, part_rows = layout
    asked = Asked(
        model=job.classifier.fingerprint(),
        runtime=job.classifier.runtime.name,
        top=job.top,
        unknown_below=config.unknown_below,
        column=config.column,
        format=format_,
        part_rows=part_rows,
    )
    with open_parts(out, asked) as folder, progress.stage("Predicting", job.total) as advance:
        kept = sum(part.rows for part in folder.parts)
        if kept:
            progress.note(f"{out} answers {kept:,} images already; going on after them")
        folder.skip_kept(job.pictures, advance)
        folder.write(job.pictures, lambda pictures: job.answer(pictures, part_rows), advance)
    rows, unreadable = (
        sum(values) for values in zip(*((p.rows, p.unreadable) for p in folder.parts), strict=True)
    )
    return Predicted(out, rows, unreadable, kept)


def _words(images: Named | Iterable[Named]) -> list[Word]:
    """Names as text, and open lists.

    Raises:
        TypeError: Something is neither.
    """
    single = isinstance(images, str | os.PathLike | io.TextIOBase) or not isinstance(images, Iterable)
    words: list[Word] = []
    for image in [images] if single else images:  # type: ignore[union-attr]
        if isinstance(image, io.TextIOBase):
            words.append(image)  # type: ignore[arg-type]
        elif isinstance(image, str | os.PathLike):
            words.append(os.fspath(image))
        else:
            raise TypeError(f"Give paths, URLs or open lists of them, not {type(image).__qualname__}.")
    return words
