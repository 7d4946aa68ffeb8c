"""The feature store: Arrow parts, addressed by image content, trunk and view.

`features/<trunk fingerprint>/<view>/part-<digest>.arrow`, each with the columns `key`
(content hash of the image file), `feature` (float32 list of fixed length),
`difference_hash` (uint64) and, of centre views, `thumbnail` (uint8 list, row by row).
pandas, polars and DuckDB read them as Arrow IPC files ("Feather v2"). A part is written
aside and renamed, its name is the digest of its bytes, and one that doesn't match its name
is deleted and its images are embedded again. Processes may write at once: parts never
change, and a key that stands in two parts has one meaning.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headstart.errors import StorageError
from headstart.run.atomic import write_bytes

_IN_MEMORY_BYTES = 64 * 2**20
_BLOCK_ROWS = 2048


class FeatureStore:
    """Features of one trunk in one view.

    Args:
        folder: `features/<fingerprint>/<view>`; it need not exist.
        dim: Length d of a feature vector.
        thumbnail_px: Side s of the thumbnails kept beside the features; 0 where none are. A part without
            them, from before they were kept, counts as damaged.
    """

    def __init__(self, folder: Path, dim: int, *, thumbnail_px: int = 0) -> None:
        self.folder = folder
        self.dim = dim
        self.thumbnail_px = thumbnail_px
        self._parts: list[Path] = []
        self._places: dict[str, tuple[int, int]] = {}  # part and row of each key
        self._hashes: dict[str, int] = {}
        for path in sorted(folder.glob("part-*.arrow")) if folder.is_dir() else []:
            self._index(path)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(
        self,
        keys: Sequence[str],
        features: NDArray[np.float32],
        difference_hashes: NDArray[np.uint64],
        thumbnails: NDArray[np.uint8] | None = None,
    ) -> None:
        """Write one part of rows `(n, d)`, with thumbnails `(n, s, s)` if this store keeps them.

        Raises:
            StorageError: The disk is full, read-only or forbidden.
        """
        columns = {
            "key": pa.array(keys, pa.string()),
            "feature": _lists(np.asarray(features, np.float32), self.dim),
            "difference_hash": pa.array(difference_hashes),
        }
        if thumbnails is not None:
            columns["thumbnail"] = _lists(thumbnails, self.thumbnail_px**2)
        table = pa.table(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        path = self.folder / f"part-{_digest(data)}.arrow"
        write_bytes(path, data)
        self._index(path)

    def table(self, keys: Sequence[str]) -> "FeatureTable":
        """The rows of these keys, in this order.

        Raises:
            KeyError: A key is not in the store.
        """
        places = [self._places[key] for key in keys]
        return FeatureTable(
            parts=tuple(self._parts),
            part=np.array([part for part, _ in places], np.int64),
            row=np.array([row for _, row in places], np.int64),
            dim=self.dim,
            thumbnail_px=self.thumbnail_px,
        )

    def difference_hashes(self, keys: Sequence[str]) -> NDArray[np.uint64]:
        """The perceptual hash of each key's centre view, `(n,)`."""
        return np.array([self._hashes[key] for key in keys], np.uint64)

    def _index(self, path: Path) -> None:
        try:
            data = path.read_bytes()
            if path.name != f"part-{_digest(data)}.arrow":
                raise pa.ArrowInvalid("its bytes don't match its name")  # noqa: TRY301
            table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
            keys, hashes = table["key"].to_pylist(), table["difference_hash"].to_pylist()
            if table.schema.field("feature").type.list_size != self.dim:
                raise pa.ArrowInvalid("its features have another length")  # noqa: TRY301
            if self.thumbnail_px and table.schema.field("thumbnail").type.list_size != self.thumbnail_px**2:
                raise pa.ArrowInvalid("its thumbnails have another size")  # noqa: TRY301
        except OSError:  # it may be whole, but can't be read now
            return
        except (KeyError, AttributeError, pa.ArrowInvalid):
            with contextlib.suppress(OSError):
                path.unlink()
            return
        for row, (key, difference_hash) in enumerate(zip(keys, hashes, strict=True)):
            self._places.setdefault(key, (len(self._parts), row))
            self._hashes.setdefault(key, difference_hash)
        self._parts.append(path)


@dataclass(frozen=True)
class FeatureTable:
    """Rows of a store in a chosen order: small ones live in memory, large ones stream from disk.

    Attributes:
        parts: The store's part files.
        part: Which part each row is in, `(N,)`.
        row: Which row of its part it is, `(N,)`.
        dim: Length d of a feature vector.
        thumbnail_px: Side s of the thumbnails; 0 where there are none.
    """

    parts: tuple[Path, ...]
    part: NDArray[np.int64]
    row: NDArray[np.int64]
    dim: int
    thumbnail_px: int = 0

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "FeatureTable":
        """Some of the rows, by index or mask."""
        return replace(self, part=self.part[rows], row=self.row[rows])

    def matrix(self) -> NDArray[np.float32]:
        """All rows at once, `(N, d)`.

        Raises:
            StorageError: A part was removed or damaged since the store was opened.
        """
        return self._gather(0, len(self))

    def thumbnails(self) -> NDArray[np.uint8]:
        """Of all rows at once, `(N, s, s)`."""
        out = np.empty((len(self), self.thumbnail_px**2), np.uint8)
        self._fill(out, "thumbnail", self.part, self.row)
        return out.reshape(-1, self.thumbnail_px, self.thumbnail_px)

    @cached_property
    def _whole(self) -> NDArray[np.float32]:
        return self.matrix()

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Rows in order, block by block `(slice, (b, d))`; one block where all fit in 64 MB.

        May be called again and again; a large table is read anew each time.
        """
        if len(self) * self.dim * 4 <= _IN_MEMORY_BYTES:
            yield slice(0, len(self)), self._whole
            return
        step = _BLOCK_ROWS
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            yield slice(start, stop), self._gather(start, stop)

    def _gather(self, start: int, stop: int) -> NDArray[np.float32]:
        out = np.empty((stop - start, self.dim), np.float32)
        self._fill(out, "feature", self.part[start:stop], self.row[start:stop])
        return out

    def _fill(self, out: NDArray[Any], column: str, part: NDArray[np.int64], row: NDArray[np.int64]) -> None:
        """Read a column of fixed-size lists into `out`, in place."""
        for number in np.unique(part):
            here = part == number
            values = self._read(self.parts[number], column)
            out[here] = values.reshape(-1, out.shape[1])[row[here]]

    def _read(self, path: Path, column: str) -> NDArray[Any]:
        """A column of fixed-size lists of a part, flat.

        Raises:
            StorageError: The part is gone or damaged since the store was opened.
        """
        try:
            with pa.memory_map(str(path)) as source:
                lists = pa.ipc.open_file(source).read_all()[column].combine_chunks()
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(
                f"A part of the feature store, {path}, was removed or damaged while it was in use: {error}. "
                "Give the command again; what is missing is embedded anew."
            ) from error
        values: NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=True)
        return values


def _lists(rows: NDArray[Any], length: int) -> pa.FixedSizeListArray:
    """One list of so many values a row."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel()), length)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
