"""Print predictions: a table for people, CSV or JSON lines for programs."""

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from headstart.cli.console import make_results_console, printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from headstart.api.rows import Row

Format = Literal["table", "csv", "jsonl", "parquet"]

_BLOCK_ROWS = 1000  # of a table in a file, held until their columns' widths are known


def print_rows(rows: "Iterable[Row]", format_: Format, top: int, out: str | None) -> None:
    """Print lines as the rows come, or a table once all are known; a table may go into a file instead.

    Raises:
        StorageError: `out` can't be written.
    """
    if out is not None:
        _write_table(rows, top, Path(out))
    elif format_ == "table":
        _print_block(rows, top, sys.stdout)
    elif format_ != "parquet":
        from headstart.api.rows import print_lines

        print_lines(rows, format_, top, sys.stdout)


def _write_table(rows: "Iterable[Row]", top: int, out: Path) -> None:
    """Write a table block by block: its columns' widths are those of a block."""
    from headstart.api.rows import open_text, writing

    coming, is_first = iter(rows), True
    with writing(out) as place, open_text(place) as file:
        while (block := list(islice(coming, _BLOCK_ROWS))) or is_first:
            _print_block(block, top, file, with_header=is_first)
            is_first = False


def _print_block(rows: "Iterable[Row]", top: int, file: TextIO, *, with_header: bool = True) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=with_header)
    for name in ("image", "predicted", "confidence", *(f"{k}." for k in range(2, top + 1))):
        table.add_column(name, justify="right" if name == "confidence" else "left", overflow="fold")
    for row in rows:
        _add_row(table, row)
    console = make_results_console(file)
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width to wrap at
    console.print(table)


def _add_row(table: "Table", row: "Row") -> None:
    if row.error is not None:
        table.add_row(_cell(row.path), _cell(row.error, "red"), "")
        return
    others = [_cell(f"{name} {_percent(p)}") for name, p in row.top[1:]]
    best = row.top[0][0]
    answer = best if row.predicted == best else f"{row.predicted} ({best}?)"
    table.add_row(_cell(row.path), _cell(answer), _percent(row.confidence or 0.0), *others)


def _cell(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(printable(text), style=style)


def _percent(p: float) -> str:
    return f"{100 * p:.1f} %"
