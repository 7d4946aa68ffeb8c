"""What is wrong with a manifest is told all at once."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support import Runner, pictures, refused, went_well


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
            [("path", "label"), ("no/a.png", "x"), ("no/b.png", "y")],
            r"None of the 2 images in the manifest \S+ exists; the first would be \S+/no/a\.png\. Rel",
        ),
    ],
)
def test_a_manifest_with_problems(
    rows: list[tuple[str, ...]], message: str, call: Runner, tmp_path: Path
) -> None:
    write_csv(tmp_path / "m.csv", *rows)
    refused(call("train", "m.csv"), message, r"manifest \S+/m\.csv")


def test_a_parquet_manifest_with_problems(call: Runner, tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.png", None], "label": [None, "x"]}), tmp_path / "m.parquet")
    refused(call("train", "m.parquet"), r"row 1: the label is empty row 2: the path is empty")
    (tmp_path / "junk.parquet").write_text("junk")
    refused(call("train", "junk.parquet"), r"\S+/junk\.parquet is not a readable Parquet file")


def test_paths_missing_from_a_manifest_are_skipped_or_refused(
    call: Runner, pets: Path, tmp_path: Path
) -> None:
    rows = [(str(path), path.parent.name) for path in pictures(pets)]
    write_csv(tmp_path / "m.csv", ("path", "label"), *rows, ("gone.jpg", "cats"), ("lost.jpg", "dogs"))
    went_well(
        call("train", "m.csv"),
        "of 40 images right",
        rf"! 2 files skipped, no such file: {tmp_path}/gone\.jpg, {tmp_path}/lost\.jpg",
    )
    refused(
        call("train", "m.csv", "--strict"),
        r"2 of the files in .*m\.csv can't be used, .*gone\.jpg: no such file",
    )
