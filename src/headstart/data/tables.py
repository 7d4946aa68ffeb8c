"""Parquet tables of pictures: their bytes in a column, as Hugging Face writes them, or their paths."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from headstart.data.files import MAX_BYTES
from headstart.data.pictures import FilePicture, HeldPicture, LostPicture, Picture
from headstart.data.remote import beside, is_url
from headstart.errors import ConfigError, UnreadableImageError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS = 16  # read at once
_BUFFER_BYTES = 1 << 20  # of a column: else pyarrow reads a row group's whole column before its first row
_PATH_NAMES = ("path", "image_path", "file_path", "file_name", "filename", "file", "image")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a table keeps its pictures.

    Attributes:
        image: Column of bytes, or of structs `{bytes, path}`; None where only paths are given.
        path: Column of paths; beside an image column, what the rows are called.
    """

    image: str | None
    path: str | None

    @property
    def all(self) -> list[str]:
        """Those to be read."""
        return [name for name in (self.image, self.path) if name is not None]


def check_table(name: str, file: BinaryIO, column: str | None) -> int | None:
    """How many rows a table has; None where it can't be read, which its row will say.

    Raises:
        ConfigError: It has no column of images or paths, or several and none was chosen.
    """
    try:
        parquet = _open(file)
    except UnreadableImageError:
        return None
    _find_columns(name, parquet.schema_arrow, column)
    return int(parquet.metadata.num_rows)


def read_table(name: str, file: BinaryIO, stamp: str, column: str | None) -> Iterator[Picture]:
    """The pictures of a table in its order, a few rows at a time however large its row groups are.

    A row of bytes is called after the path it gives, or `name#row` from 0. Relative paths start at the table.

    Args:
        name: The table's own path or URL.
        file: It, open for reading.
        stamp: Of the whole file, see `Picture.stamp`.
        column: Where the pictures are; None to find out, see `check_table`.
    """
    row = 0
    try:
        parquet = _open(file)
        columns = _find_columns(name, parquet.schema_arrow, column)
        for batch in parquet.iter_batches(batch_size=_ROWS, columns=columns.all):
            for cells in batch.to_pylist():
                yield _picture(name, row, cells, columns, stamp)
                row += 1
    except Exception as error:  # whatever pyarrow and a file system make of damaged bytes
        rest = f"the rest of it, from row {row:,}," if row else "it"
        yield LostPicture(name, f"{rest} can't be read: {' '.join(str(error).split()).rstrip('.')}")
        return
    if not row:
        yield LostPicture(name, "a table without rows")


def _picture(name: str, row: int, cells: dict[str, Any], columns: _Columns, stamp: str) -> Picture:
    place, path = f"{name}#{row}", _text(cells[columns.path]) if columns.path else ""
    if columns.image is None:
        return FilePicture(_beside(name, path)) if path else LostPicture(place, "the path is empty")
    cell = cells[columns.image]
    data = cell
    if isinstance(cell, dict):
        data, path = cell.get("bytes"), _text(cell.get("path")) or path
        if data is None and path:
            return FilePicture(_beside(name, path))
    if data is None:
        return LostPicture(path or place, "no image: the row's bytes are null")
    if len(data) > MAX_BYTES:
        return LostPicture(path or place, f"{len(data):,} bytes, more than the limit of {MAX_BYTES:,}")
    return HeldPicture(path or place, data, f"{stamp}#{row}")


def _beside(name: str, path: str) -> str:
    if is_url(path) or os.path.isabs(path):  # noqa: PTH117 (many)
        return path
    if is_url(name):
        return beside(name, path)
    return os.path.normpath(os.path.join(os.path.dirname(name), path))  # noqa: PTH118, PTH120 (many)


def _text(cell: object) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace")
    return cell if isinstance(cell, str) else ""


def _open(file: BinaryIO) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UnreadableImageError(f"not a readable Parquet file ({reason})") from error


def _find_columns(name: str, schema: "pa.Schema", wanted: str | None) -> _Columns:
    """Decide where the pictures are.

    Raises:
        ConfigError: Nowhere, or in one of several columns.
    """
    images = [field.name for field in schema if _holds_images(field.type)]
    texts = [field.name for field in schema if _holds_text(field.type)]
    path = next((known for known in _PATH_NAMES if known in texts), None)
    if wanted is not None:
        if wanted in images:
            return _Columns(wanted, path)
        if wanted in texts:
            return _Columns(None, wanted)
        raise ConfigError(
            f"{name} has no column {wanted!r} of images or paths; {_describe(images, texts)}. "
            "Choose another with --column."
        )
    if len(images) == 1 or "image" in images:
        return _Columns("image" if "image" in images else images[0], path)
    if images or path is None:
        raise ConfigError(
            f"{name}: which column holds the images? {_describe(images, texts)}. Say --column NAME."
        )
    return _Columns(None, path)


def _describe(images: Sequence[str], texts: Sequence[str]) -> str:
    parts = [
        f"{', '.join(map(repr, names))} hold{'s' if len(names) == 1 else ''} {what}"
        for names, what in ((images, "bytes"), (texts, "text"))
        if names
    ]
    return " and ".join(parts) if parts else "none holds bytes or text"


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return _holds_bytes(kind)


def _holds_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _holds_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
