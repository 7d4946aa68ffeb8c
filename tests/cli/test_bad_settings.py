"""Nonsense in a command's words ends in a message that names the flag, and in exit 2."""

import re
import shutil
from pathlib import Path

import pytest

from support import Runner, paint_set, pictures, refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test-fraction", "2"], r"--test-fraction must lie above 0 and at most 0\.9, not 2\.0"),
        (["--test-fraction", "0"], r"--test-fraction must lie above 0 and at most 0\.9, not 0\.0"),
        (["--test-fraction", "-1"], r"--test-fraction must lie above 0 and at most 0\.9, not -1\.0"),
        (["--test-fraction", "nan"], r"--test-fraction must lie above 0 and at most 0\.9, not nan"),
        (
            ["--test-fraction", "abc"],
            r"--test-fraction takes a number, not 'abc'\. See `headstart train --help`",
        ),
        (["--folds", "1"], r"--folds must lie between 3 and 20, not 1"),
        (["--folds", "2.5"], r"--folds takes a whole number, not '2\.5'"),
        (["--seed", "-1"], r"--seed must lie between 0 and 2\^32 - 1, not -1"),
        (["--folds", "99", "--seed", "-1"], r"--folds must .* not 99; --seed must .* not -1"),
        (["--mirror", "maybe"], r"--mirror takes one of auto, on, off, not 'maybe'\."),
        (["--runtime", "torch"], r"--runtime takes one of auto, openvino-bf16, .*, not 'torch'\."),
        (["--recipe", "fientune"], r"--recipe takes one of .*, not 'fientune'\. Did you mean finetune\?"),
        (["--balance=maybe"], r"--balance takes no value, not 'maybe'"),
        (["--budget", "banana"], r"--budget must be a time such as 90s, 5m or 1h .*, not 'banana'"),
        (
            ["--epochs", "nonsense"],
            r"--epochs takes a whole number, not 'nonsense'\. See `headstart train --h",
        ),
        (["--epochs", "2.5"], r"--epochs takes a whole number, not '2\.5'\."),
        (["--epochs", ""], r"--epochs takes a whole number, not ''\."),
        (["--epochs"], r"--epochs needs a value\."),
        (["--epochs", "1", "--epochs", "2"], r"--epochs specified multiple times"),
        (["--lr", "fast"], r"--lr takes a number, not 'fast'\."),
        (["--epochs", "-3"], r"--epochs must be at least 1, not -3"),
        (["--epochs", "3"], r"--epochs: the probe trains no backbone"),
        (["--model", "lite9"], r"No backbone is called 'lite9'\. Did you mean lite\d"),
        (["--model", "resnet5"], r"No backbone is called 'resnet5'\. Did you mean resnet50"),
        (
            ["--model", "lite0@gone.pth"],
            r"There is no weights file 'gone\.pth' \(from --model lite0@gone\.pth\)",
        ),
        (
            ["--model", "/no/x.safetensors"],
            r"There is no weights file '/no/x\.safetensors' .*\. Check the path\.",
        ),
        (["--test-fractoin", "0.2"], r"Unknown option: --test-fractoin\. Did you mean --test-fraction\?"),
    ],
)
def test_nonsense_values_of_train(words: list[str], message: str, call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    refused(call("train", "set", *words), message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "0"], r"--top must be at least 1, not 0"),
        (["--unknown-below", "2"], r"--unknown-below must lie between 0 and 1, not 2\.0"),
        (["--unknown-below", "nan"], r"--unknown-below must lie between 0 and 1, not nan"),
        (["--top", "-1", "--unknown-below", "-1"], r"--top must be .*; --unknown-below must lie"),
        (["--format", "xml"], r"--format takes one of table, csv, jsonl, parquet, not 'xml'\."),
        (["--tpo", "3"], r"--tpo: neither a flag of predict nor a file\. See `headstart predict --help`"),
        (["--format", "parquet"], r"--format parquet needs --out FILE"),
    ],
)
def test_nonsense_values_of_predict(
    words: list[str], message: str, call: Runner, pets_run: Path, small_set: Path
) -> None:
    refused(call("predict", pets_run, small_set, *words), message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["*.tiff"], r"Nothing matches \*\.tiff"),
        (["empty"], r"The folder empty has no images in it"),
        (["-"], r"No images to predict\. Name files, folders or globs, or - for a list"),
        ([], r"predict needs IMAGES\. See `headstart predict --help`"),
    ],
)
def test_nothing_to_predict(
    inputs: list[str], message: str, headstart: Runner, pets_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    refused(headstart("predict", pets_run, *inputs, cwd=tmp_path), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--older-than", "3"], r"--older-than goes with --clear"),
        (["--clear", "--older-than", "-1"], r"--older-than takes days, 0 or more, not -1"),
        (["--clear", "--older-than", "nan"], r"--older-than takes days, 0 or more, not nan"),
        (["--part", "junk"], r"--part takes one of trunks, features, pixels, not 'junk'\."),
    ],
)
def test_nonsense_values_of_cache(words: list[str], message: str, call: Runner, tmp_path: Path) -> None:
    refused(call("cache", *words, "--cache", tmp_path), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "photos"], r'Unknown command "trian"\. Did you mean "train"\?'),
        (["train"], r"train needs DATA\."),
        (["train", "a", "b"], r"train takes no further words: 'b'\."),
    ],
)
def test_words_that_make_no_command(
    words: list[str], message: str, headstart: Runner, tmp_path: Path
) -> None:
    done = headstart(*words, cwd=tmp_path)
    refused(done, message)
    assert re.fullmatch(r"headstart: .*\n", done.stderr)  # one line, no box


def test_a_file_may_begin_with_a_hyphen(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    shutil.copy(pictures(small_set)[0], tmp_path / "-1.jpg")
    assert call("predict", pets_run, "-1.jpg").returncode == 0


def test_test_fraction_beside_a_test_split(call: Runner, small_set: Path, tmp_path: Path) -> None:
    shutil.copytree(small_set, tmp_path / "split" / "train")
    for name in ("cats", "dogs"):
        (tmp_path / "split" / "test" / name).mkdir(parents=True)
        for path in sorted((tmp_path / "split" / "train" / name).iterdir())[:4]:
            shutil.move(path, tmp_path / "split" / "test" / name)
    refused(
        call("train", "split", "--test-fraction", "0.2"),
        r"\S+/split has a test split of its own, so --test-fraction 0\.2 would make a second one\. Leave it",
    )
