"""The commands as a user runs them: what they print where, what they write, how they stop."""

import csv
import importlib
import inspect
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.run.tables import read_predictions, read_split

Done = subprocess.CompletedProcess[str]
Runner = Callable[..., Done]

_COMMANDS = ("train", "evaluate", "predict", "demo", "env", "cache")
_STAGE_LINE = re.compile(r".+: .*in \d+\.\d s( \([\d,]+/s\))?")
_TIMEOUT_S = 120


def words_of(text: str) -> str:
    """Text without boxes and line ends."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def take(source: Path, target: Path, count: int) -> None:
    """Copy the first images of each class folder."""
    for folder in sorted(source.iterdir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:count]:
            shutil.copy(path, target / folder.name)


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


# --- help ---


def test_help_lists_the_commands_and_each_has_its_own(call: Runner) -> None:
    done = call("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in _COMMANDS)


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_loses_nothing_of_what_the_command_documents(command: str, call: Runner) -> None:
    done = call(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    shown = words_of(done.stdout)
    function = getattr(importlib.import_module(f"headstart.cli.{command}"), command)
    introduction, _, parameters = inspect.getdoc(function).partition("Parameters\n----------\n")
    for text in [introduction, *re.findall(r"^    .*(?:\n    .*)*", parameters, re.MULTILINE)]:
        assert " ".join(text.split()) in shown
    assert "<" not in shown or ">" in shown


def test_version_is_that_of_the_package(call: Runner) -> None:
    from importlib.metadata import version

    assert call("--version").stdout.strip() == version("headstart")


def run_code(code: str, words: list[str], cwd: Path, environment: dict[str, str]) -> Done:
    """Run a program in a process of its own; the words are its arguments."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def imported_by(words: list[str], cwd: Path, environment: dict[str, str]) -> set[str]:
    """Run a command in a process and list the modules it leaves imported."""
    code = (
        "import sys\nfrom headstart.cli import main\n"
        "try:\n    main()\nfinally:\n    print('MODULES', *sys.modules, file=sys.stderr)"
    )
    done = run_code(code, words, cwd, environment)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], {"torch", "numpy", "openvino", "PIL", "scipy", "pyarrow", "matplotlib"}),
        (["train", "--help"], {"torch", "timm", "openvino", "sklearn", "scipy", "matplotlib"}),
        (["predict", "--help"], {"torch", "timm", "openvino", "sklearn", "scipy", "matplotlib", "pyarrow"}),
    ],
)
def test_help_imports_nothing_heavy(
    words: list[str], heavy: set[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    assert not imported_by(words, tmp_path, environment) & heavy


def test_predict_of_one_image_imports_no_torch(
    pets_run: Path, small_set: Path, cache: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["predict", str(pets_run), str(pictures(small_set)[0]), "--cache", str(cache)]
    heavy = {"torch", "timm", "sklearn", "scipy", "matplotlib"}
    assert not imported_by(words, tmp_path, environment) & heavy


# --- train ---


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
    assert done.stdout.endswith("Next: headstart predict runs/pets-probe-2 IMAGES\n")
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
    assert files_below(out) == {"diary.txt": b"mine"}
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


# --- evaluate ---


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


# --- predict ---


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
    assert done.stderr.splitlines()[-1] == "headstart: 1 of 5 files can't be read"
    names = [str(path) for path in some]
    predicted = ["cats", "cats", "dogs", "dogs"]
    other = ["dogs", "dogs", "cats", "cats"]
    if kind == "table":
        header, *rows = table_rows(out.read_text())
        assert header == ["image", "predicted", "confidence", "2."]
        assert [row[:2] for row in rows[:4]] == [list(pair) for pair in zip(names, predicted, strict=False)]
        assert [row[3].split()[0] for row in rows[:4]] == other
        assert rows[4] == [names[4], "No such file or directory"]
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
    assert [row["error"] for row in lines] == [None] * 4 + ["No such file or directory"]


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


# --- env, cache, demo ---


def test_env_tells_the_machine_and_the_runtimes(call: Runner, trained: Done, cache: Path) -> None:
    done = call("env")
    assert done.returncode == 0
    assert all(
        f"\n{word} " in f"\n{done.stdout}" for word in ("headstart", "python", "cpu", "cores", "packages")
    )
    assert str(cache) in done.stdout
    assert re.search(r"^  (openvino|torch)-(bf16|fp32) +[\d,]+$", done.stdout, re.MULTILINE)
    result = json.loads(call("env", "--json").stdout)
    assert result["trunks"][0]["architecture"] == "tf_efficientnet_lite0"
    assert all(speed > 0 for speed in result["trunks"][0]["images_per_s"].values())


def test_env_of_an_empty_cache_says_what_to_do(call: Runner, tmp_path: Path) -> None:
    done = call("env", "--cache", tmp_path / "none")
    assert "headstart env --time" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A cache of made-up files, a day and ten days old, among the user's own."""
    root = tmp_path / "filled"
    days = {
        "trunks/net-1/trunk.json": 1,
        "trunks/net-1/weights.safetensors": 10,
        "trunks/names/lite0.json": 10,
        "features/f1/center/part-1.arrow": 1,
        "features/f1/center/part-2.arrow": 10,
        "features/f2/center/part-3.arrow": 10,
        "features/model.py": 10,
        "features/f2/notes.txt": 10,
        "trunks/README": 10,
        "thesis.txt": 10,
        "other/features/f1/v/part-1.arrow": 10,
    }
    for name, age in days.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 1000)
        os.utime(root / name, (time.time() - age * 86_400,) * 2)
    return root


_OWN = {"features/model.py", "features/f2/notes.txt", "trunks/README", "thesis.txt"}
_OWN |= {"other/features/f1/v/part-1.arrow"}


def test_cache_shows_sizes(filled: Path, call: Runner) -> None:
    done = call("cache", "--cache", filled, "--json")
    sizes = {"trunks": 3, "features": 3, "pixels": 0}
    expected = {part: {"files": n, "size_bytes": n * 1000} for part, n in sizes.items()}
    assert json.loads(done.stdout) == {"cache": str(filled), "cleared": False, **expected}
    done = call("cache", "--cache", filled)
    assert re.search(r"^  features +3 files +0\.0 MB$", done.stdout, re.MULTILINE)


def test_cache_clears_by_age_then_part_then_all_and_nothing_else(filled: Path, call: Runner) -> None:
    done = call("cache", "--cache", filled, "--clear", "--part", "features", "--older-than", "5")
    assert re.search(r"^  features +2 files", done.stdout, re.MULTILINE)
    assert set(files_below(filled)) - _OWN == {
        "trunks/net-1/trunk.json",
        "trunks/net-1/weights.safetensors",
        "trunks/names/lite0.json",
        "features/f1/center/part-1.arrow",
    }
    call("cache", "--cache", filled, "--clear", "--part", "trunks")
    assert set(files_below(filled)) - _OWN == {"features/f1/center/part-1.arrow"}
    call("cache", "--cache", filled, "--clear")
    assert set(files_below(filled)) == _OWN
    assert not (filled / "features" / "f1").exists()
    assert (filled / "features" / "f2").exists()


def test_a_cleared_cache_is_made_again_with_the_same_answer(
    call: Runner, pets_run: Path, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(cache / "trunks", tmp_path / "cache" / "trunks")
    words = ["train", small_set, "--json", "--cache", tmp_path / "cache"]
    first = json.loads(call(*words).stdout)
    call("cache", "--clear", "--part", "features", "--cache", tmp_path / "cache")
    done = call(*words)
    assert "Embedding images: 40 in" in done.stderr
    assert json.loads(done.stdout)["metrics"] == first["metrics"]


def test_demo_runs_offline(headstart: Runner, trained: Done, tmp_path: Path) -> None:
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = headstart("demo", cwd=tmp_path, **no_network)
    assert done.returncode == 0, done.stderr
    found = re.match(r"(\d+\.\d) % of 1,797 images right", done.stdout)
    assert found
    assert float(found[1]) > 95
    assert (tmp_path / "headstart-demo" / "runs" / "digits" / "README.md").is_file()
    assert "0/0000.png is a 0" in done.stdout
    assert not list(tmp_path.rglob("*.tmp"))


# --- terminals and pipes ---


def on_a_terminal(words: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run with standard output and error on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "headstart", *words],
        cwd=cwd,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + _TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux: the other end was closed
                break
            if not data:
                break
            shown += data
        return process.wait(timeout=10), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_bars_on_a_terminal_and_no_colours_where_none_are_wanted(
    pets_run: Path, small_set: Path, cache: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["evaluate", str(pets_run), str(small_set), "--cache", str(cache)]
    code, shown = on_a_terminal(words, tmp_path, {**environment, "COLUMNS": "80"})
    assert code == 0, shown
    assert "Reading headers" in shown
    assert "━" in shown
    assert "40/40" in shown
    assert "of 40 test images right" in shown
    coloured = re.compile(r"\x1b\[[\d;]*3\dm")
    assert coloured.search(shown)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.rpartition("40/40")[2])
    assert max(len(line) for line in plain.replace("\r", "\n").splitlines()[1:]) <= 80
    code, shown = on_a_terminal(words, tmp_path, {**environment, "NO_COLOR": "1"})
    assert code == 0, shown
    assert not coloured.search(shown)


def test_the_table_stays_on_a_terminal_under_the_bar(
    pets_run: Path, small_set: Path, cache: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["predict", str(pets_run), str(small_set / "cats"), "--cache", str(cache)]
    code, shown = on_a_terminal(words, tmp_path, {**environment, "COLUMNS": "100"})
    assert code == 0, shown
    bar, end, table = shown.rpartition("20/20")
    assert end
    assert "predicted" not in bar
    assert table.count("cats") >= 20


@pytest.mark.parametrize(
    "words", [["env"], ["predict", "RUN", "PETS"], ["predict", "RUN", "PETS", "--format", "csv"]]
)
def test_a_reader_that_leaves_early_ends_the_command_quietly(
    words: list[str], pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str]
) -> None:
    names = {"RUN": str(pets_run), "PETS": str(small_set)}
    with subprocess.Popen(
        [sys.executable, "-m", "headstart", *(names.get(w, w) for w in words), "--cache", str(cache)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(_TIMEOUT_S) == 130
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_head_gets_its_line(
    pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str]
) -> None:
    command = '"$0" -m headstart predict "$1" "$2" --format csv --cache "$3" | head -1'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(pets_run), str(small_set / "cats"), str(cache)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.stdout == "path,predicted,confidence,error\n"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["env"], ["predict", "RUN", "PETS", "--format", "csv"]])
def test_standard_output_on_a_full_disk_is_an_error_without_traceback(
    words: list[str], pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str]
) -> None:
    names = {"RUN": str(pets_run), "PETS": str(small_set)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headstart", *(names.get(w, w) for w in words), "--cache", str(cache)],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 2
    assert "headstart: the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


# --- interruptions ---


@pytest.fixture(scope="module")
def crops(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures: five squares of each photograph."""
    root = tmp_path_factory.mktemp("crops") / "crops"
    for path in pictures(small_set):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            side = min(image.size) * 3 // 4
            corners = [(0, 0), (image.width - side, 0), (0, image.height - side)]
            corners += [(image.width - side, image.height - side), ((image.width - side) // 2, 0)]
            for number, (x, y) in enumerate(corners):
                square = image.convert("RGB").crop((x, y, x + side, y + side))
                square.save(root / path.parent.name / f"{path.stem}-{number}.jpg")
    return root


@pytest.fixture
def own_cache(cache: Path, trained: Done, tmp_path: Path) -> Path:
    """A cache with the session's trunks and no features."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "trunks").symlink_to(cache / "trunks")
    return tmp_path / "own"


@pytest.fixture
def real_interrupts() -> Iterator[None]:
    """Let children get Ctrl-C even where the tests run in the background, with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


_SIGNALLED = """
import os, signal, sys
from headstart.api import save
from headstart.features import extract

where, number = sys.argv.pop(1), int(sys.argv.pop(1))

def stop():
    os.kill(os.getpid(), number)

def embed_files(*words, original=extract.embed_files, **named):
    for n, chunk in enumerate(original(*words, **named)):
        if n == 3:
            stop()
        yield chunk

def write_predictions(*words, original=save.write_predictions):
    original(*words)
    stop()

if where == "embedding":
    extract.embed_files = embed_files
    if number == signal.SIGKILL:  # Ctrl-C stores what is there; a kill leaves what was stored before
        extract._PART_ROWS = 16
else:
    save.write_predictions = write_predictions
from headstart.cli import main
main()
"""


def train_and_stop(where: str, number: int, words: list[str], cwd: Path, environment: dict[str, str]) -> Done:
    """Train in a process that gets a signal while it embeds or saves."""
    return run_code(_SIGNALLED, [where, str(number), "train", *words], cwd, environment)


@pytest.mark.usefixtures("real_interrupts")
def test_a_training_stopped_while_embedding_leaves_no_run_and_continues(
    crops: Path, own_cache: Path, tmp_path: Path, environment: dict[str, str], call: Runner
) -> None:
    words = [str(crops), "--out", "done/run", "--cache", str(own_cache)]
    interrupted = train_and_stop("embedding", signal.SIGINT, words, tmp_path, environment)
    assert interrupted.returncode == 130
    assert interrupted.stderr.endswith("headstart: interrupted; what was embedded is kept\n")
    killed = train_and_stop("embedding", signal.SIGKILL, words, tmp_path, environment)
    assert killed.returncode == -signal.SIGKILL
    for stopped in (interrupted, killed):
        assert stopped.stdout == ""
        assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "done").exists()
    assert {path.suffix for path in own_cache.joinpath("features").rglob("*") if path.is_file()} == {".arrow"}
    continued = call("train", *words)
    assert continued.returncode == 0, continued.stderr
    assert "Embedding images: 104 in" in continued.stderr  # each of the two had stored three chunks of 16
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["run"]


@pytest.mark.usefixtures("real_interrupts")
def test_a_training_stopped_while_saving_leaves_no_half_run(
    small_set: Path, cache: Path, trained: Done, tmp_path: Path, environment: dict[str, str], call: Runner
) -> None:
    words = [str(small_set), "--out", "done/run", "--cache", str(cache)]
    stopped = train_and_stop("saving", signal.SIGINT, words, tmp_path, environment)
    assert stopped.returncode == 130
    assert list((tmp_path / "done").iterdir()) == []
    stopped = train_and_stop("saving", signal.SIGKILL, words, tmp_path, environment)
    assert stopped.returncode == -signal.SIGKILL
    assert list((tmp_path / "done" / "run").iterdir()) == []
    refused = call("predict", "done/run", pictures(small_set)[0])
    assert refused.returncode == 2
    assert "done/run is not a run" in refused.stderr
    finished = call("train", *words)
    assert finished.returncode == 0
    assert "Saved in done/run after" in finished.stdout
    assert call("predict", "done/run", pictures(small_set)[0]).returncode == 0


@pytest.mark.usefixtures("real_interrupts")
def test_ctrl_c_during_the_first_conversion_leaves_nothing_behind(
    small_set: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    trunks = tmp_path / "cache" / "trunks"
    with subprocess.Popen(
        [sys.executable, "-m", "headstart", "train", str(small_set), "--cache", str(tmp_path / "cache")],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + _TIMEOUT_S
        while not (trunks.is_dir() and list(trunks.glob(".converting-*"))):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 130, err
    assert out == ""
    assert err.endswith("headstart: interrupted; what was embedded is kept\n")
    assert list(trunks.iterdir()) == []
    assert not (tmp_path / "runs").exists()
