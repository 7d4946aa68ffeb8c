"""Read a CSV or Parquet manifest: one row an image, with its label and, if wanted, its split and group.

Every problem of the file is gathered before one error is raised.
"""

import csv
import math
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from headstart.data.splits import Split, parse_split
from headstart.errors import DatasetNotFoundError, ManifestError

MANIFEST_SUFFIXES = frozenset({".csv", ".parquet"})

_REQUIRED = ("path", "label")
_COLUMNS = (*_REQUIRED, "split", "group")
_SHOWN_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image of a manifest.

    Attributes:
        path: Absolute path of the image.
        label: Name of its class.
        split: Where the user put it, None if left open.
        group: What it must not be separated from (a patient, a product), None for nothing.
    """

    path: str
    label: str
    split: Split | None
    group: str | None


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row as text, and where it stands: `line 7` of a CSV, `row 6` of a Parquet file."""

    place: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Table:
    """The columns found, and the rows with those that matter."""

    columns: tuple[str, ...]
    rows: list[_Cells]
    problems: list[str]


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read the columns `path,label[,split][,group]`; others are ignored.

    Relative paths start at the manifest's folder. Numbers become text as they would be
    written by hand: 3 is "3", not "3.0". A row that repeats another is dropped. Every path must
    lead to a file: a missing one is a mistake in the list, not in a file, so none is skipped.

    Raises:
        DatasetNotFoundError: The manifest can't be opened.
        ManifestError: Columns, paths, labels or files are missing, a split is unknown, or a path has
            two labels; all of it at once.
    """
    try:
        table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DatasetNotFoundError(f"Can't open the manifest {path}: {reason}. Check the path.") from error
    if missing := [name for name in _REQUIRED if name not in table.columns]:
        raise ManifestError(
            f"The manifest {path} lacks the {_plural('column', missing)} {_quote(missing)}; it has "
            f"{_quote(table.columns) or 'none'}. Name the columns path,label and, if wanted, split and group."
        )
    if not table.rows and not table.problems:
        raise ManifestError(f"The manifest {path} has no rows. Add one for each image: path,label.")
    rows, problems = _check_rows(table.rows, Path(os.path.abspath(path)).parent)  # noqa: PTH100 (links stay)
    if problems := table.problems + problems:
        raise ManifestError(_list_problems(path, problems))
    return rows


def _check_rows(table: Iterable[_Cells], folder: Path) -> tuple[list[ManifestRow], list[str]]:
    """Turn cells into rows, and gather what is wrong with them."""
    problems: list[str] = []
    rows: dict[ManifestRow, None] = {}
    seen: dict[str, tuple[str, str]] = {}
    for cells in table:
        row = _parse_row(cells, folder, problems)
        if row is None:
            continue
        rows[row] = None
        path = cells.values["path"]
        if row.path not in seen:
            seen[row.path] = row.label, cells.place
            if reason := _why_no_file(row.path):
                problems.append(f"{cells.place}: {reason} {path}{_beside(path, folder)}")
        label, place = seen[row.path]
        if label != row.label:
            problems.append(f"{cells.place}: {path} is labelled {row.label!r}, but {label!r} in {place}")
    return list(rows), problems


def _parse_row(cells: _Cells, folder: Path, problems: list[str]) -> ManifestRow | None:
    """One row; None where it is wrong, which is added to `problems`."""
    empty = [name for name in _REQUIRED if not cells.values[name]]
    if empty:
        problems.append(f"{cells.place}: the {' and the '.join(empty)} is empty")
    name = cells.values.get("split", "")
    split = parse_split(name)
    if name and split is None:
        problems.append(f"{cells.place}: unknown split {name!r} (known: train, val, valid, validation, test)")
    if empty or (name and split is None):
        return None
    # normpath: the same file written in two ways must be found to be the same.
    path = os.path.normpath(folder / cells.values["path"])
    return ManifestRow(path, cells.values["label"], split, cells.values.get("group") or None)


def _why_no_file(path: str) -> str:
    """`there is no`, or what else a path leads to; empty if to a file, or if only reading can tell."""
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 (50,000 of them)
    except (FileNotFoundError, NotADirectoryError):
        return "a link leads nowhere:" if os.path.islink(path) else "there is no"  # noqa: PTH114
    except (OSError, ValueError):
        return ""
    return "a folder, not a file:" if is_folder else ""


def _beside(path: str, folder: Path) -> str:
    """Where a relative path starts."""
    return "" if os.path.isabs(path) else f" in {folder}"  # noqa: PTH117 (for text)


def _read_csv(path: Path) -> _Table:
    """Rows of a CSV; by the standard library, whose line numbers the user can look up."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            return _parse_csv(path, file, delimiter=max(",;\t", key=header.count))
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"The manifest {path} is not UTF-8 text (byte {error.start}). Save it as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        raise ManifestError(
            f"The manifest {path} is not a valid CSV file: {_reason(error)}. "
            "Save it again, with quotes around what holds a comma."
        ) from error


def _parse_csv(path: Path, file: TextIO, delimiter: str) -> _Table:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    columns = _clean_columns(path, next(reader, []))
    rows, problems = [], []
    last_line = reader.line_num
    for cells in reader:
        place = f"line {last_line + 1}"  # where the row begins: a quoted cell may hold line ends
        last_line = reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            problems.append(f"{place}: {len(cells)} cells, but the header has {len(columns)}")
            continue
        pairs = zip(columns, cells, strict=True)
        rows.append(_Cells(place, {name: cell.strip() for name, cell in pairs if name in _COLUMNS}))
    return _Table(columns, rows, problems)


def _read_parquet(path: Path) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        try:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            columns = _clean_columns(path, names)
            for field in parquet.schema_arrow:
                if field.name.strip().lower() in _COLUMNS and pa.types.is_nested(field.type):
                    raise ManifestError(
                        f"The manifest {path} has {field.type} in the column {field.name!r}. Give one text "
                        "or number a row."
                    )
            wanted = {name: names[columns.index(name)] for name in _COLUMNS if name in columns}
            table = parquet.read(columns=list(wanted.values()))
        except (pa.ArrowException, OSError) as error:
            raise ManifestError(
                f"The manifest {path} is not a readable Parquet file ({_reason(error)}). Write it again, "
                "or save it as CSV."
            ) from error
    values = [[_as_text(cell) for cell in table.column(name).to_pylist()] for name in wanted.values()]
    cells = zip(*values, strict=True)
    rows = [_Cells(f"row {n}", dict(zip(wanted, row, strict=True))) for n, row in enumerate(cells, start=1)]
    return _Table(columns, rows, [])


def _clean_columns(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    columns = tuple(name.strip().lower() for name in names)
    if twice := [name for name in _COLUMNS if columns.count(name) > 1]:
        raise ManifestError(f"The manifest {path} has {_quote(twice)} twice. Remove or rename one column.")
    return columns


def _as_text(cell: object) -> str:
    """A Parquet value as the user would write it; nothing, and not-a-number, are empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():  # pandas turns integers with gaps into floats
        return str(int(cell))
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace").strip()
    return str(cell).strip()


def _list_problems(path: Path, problems: list[str]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    rest = f"\n  and {more:,} more" if more > 0 else ""
    count = f"{len(problems):,} {_plural('problem', problems)}"
    return f"The manifest {path} has {count}; mend and try again:{shown}{rest}"


def _reason(error: Exception) -> str:
    """Another library's message on one line, without its full stop."""
    return " ".join(str(error).split()).rstrip(".")


def _plural(noun: str, items: list[str]) -> str:
    return noun if len(items) == 1 else f"{noun}s"


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
