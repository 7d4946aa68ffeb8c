"""What is wrong with a manifest is told all at once."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support import Runner, paint, pictures, refused


def write_csv(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("file", "class"), ("a.jpg", "x")],
            r"lacks the columns 'path', 'label'; it has 'file', 'class'\. Name the columns path,label",
        ),
        ([("path",), ("a.jpg",)], r"lacks the column 'label'; it has 'path'"),
        ([("path", "label")], r"has no rows\. Add one for each image"),
        (
            [("path", "label"), ("a.png", ""), ("", "x"), ("b.png", "x")],
            r"has 2 problems; mend and try again: line 2: the label is empty line 3: the path is empty",
        ),
        (
            [("path", "label"), ("a.png", "x"), ("b.png", "y"), ("a.png", "y")],
            r"has 1 problem; .* line 4: a\.png is labelled 'y', but 'x' in line 2",
        ),
        (
            [("path", "label", "split"), ("a.png", "x", "dev")],
            r"line 2: unknown split 'dev' \(known: train, val",
        ),
        (
            [("path", "label"), ("no/a.png", "x"), ("no/b.png", "y"), ("a.png", "x")],
            r"has 2 problems; .* line 2: there is no no/a\.png in \S+ line 3: there is no no/b\.png in \S+$",
        ),
    ],
)
def test_a_manifest_with_problems(
    rows: list[tuple[str, ...]], message: str, call: Runner, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / name, 1)
    write_csv(tmp_path / "m.csv", *rows)
    refused(call("train", "m.csv"), message, r"manifest \S+/m\.csv")


def test_a_parquet_manifest_with_problems(call: Runner, tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.png", None], "label": [None, "x"]}), tmp_path / "m.parquet")
    refused(call("train", "m.parquet"), r"row 1: the label is empty row 2: the path is empty")
    (tmp_path / "junk.parquet").write_text("junk")
    refused(
        call("train", "junk.parquet"),
        r"\S+/junk\.parquet is not a readable Parquet file \(.*[^.]\)\. Write it ",
    )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_paths_missing_from_a_manifest_are_refused_all_at_once(
    call: Runner, pets_run: Path, pets: Path, tmp_path: Path, command: str
) -> None:
    rows = [(str(path), path.parent.name) for path in pictures(pets)]
    gone = [(f"gone/{number}.jpg", "cats") for number in range(30)]
    write_csv(tmp_path / "m.csv", ("path", "label"), *rows, *gone)
    run = [pets_run] if command == "evaluate" else []
    message = refused(
        call(command, *run, "m.csv"), r"manifest \S+/m\.csv has 30 problems; mend and try again"
    )
    assert all(f"there is no {path} in {tmp_path}" in message for path, _ in gone)
