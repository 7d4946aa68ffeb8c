"""The run's two Parquet tables: every image's prediction, and every image's split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DamagedRunError
from headstart.run.atomic import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_CLASSES = b"classes"  # the schema's metadata: a JSON list of the names, in the order of the probabilities


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says about N images."""

    paths: Sequence[str]
    splits: Sequence[str]
    """Such as `test`, or `cross-validation`: the rows of a split were predicted the same way."""
    labels: Sequence[str | None]
    """True class names; None where unknown."""
    probabilities: NDArray[np.float32]
    """`(N, K)`."""
    classes: tuple[str, ...]
    """K names."""

    def __post_init__(self) -> None:
        """Check that the columns are equally long."""
        lengths = {len(self.paths), len(self.splits), len(self.labels), len(self.probabilities)}
        if len(lengths) > 1 or self.probabilities.shape[1:] != (len(self.classes),):
            raise ValueError(
                f"columns disagree: {len(self.paths)} paths, {len(self.splits)} splits, {len(self.labels)} "
                f"labels, probabilities {self.probabilities.shape}, {len(self.classes)} classes"
            )

    @property
    def predicted(self) -> list[str]:
        """The most probable class of each image, the first of equals."""
        return [self.classes[k] for k in self.probabilities.argmax(axis=1)]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """`(N,)`, the probability of the class predicted."""
        top: NDArray[np.float32] = self.probabilities.max(axis=1).astype(np.float32)
        return top


@dataclass(frozen=True, slots=True, eq=False)
class SplitTable:
    """Which image is in which split, and why it can't be in another."""

    paths: Sequence[str]
    keys: Sequence[str]
    """The digest of each image's content."""
    labels: Sequence[str]
    splits: Sequence[str]
    groups: NDArray[np.int64]
    """`(N,)`; images of one group (duplicates, or the user's own) stay together."""
    folds: Sequence[int | None]
    """Of the cross-validation; None for images that took no part."""

    def __post_init__(self) -> None:
        """Check that the columns are equally long."""
        lengths = [
            len(getattr(self, name)) for name in ("paths", "keys", "labels", "splits", "groups", "folds")
        ]
        if len(set(lengths)) > 1:
            raise ValueError(f"paths, keys, labels, splits, groups and folds differ in length: {lengths}")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `predictions.parquet`, whole or not at all.

    Columns: path, split, label (nullable), predicted: string; confidence: float32; probabilities:
    fixed-size list of K float32. The class names stand in the schema's metadata as `classes`.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    import pyarrow as pa

    flat = np.ascontiguousarray(predictions.probabilities, dtype=np.float32).reshape(-1)
    columns = {
        "path": _strings(predictions.paths),
        "split": _strings(predictions.splits),
        "label": _strings(predictions.labels),
        "predicted": _strings(predictions.predicted),
        "confidence": pa.array(predictions.confidence, pa.float32()),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(flat), len(predictions.classes)),
    }
    names = json.dumps([valid_text(name) for name in predictions.classes], ensure_ascii=False)
    _write(path, pa.table(columns).replace_schema_metadata({_CLASSES: names.encode()}))


def read_predictions(path: Path) -> Predictions:
    """Read `predictions.parquet`.

    Raises:
        DamagedRunError: It is missing, damaged, or lacks a column.
    """
    table = _read(path, ("path", "split", "label", "probabilities"))
    names = (table.schema.metadata or {}).get(_CLASSES)
    if names is None:
        raise DamagedRunError(f"{path} doesn't name its classes, so Headstart did not write it. Train again.")
    classes = tuple(json.loads(names))
    lists = table["probabilities"].combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return Predictions(
        paths=table["path"].to_pylist(),
        splits=table["split"].to_pylist(),
        labels=table["label"].to_pylist(),
        probabilities=flat.astype(np.float32).reshape(len(table), len(classes)),
        classes=classes,
    )


def write_split(path: Path, split: SplitTable) -> None:
    """Write `split.parquet`, whole or not at all.

    Columns: path, key, label, split: string; group: int64; fold: int64 (nullable).

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    import pyarrow as pa

    columns = {
        "path": _strings(split.paths),
        "key": _strings(split.keys),
        "label": _strings(split.labels),
        "split": _strings(split.splits),
        "group": pa.array(np.asarray(split.groups), pa.int64()),
        "fold": pa.array(list(split.folds), pa.int64()),
    }
    _write(path, pa.table(columns))


def read_split(path: Path) -> SplitTable:
    """Read `split.parquet`.

    Raises:
        DamagedRunError: It is missing, damaged, or lacks a column.
    """
    table = _read(path, ("path", "key", "label", "split", "group", "fold"))
    return SplitTable(
        paths=table["path"].to_pylist(),
        keys=table["key"].to_pylist(),
        labels=table["label"].to_pylist(),
        splits=table["split"].to_pylist(),
        groups=table["group"].to_numpy().astype(np.int64),
        folds=table["fold"].to_pylist(),
    )


def _write(path: Path, table: "pa.Table") -> None:
    import pyarrow.parquet as pq

    # an open file, not a name: Python then raises the OSError that says why a disk refused
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def _read(path: Path, columns: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # from memory, so that the file isn't held open; ParquetFile, so that a folder named
        # `key=value` above it isn't taken for a partition
        table = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read()
    except (OSError, pa.ArrowException) as error:
        raise DamagedRunError(
            f"{path} can't be read, perhaps it is truncated ({error}). "
            "Train again, or restore it from a copy."
        ) from error
    if missing := [name for name in columns if name not in table.column_names]:
        raise DamagedRunError(f"{path} lacks the columns {', '.join(missing)}; found {table.column_names}.")
    return table


def _strings(values: Sequence[str | None]) -> "pa.Array":
    import pyarrow as pa

    return pa.array([None if value is None else valid_text(value) for value in values], pa.string())


def valid_text(text: str) -> str:
    r"""Write what UTF-8 can't hold (a file name in an unknown encoding) as `\udcXX`."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
