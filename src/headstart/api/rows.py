"""Predictions as rows of a file: CSV, JSON lines or Parquet, written as they come."""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from headstart.classifier import Prediction
from headstart.config import RowFormat
from headstart.progress import Advance
from headstart.run.atomic import converting_errors, replacing
from headstart.run.tables import valid_text

UNKNOWN = "unknown"
_FIRST = ["path", "predicted", "confidence"]
_LOOKED_AT_BYTES = 1 << 16
_GROUP_ROWS = 4096  # of a Parquet file, held until they are written


@dataclass(frozen=True, slots=True)
class Row:
    """One image's answer.

    Attributes:
        path: The file, or what else the image is called.
        predicted: The most probable class, `unknown` below the threshold, None for an unreadable image.
        confidence: Its probability.
        top: The most probable classes with their probabilities, best first.
        error: Why the image can't be read, or None.
    """

    path: str
    predicted: str | None
    confidence: float | None
    top: tuple[tuple[str, float], ...]
    error: str | None


def make_row(classes: Sequence[str], prediction: Prediction, top: int, unknown_below: float) -> Row:
    """What is said of one image."""
    p = prediction.probabilities
    if p is None:
        return Row(prediction.path, None, None, (), prediction.error)
    best = np.argsort(-p, kind="stable")[:top]
    confidence = float(p[best[0]])
    predicted = classes[best[0]] if confidence >= unknown_below else UNKNOWN
    return Row(prediction.path, predicted, confidence, tuple((classes[k], float(p[k])) for k in best), None)


@dataclass(slots=True)
class Tally:
    """Counts rows as they pass."""

    rows: int = 0
    unreadable: int = 0

    def count(self, rows: Iterable[Row], advance: Advance) -> Iterator[Row]:
        """Pass rows on, counted and reported."""
        for row in rows:
            self.rows += 1
            self.unreadable += row.error is not None
            yield row
            advance(1)


def write_rows(rows: Iterable[Row], format_: RowFormat, top: int, out: Path) -> None:
    """Write rows as they come, whole or not at all.

    Raises:
        StorageError: `out` can't be written.
    """
    with writing(out) as place:
        if format_ == "parquet":
            _write_parquet(rows, top, place)
        else:
            with open_text(place) as file:
                print_lines(rows, format_, top, file)


def print_lines(rows: Iterable[Row], format_: Literal["csv", "jsonl"], top: int, file: TextIO) -> None:
    """Write rows as they come, as CSV or JSON lines."""
    (_write_csv if format_ == "csv" else _write_jsonl)(rows, top, file)


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """Where to write: aside, to take `out`'s place at the end; into a pipe or a device directly."""
    with converting_errors(out):
        if out.exists() and not out.is_file():
            yield out
        else:
            with replacing(Path(os.path.realpath(out)) if out.is_symlink() else out) as aside:
                yield aside


def open_text(path: Path) -> TextIO:
    r"""Open for writing; a file name in an unknown encoding is written as `\udcXX`, as in a run's tables."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def holds_answers(file: Path) -> bool:
    """Whether a file is empty or holds rows that were written here, in whichever format."""
    with file.open("rb") as opened:
        start = opened.read(_LOOKED_AT_BYTES)
    if start.startswith(b"PAR1"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(file).names[: len(_FIRST)]) == _FIRST
        except pa.ArrowException:
            return False
    line = start.partition(b"\n")[0].decode("utf-8", "replace")
    is_table = line.split()[: len(_FIRST)] == ["image", *_FIRST[1:]]
    is_lines = re.match(r'\{"path": ".*?", "predicted": ', line) is not None
    return not start or is_table or is_lines or line.split(",")[: len(_FIRST)] == _FIRST


def _write_csv(rows: Iterable[Row], top: int, file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_columns(top))
    for row in rows:
        writer.writerow(["" if value is None else value for value in _flat(row, top).values()])


def _write_jsonl(rows: Iterable[Row], _top: int, file: TextIO) -> None:
    for row in rows:
        best = [{"class": name, "probability": p} for name, p in row.top]
        line = {"path": row.path, "predicted": row.predicted, "confidence": row.confidence, "top": best}
        file.write(json.dumps({**line, "error": row.error}, ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterable[Row], top: int, place: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.float64() if "confidence" in name else pa.string()) for name in _columns(top)]
    )
    with place.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        coming = iter(rows)
        while group := list(islice(coming, _GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist([_flat(row, top) for row in group], schema))


def _columns(top: int) -> list[str]:
    more = [name for k in _ranks(top) for name in (f"class_{k}", f"confidence_{k}")]
    return [*_FIRST, *more, "error"]


def _ranks(top: int) -> range:
    """Which classes have columns of their own: none where one is asked for, else the best, too."""
    return range(1, top + 1) if top > 1 else range(0)


def _flat(row: Row, top: int) -> dict[str, Any]:
    flat: dict[str, Any] = {
        "path": valid_text(row.path),
        "predicted": row.predicted,
        "confidence": row.confidence,
    }
    for k in _ranks(top):
        name, p = row.top[k - 1] if len(row.top) >= k else (None, None)
        flat |= {f"class_{k}": name, f"confidence_{k}": p}
    return {**flat, "error": row.error}
