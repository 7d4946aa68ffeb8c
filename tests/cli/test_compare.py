"""`headstart compare` prints what it found, says what failed, and exits accordingly."""

import json
from pathlib import Path

import pytest

from networks import save_random
from support import Runner, paint_set, refused, words_of

_LONG = "--recipes probe --seeds 2 --models"


@pytest.fixture
def compared(call: Runner, small_set: Path, tmp_path: Path) -> str:
    """The words of a comparison that was made: a probe with two seeds, and a network whose weights misfit."""
    save_random(tmp_path)
    return f"compare {small_set} {_LONG} lite0,resnet34@test_resnet.safetensors"


def test_the_table_and_what_it_means_are_printed(call: Runner, compared: str, tmp_path: Path) -> None:
    done = call(*compared.split())
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["recipe", "model"]
    assert lines[1].split()[:2] == ["probe", "lite0"]
    assert lines[1].endswith("best")
    assert lines[2].split()[:3] == ["probe", "resnet34@test_resnet.safetensors", "failed"]
    text = words_of(done.stdout)
    assert "Best: probe with lite0, by its validation log loss" in text
    assert "of seeds (means of 2 trainings" in text
    assert (
        "! probe with resnet34@test_resnet.safetensors failed: test_resnet.safetensors does not fit" in text
    )
    assert "Next: headstart predict runs/pets-compare-1/probe-lite0-seed" in text
    folder = tmp_path / "runs" / "pets-compare-1"
    assert {path.name for path in folder.iterdir()} == {
        *("facts.json", "compare.json", "compare.csv", "compare.png"),
        *("probe-lite0-seed0", "probe-lite0-seed1"),
    }
    again = call(*compared.split(), "--resume", "--json", "--quiet")
    report = json.loads(again.stdout)
    assert (again.returncode, again.stderr) == (1, "")
    assert report["folder"] == "runs/pets-compare-1"
    assert {name: report[name] for name in report if name != "folder"} == json.loads(
        (folder / "compare.json").read_text()
    )
    assert [training["seed"] for training in report["trainings"]] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipes", "probe,fintune"], r"No recipe is called 'fintune'\. Did you mean finetune\?"),
        (["--recipes", ","], r"--recipes and --models must name at least one each"),
        (["--seeds", "0"], r"--seeds must lie between 1 and 100, not 0"),
        (["--models", "lite0,resnet5"], r"No backbone is called 'resnet5'\. Did you mean resnet50"),
        (["--recipes", "probe", "--epochs", "3"], r"--epochs: none of the recipes probe takes this"),
        (["--recipe", "probe"], r'Unknown option: "?--recipe"?\. Did you mean "?--recipes"?\?'),
        (["--resume"], r"There is no comparison at runs/set-compare-\* to go on with"),
    ],
)
def test_nonsense_is_refused(words: list[str], message: str, call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=12, b=12)
    refused(call("compare", "set", *words), message)
    assert not list((tmp_path / "runs").glob("*/*-seed*"))
