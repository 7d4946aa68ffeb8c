"""Predict as a user runs it: which inputs in which order, in which form."""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from support import Runner, pictures


def table_rows(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


def test_predict_takes_files_folders_globs_and_a_list_in_the_order_given(
    headstart: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    numbers = (2, 9, 10)
    cats, dogs = (
        [tmp_path / "new pictures" / name / f"{n}.jpg" for n in numbers] for name in ("cats", "dogs")
    )
    for path, source in zip([*cats, *dogs], pictures(small_set)[17:23], strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
    listed = [str(cats[2].relative_to(tmp_path)), str(dogs[2])]
    inputs = [dogs[1], "-", "new pictures/dogs", "new pictures/*/*.jpg", cats[0]]
    done = headstart(
        "predict", pets_run, *inputs, "--format", "jsonl", cwd=tmp_path, stdin="\n".join(listed) + "\n\n"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    below = [str(path.relative_to(tmp_path)) for path in [*cats, *dogs]]
    expected = [str(dogs[1]), *listed, *below[3:], *below, str(cats[0])]
    assert [row["path"] for row in rows] == expected
    answers = {row["path"]: row["predicted"] for row in rows}
    assert all(Path(path).parent.name == predicted for path, predicted in answers.items())


@pytest.mark.parametrize("kind", ["table", "csv", "jsonl", "parquet"])
def test_every_format_says_the_same_and_reads_back(
    kind: str, call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    some = [*pictures(small_set)[18:22], tmp_path / "gone.jpg"]
    out = tmp_path / f"answers.{'txt' if kind == 'table' else kind}"
    done = call("predict", pets_run, *some, "--top", "9", "--out", out, "--format", kind)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "headstart: 1 of 5 images can't be read"
    names = [str(path) for path in some]
    predicted = ["cats", "cats", "dogs", "dogs"]
    other = ["dogs", "dogs", "cats", "cats"]
    if kind == "table":
        header, *rows = table_rows(out.read_text())
        assert header == ["image", "predicted", "confidence", "2."]
        assert [row[:2] for row in rows[:4]] == [list(pair) for pair in zip(names, predicted, strict=False)]
        assert [row[3].split()[0] for row in rows[:4]] == other
        assert rows[4] == [names[4], "no such file"]
        return
    if kind == "jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert [[best["class"] for best in row["top"]] for row in lines[:4]] == [
            list(pair) for pair in zip(predicted, other, strict=True)
        ]
        assert all(row["confidence"] == row["top"][0]["probability"] for row in lines[:4])
        assert lines[4]["top"] == []
    elif kind == "csv":
        lines = list(csv.DictReader(io.StringIO(out.read_text())))
        assert [row["class_2"] for row in lines] == [*other, ""]
        assert all(float(row["confidence"]) + float(row["confidence_2"]) > 0.999 for row in lines[:4])
        lines = [{name: value or None for name, value in row.items()} for row in lines]
    else:
        lines = pq.read_table(out).to_pylist()
        assert [row["class_2"] for row in lines] == [*other, None]
    assert [row["path"] for row in lines] == names
    assert [row["predicted"] for row in lines] == [*predicted, None]
    assert [row["error"] for row in lines] == [None] * 4 + ["no such file"]


def test_the_name_of_out_decides_the_format(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    call("predict", pets_run, pictures(small_set)[0], "--out", "a.CSV")
    assert (tmp_path / "a.CSV").read_text().startswith("path,predicted,confidence,error\n")
    call("predict", pets_run, pictures(small_set)[0], "--out", "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 1


def test_unknown_below_answers_unknown_where_it_is_unsure(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    Image.effect_noise((300, 300), 80).convert("RGB").save(tmp_path / "noise.png")
    words = ["predict", pets_run, pictures(small_set)[0], "noise.png", "--format", "jsonl"]
    noise = json.loads(call(*words).stdout.splitlines()[1])
    assert noise["predicted"] in {"cats", "dogs"}
    threshold = min(noise["confidence"] + 1e-4, 1.0)
    sure, unsure = map(json.loads, call(*words, "--unknown-below", str(threshold)).stdout.splitlines())
    assert sure["predicted"] == "cats"
    assert (unsure["predicted"], unsure["top"][0]["class"]) == ("unknown", noise["predicted"])
    words = [*words[:4], "--unknown-below", str(threshold), "--top", "2"]
    row = list(csv.DictReader(io.StringIO(call(*words, "--format", "csv").stdout)))[1]
    assert (row["predicted"], row["class_1"]) == ("unknown", noise["predicted"])
    assert row["confidence_1"] == row["confidence"]
    *_, shown = table_rows(call(*words).stdout)
    assert shown[1] == f"unknown ({noise['predicted']}?)"


def test_out_replaces_answers_and_nothing_else(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(pets_run, tmp_path / "run")
    photo = Path(shutil.copy(pictures(small_set)[0], tmp_path / "cat.jpg"))
    (tmp_path / "list.csv").write_text("cat.jpg\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for words, why in {
        ("cat.jpg", "--out", "cat.jpg", "--format", "csv"): "holds something else than answers",
        ("@list.csv", "--out", "./list.csv"): "holds something else than answers",
        (".", "--out", "cat.jpg", "--format", "table"): "holds something else than answers",
        ("cat.jpg", "--out", ""): "is a folder",
        ("cat.jpg", "--out", "new.json"): "tells no format",
        ("cat.jpg", "--out", "run/predictions.parquet"): "holds something else than answers",
        ("cat.jpg", "--out", "run/config.json", "--format", "jsonl"): "holds something else than answers",
        ("cat.jpg", "--out", "new.parquet", "--format", "csv"): "or name the file new.csv",
        ("cat.jpg", "--out", "new.csv", "--format", "table"): "or name the file new.txt",
    }.items():
        done = call("predict", "run", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for _ in range(2):  # answers may be asked for again, beside a run's files, too
        assert call("predict", "run", photo, "--out", "run/answers.csv").returncode == 0


def test_what_a_folder_holds_but_cannot_be_read_is_a_row_and_exit_1(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    good = pictures(small_set)[0]
    shutil.copy(good, folder / "1.jpg")
    (folder / "2.jpg").write_bytes(good.read_bytes()[:2000])
    (folder / "3.jpg").touch()
    (folder / "4.png").write_text("text")
    (folder / "5.jpg").symlink_to("gone.jpg")
    (folder / "6.heic").write_bytes(b"\0\0\0\x18ftypheic")
    done = call("predict", pets_run, "new", "--format", "csv")
    assert done.returncode == 1
    assert {row["path"]: row["error"] for row in csv.DictReader(io.StringIO(done.stdout))} == {
        "new/1.jpg": "",
        "new/2.jpg": "truncated",
        "new/3.jpg": "zero bytes",
        "new/4.png": "not an image",
        "new/5.jpg": "dangling link",
        "new/6.heic": ".heic is not supported; convert it to JPEG or PNG",
    }


def test_names_with_markup_spaces_and_odd_bytes_are_printed_as_they_are(
    call: Runner, small_set: Path, tmp_path: Path
) -> None:
    names = {"cats": "[bold]x[red]", "dogs": "<script>alert(1)<b>"}
    for old, new in names.items():
        shutil.copytree(small_set / old, tmp_path / "odd pets" / new)
    done = call("train", "odd pets", "--out", "an odd run")
    assert done.returncode == 0
    assert "“<script>alert(1)<b>”" in done.stdout
    assert "Next: headstart predict 'an odd run' IMAGES" in done.stdout
    done = call("predict", "an odd run", f"odd pets/{names['cats']}", "--top", "2")
    first = table_rows(done.stdout)[1]
    assert first[0].startswith(f"odd pets/{names['cats']}/")
    assert first[1] == names["cats"]
    assert first[3].startswith(f"{names['dogs']} ")
    strange = os.fsdecode(b"stra\xffnge.jpg")
    shutil.copy(pictures(small_set)[0], tmp_path / strange)
    for out in ("o.csv", "o.jsonl", "o.parquet", "o.txt"):
        assert call("predict", "an odd run", strange, "--out", out).returncode == 0
    assert pq.read_table(tmp_path / "o.parquet")["path"].to_pylist() == ["stra\\udcffnge.jpg"]
    assert json.loads((tmp_path / "o.jsonl").read_text())["path"] == strange


def test_output_that_the_terminal_cannot_show_is_escaped(
    headstart: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    shutil.copy(pictures(small_set)[0], tmp_path / "chat à moi.jpg")
    done = headstart("predict", pets_run, "chat à moi.jpg", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"chat \xe0 moi.jpg" in done.stdout
