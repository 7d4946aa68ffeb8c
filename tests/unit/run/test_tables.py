"""Tables come back as they were written, and other programs can read them."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.errors import DamagedRunError
from headstart.run.tables import (
    Predictions,
    SplitTable,
    read_predictions,
    read_split,
    write_predictions,
    write_split,
)
from support import digest


def predictions(n: int = 3) -> Predictions:
    p = np.array([[0.5, 0.5], [0.2, 0.8], [1.0, 0.0]], dtype=np.float32)[:n]
    return Predictions(["a.jpg", "ß/犬.png", "c"][:n], ["test"] * n, ["x", None, "y"][:n], p, ("x", "y"))


def test_predictions_come_back(tmp_path: Path) -> None:
    path = tmp_path / "key=value" / "predictions.parquet"
    write_predictions(path, predictions())
    back = read_predictions(path)
    assert back.paths == predictions().paths
    assert back.labels == ["x", None, "y"]
    assert back.predicted == ["x", "y", "x"]
    assert back.classes == ("x", "y")
    assert back.probabilities.dtype == np.float32
    assert np.array_equal(back.probabilities, predictions().probabilities)
    assert np.array_equal(back.confidence, np.array([0.5, 0.8, 1.0], dtype=np.float32))


def test_the_columns_are_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, predictions())
    table = pq.read_table(path)
    assert {field.name: str(field.type) for field in table.schema} == {
        "path": "string",
        "split": "string",
        "label": "string",
        "predicted": "string",
        "confidence": "float",
        "probabilities": "fixed_size_list<element: float>[2]",
    }
    assert json.loads(table.schema.metadata[b"classes"]) == ["x", "y"]
    frame = table.to_pandas()
    assert frame["probabilities"][1].tolist() == pytest.approx([0.2, 0.8])


def test_no_rows_and_names_that_are_not_unicode(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, predictions(0))
    assert read_predictions(path).probabilities.shape == (0, 2)
    odd = Predictions([os.fsdecode(b"\xe9.jpg")], ["test"], [None], np.ones((1, 1), np.float32), ("x",))
    write_predictions(path, odd)
    assert read_predictions(path).paths == ["\\udce9.jpg"]


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_predictions(tmp_path / name, predictions())
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_splits_come_back(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    groups = np.array([0, 0, 7])
    split = SplitTable(list("abc"), ["k1", "k1", "k2"], list("xxy"), ["train"] * 3, groups, [0, None, 4])
    write_split(path, split)
    back = read_split(path)
    assert [getattr(back, name) for name in ("paths", "keys", "labels", "splits", "folds")] == [
        *(split.paths, split.keys, split.labels, split.splits, split.folds)
    ]
    assert back.groups.tolist() == [0, 0, 7]
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    assert types == dict.fromkeys(("path", "key", "label", "split"), "string") | {
        "group": "int64",
        "fold": "int64",
    }


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"columns disagree: 1 paths.*probabilities \(2, 2\), 2 classes"):
        Predictions(["a"], ["test"], [None], np.ones((2, 2), np.float32), ("x", "y"))
    with pytest.raises(ValueError, match=r"probabilities \(1, 3\), 2 classes"):
        Predictions(["a"], ["test"], [None], np.ones((1, 3), np.float32), ("x", "y"))
    with pytest.raises(ValueError, match=r"differ in length: \[1, 1, 1, 1, 2, 1\]"):
        SplitTable(["a"], ["k"], ["x"], ["train"], np.array([0, 1]), [None])


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    with pytest.raises(DamagedRunError, match=r"predictions.parquet can't be read"):
        read_predictions(path)
    write_predictions(path, predictions())
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedRunError, match=r"can't be read, perhaps it is truncated .*Train again"):
            read_predictions(path)
    pq.write_table(pa.table({"path": ["a"]}), path)
    with pytest.raises(DamagedRunError, match="lacks the columns split, label, probabilities; found"):
        read_predictions(path)
    path.write_bytes(whole)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(DamagedRunError, match="doesn't name its classes"):
        read_predictions(path)
