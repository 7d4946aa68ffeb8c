"""Print or save predictions: a table, CSV, JSON lines or Parquet."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, get_args

from headstart.api.predict import Row
from headstart.cli.console import make_results_console, printable
from headstart.run.atomic import converting_errors, replacing
from headstart.run.tables import valid_text

if TYPE_CHECKING:
    from rich.text import Text

Format = Literal["table", "csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


def write_rows(rows: Iterable[Row], format_: Format, top: int, out: Path | None) -> int:
    """Write rows as they come, to `out` (whole or not at all) or standard output.

    Returns:
        How many files could not be read.

    Raises:
        StorageError: `out` can't be written.
    """
    if format_ == "parquet" and out is not None:
        return _write_parquet(rows, top, out)
    writers: dict[Format, Callable[[Iterable[Row], int, TextIO], int]] = {
        "table": _write_table,
        "csv": _write_csv,
        "jsonl": _write_jsonl,
    }
    with _opened(out) as file:
        return writers[format_](rows, top, file)


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with _writing(out) as place, _open_text(place) as file:
        yield file


@contextmanager
def _writing(out: Path) -> Iterator[Path]:
    """Where to write: aside, to take `out`'s place at the end; into a pipe or a device directly."""
    with converting_errors(out):
        if out.exists() and not out.is_file():
            yield out
        else:
            with replacing(Path(os.path.realpath(out)) if out.is_symlink() else out) as aside:
                yield aside


def _open_text(path: Path) -> TextIO:
    # a file name in an unknown encoding is written as \udcXX, as in a run's tables
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def _write_csv(rows: Iterable[Row], top: int, file: TextIO) -> int:
    writer, unreadable = csv.writer(file, lineterminator="\n"), 0
    writer.writerow(_columns(top))
    for row in rows:
        writer.writerow(["" if value is None else value for value in _flat(row, top).values()])
        unreadable += row.error is not None
    return unreadable


def _write_jsonl(rows: Iterable[Row], _top: int, file: TextIO) -> int:
    unreadable = 0
    for row in rows:
        best = [{"class": name, "probability": p} for name, p in row.top]
        line = {"path": row.path, "predicted": row.predicted, "confidence": row.confidence, "top": best}
        file.write(json.dumps({**line, "error": row.error}, ensure_ascii=False) + "\n")
        unreadable += row.error is not None
    return unreadable


def _write_table(rows: Iterable[Row], top: int, file: TextIO) -> int:
    from rich.table import Table

    table, unreadable = Table(box=None, pad_edge=False, header_style="bold"), 0
    for name in ("image", "predicted", "confidence", *(f"{k}." for k in range(2, top + 1))):
        table.add_column(name, justify="right" if name == "confidence" else "left", overflow="fold")
    for row in rows:
        unreadable += row.error is not None
        if row.error is not None:
            table.add_row(_cell(row.path), _cell(row.error, "red"), "")
            continue
        others = [_cell(f"{name} {_percent(p)}") for name, p in row.top[1:]]
        table.add_row(_cell(row.path), _cell(row.predicted or ""), _percent(row.confidence or 0.0), *others)
    console = make_results_console(file)
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width to wrap at
    console.print(table)
    return unreadable


def _cell(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(printable(text), style=style)


def _write_parquet(rows: Iterable[Row], top: int, out: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.float64() if "confidence" in name else pa.string()) for name in _columns(top)]
    )
    batch: list[dict[str, Any]] = []
    unreadable = 0
    with _writing(out) as place, place.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        for row in rows:
            batch.append(_flat(row, top))
            unreadable += row.error is not None
            if len(batch) == 4096:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))
    return unreadable


def _columns(top: int) -> list[str]:
    more = [name for k in range(2, top + 1) for name in (f"class_{k}", f"confidence_{k}")]
    return ["path", "predicted", "confidence", *more, "error"]


def _flat(row: Row, top: int) -> dict[str, Any]:
    flat: dict[str, Any] = {
        "path": valid_text(row.path),
        "predicted": row.predicted,
        "confidence": row.confidence,
    }
    for k in range(2, top + 1):
        name, p = row.top[k - 1] if len(row.top) >= k else (None, None)
        flat |= {f"class_{k}": name, f"confidence_{k}": p}
    return {**flat, "error": row.error}


def _percent(p: float) -> str:
    return f"{100 * p:.1f} %"
