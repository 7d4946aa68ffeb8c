"""Train and evaluate as a user runs them: what they print where, and what they write."""

import csv
import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.run.tables import read_predictions, read_split
from support import Done, Runner, digest, files_below, pictures, take

_STAGE_LINE = re.compile(r".+: .*in \d+\.\d s( \([\d,]+/s\))?")


def test_train_json_is_one_object_and_progress_is_plain_lines(trained: Done, pets_run: Path) -> None:
    result = json.loads(trained.stdout)
    assert trained.stdout.count("\n") == 1
    assert result["run"] == "runs/pets-probe-1"
    assert result["headline"] == "cross-validation"
    scores = result["metrics"]["cross-validation"]
    wanted = "n accuracy accuracy_interval balanced_accuracy macro_f1 log_loss brier ece per_class confusion"
    assert set(wanted.split()) <= set(scores)
    assert scores["n"] == 40
    assert scores["accuracy"] > 0.9
    assert set(result["seconds"]) > {"listing", "embedding", "head", "saving", "total"}
    assert result["skipped"] == []
    lines = trained.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines][:2] == ["Listing images", "Reading headers"]
    assert all(_STAGE_LINE.fullmatch(line) for line in lines), lines
    assert "\x1b" not in trained.stdout + trained.stderr
    saved = json.loads((pets_run / "metrics.json").read_text())
    assert saved["cross-validation"] == scores


def test_the_next_train_gets_the_next_number_and_quiet_prints_results_alone(
    headstart: Runner, pets_run: Path, small_set: Path
) -> None:
    before = files_below(pets_run)
    done = headstart("train", small_set, "--quiet", cwd=pets_run.parents[1])
    assert done.returncode == 0
    assert done.stderr == ""
    accuracy = r"\d+\.\d % of 40 images right \(95 % interval \d+\.\d to \d+\.\d\)"
    assert re.match(accuracy, done.stdout)
    assert re.search(r"^Saved in runs/pets-probe-2 after \d+\.\d s\.$", done.stdout, re.MULTILINE)
    following, climbing = done.stdout.splitlines()[-2:]
    assert following == "Next: headstart predict runs/pets-probe-2 IMAGES"
    told = rf"Or train .* about \d+ min here, .*: headstart train {re.escape(str(small_set))} --budget \d+m"
    assert re.fullmatch(told, climbing)
    assert "\x1b" not in done.stdout
    assert files_below(pets_run) == before
    both = [json.loads((path / "metrics.json").read_text()) for path in sorted(pets_run.parent.iterdir())]
    assert both[0] == both[1]


def test_an_output_folder_that_exists_is_numbered_and_never_overwritten(
    call: Runner, small_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "my runs" / "pets"
    out.mkdir(parents=True)
    (out / "diary.txt").write_text("mine")
    done = call("train", small_set, "--out", out)
    assert done.returncode == 0
    assert files_below(out) == {"diary.txt": digest(b"mine")}
    assert sorted(path.name for path in out.parent.iterdir()) == ["pets", "pets-2"]
    assert (tmp_path / "my runs" / "pets-2" / "model.safetensors").is_file()
    assert f"Next: headstart predict '{out}-2' IMAGES" in done.stdout


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_train_on_a_manifest_keeps_its_splits_and_groups(
    kind: str, call: Runner, small_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_set, tmp_path / "pictures")
    names = [str(path.relative_to(tmp_path)) for path in pictures(tmp_path / "pictures")]
    rows = {
        "path": names,
        "label": [name.split("/")[1].removesuffix("s") for name in names],
        "split": ["test" if i % 4 == 3 else "train" for i in range(40)],
        "group": [f"shoot {i // 4}-{i % 4 == 3}" for i in range(40)],
    }
    manifest = tmp_path / f"pets.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(rows), manifest)
    else:
        with manifest.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([rows, *zip(*rows.values(), strict=True)])
    result = json.loads(call("train", manifest, "--json").stdout)
    assert result["run"] == "runs/pets-probe-1"
    assert result["headline"] == "test"
    assert result["metrics"]["test"]["n"] == 10
    assert set(result["metrics"]["test"]["per_class"]) == {"cat", "dog"}
    split = read_split(tmp_path / result["run"] / "split.parquet")
    assert list(split.splits) == rows["split"]
    folds = {(group, fold) for group, fold in zip(split.groups, split.folds, strict=True) if fold is not None}
    assert len(folds) == len({group for group, _ in folds}) == 10


def test_train_on_split_folders_measures_on_them(call: Runner, small_set: Path, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        files = sorted((small_set / name).iterdir())
        for split, some in (("train", files[:12]), ("valid", files[12:16]), ("test", files[16:])):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for path in some:
                shutil.copy(path, tmp_path / "photos" / split / name)
    result = json.loads(call("train", "photos", "--json").stdout)
    assert result["headline"] == "test"
    assert {name: scores["n"] for name, scores in result["metrics"].items()} == {"test": 8, "val": 8}
    evaluated = json.loads(call("evaluate", result["run"], "photos", "--json").stdout)
    assert evaluated["metrics"]["confusion"] == result["metrics"]["test"]["confusion"]
    assert evaluated["metrics"]["log_loss"] == pytest.approx(result["metrics"]["test"]["log_loss"], rel=1e-5)


def test_train_test_fraction_holds_out_a_part(call: Runner, small_set: Path) -> None:
    result = json.loads(call("train", small_set, "--test-fraction", "0.3", "--json").stdout)
    assert result["headline"] == "test"
    n = result["metrics"]["test"]["n"]
    assert 4 <= n <= 20
    splits = list(read_split(Path(result["run"]) / "split.parquet").splits)
    assert (splits.count("test"), splits.count("train")) == (n, 40 - n)
    assert len(read_predictions(Path(result["run"]) / "predictions.parquet").paths) == n


def test_evaluate_prints_a_summary_or_one_json_object(
    headstart: Runner, call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    take(small_set, tmp_path / "some", 10)
    (tmp_path / "some" / "cats" / "broken.jpg").write_bytes(b"no picture")
    done = headstart("evaluate", pets_run, "some", cwd=tmp_path)
    assert done.returncode == 0
    assert re.match(r"\d+\.\d % of 20 test images right \(95 % interval", done.stdout)
    assert f"! 1 file skipped, not an image: {tmp_path}/some/cats/broken.jpg" in done.stdout
    assert "Predicting: 20 in" in done.stderr
    done = call("evaluate", pets_run, "some", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert (result["run"], result["data"]) == (str(pets_run), "some")
    assert result["metrics"]["n"] == 20
    assert [skip["reason"] for skip in result["skipped"]] == ["not an image"]


def test_evaluate_counts_what_only_decoding_shows_and_strict_refuses_it(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    take(small_set, tmp_path / "some", 2)
    whole = pictures(small_set)[5].read_bytes()
    (tmp_path / "some" / "cats" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    done = call("evaluate", pets_run, "some")
    assert done.returncode == 0
    assert f"! 1 file skipped, truncated: {tmp_path}/some/cats/half.jpg" in done.stdout
    done = call("evaluate", pets_run, "some", "--strict")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"1 of the files in .*some can't be used.*\n .*half\.jpg: truncated", done.stderr)


def test_evaluate_does_not_depend_on_the_order_or_presence_of_classes(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_set / "dogs", tmp_path / "only" / "dogs")
    metrics = json.loads(call("evaluate", pets_run, "only", "--json").stdout)["metrics"]
    assert metrics["classes"] == ["cats", "dogs"]
    assert metrics["confusion"][0] == [0, 0]
    assert metrics["accuracy"] > 0.9
