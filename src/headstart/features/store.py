"""The feature store: Arrow parts, addressed by image content, trunk and view.

`features/<trunk fingerprint>/<view>/part-<digest>.arrow`, each with the columns `key`
(content hash of the image file), `feature` (float32 list of fixed length) and
`difference_hash` (uint64). pandas, polars and DuckDB read them as Arrow IPC files
("Feather v2"). A part is written aside and renamed, its name is the digest of its bytes,
and one that doesn't match its name is deleted and its images are embedded again. Processes
may write at once: parts never change, and a key that stands in two parts has one meaning.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
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
        self, keys: Sequence[str], features: NDArray[np.float32], difference_hashes: NDArray[np.uint64]
    ) -> None:
        """Write one part of rows `(n, d)`.

        Raises:
            StorageError: The disk is full, read-only or forbidden.
        """
        flat = pa.array(np.ascontiguousarray(features, np.float32).ravel())
        table = pa.table(
            {
                "key": pa.array(keys, pa.string()),
                "feature": pa.FixedSizeListArray.from_arrays(flat, self.dim),
                "difference_hash": pa.array(difference_hashes),
            }
        )
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
    """

    parts: tuple[Path, ...]
    part: NDArray[np.int64]
    row: NDArray[np.int64]
    dim: int

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "FeatureTable":
        """Some of the rows, by index or mask."""
        return FeatureTable(self.parts, self.part[rows], self.row[rows], self.dim)

    def matrix(self) -> NDArray[np.float32]:
        """All rows at once, `(N, d)`.

        Raises:
            StorageError: A part was removed or damaged since the store was opened.
        """
        return self._gather(0, len(self))

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
        part, row = self.part[start:stop], self.row[start:stop]
        for number in np.unique(part):
            here = part == number
            out[here] = self._read(self.parts[number])[row[here]]
        return out

    def _read(self, path: Path) -> NDArray[np.float32]:
        """All rows of a part, `(n, d)`.

        Raises:
            StorageError: The part is gone or damaged since the store was opened.
        """
        try:
            with pa.memory_map(str(path)) as source:
                column = pa.ipc.open_file(source).read_all()["feature"].combine_chunks()
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(
                f"A part of the feature store, {path}, was removed or damaged while it was in use: {error}. "
                "Give the command again; what is missing is embedded anew."
            ) from error
        features: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, self.dim)
        return features


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
