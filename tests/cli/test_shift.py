"""`headstart shift` on real photographs."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from headstart.classifier import Classifier
from support import Runner, refused, went_well


@pytest.fixture
def run(pets_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pets_run, tmp_path / "run"))


def test_shift_leaves_its_numbers_and_curves_and_the_report_shows_them(
    call: Runner, run: Path, pets: Path, cache: Path
) -> None:
    broken = min((pets / "cats").iterdir())
    broken.write_bytes(broken.read_bytes()[:3000])
    words = ("shift", run, pets, "--images", "12", "--kinds", "brightness,noise", "--json")
    done = call(*words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n"] in {11, 12}
    assert list(found["shifts"]) == ["brightness", "noise"]
    saved = json.loads((run / "shift.json").read_text())
    assert {"folder": str(run), **saved} == found
    assert any("measured on 12 of the 40 images" in finding for finding in found["findings"])
    assert any("images were learnt from" in finding for finding in found["findings"])
    with Image.open(run / "shift.png") as picture:
        assert picture.width > 500
    assert json.loads(call(*words).stdout) == found
    assert call("report", run).returncode == 0
    html = (run / "report.html").read_text()
    assert "Does it hold on other pictures?" in html
    assert "brightness: darker" in html
    clean = Classifier.load(run, cache=cache).evaluate(pets)
    assert clean.n >= found["n"]


def test_unchanged_pictures_score_as_evaluation_does(
    call: Runner, run: Path, pets: Path, cache: Path
) -> None:
    done = call("shift", run, pets, "--kinds", "crop", "--json", "--out", "elsewhere")
    found = json.loads(done.stdout)
    scores = Classifier.load(run, cache=cache).evaluate(pets)
    assert (found["n"], found["accuracy"]) == (scores.n, scores.accuracy)
    assert found["ece"] == pytest.approx(scores.ece)
    assert not (run / "shift.json").exists()
    assert found["folder"] == "elsewhere"


def test_the_table_says_what_the_score_is(call: Runner, run: Path, pets: Path) -> None:
    done = call("shift", run, pets, "--images", "6", "--kinds", "temperature", "--quiet")
    went_well(
        done, r"temperature .* Robustness \d\.\d+ \(\d\.\d+ to \d\.\d+\): the mean accuracy", r"Saved in"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kinds", "brigtness"], "No shift is called 'brigtness'. Did you mean brightness?"),
        (["--images", "0", "--epochs", "3"], "--images must be at least 1, not 0; --epochs is that of the"),
        (["--seed", "-1"], "--seed must lie between 0 and"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    call: Runner, run: Path, pets: Path, words: list[str], message: str
) -> None:
    refused(call("shift", run, pets, *words), message.replace("?", r"\?"))
    assert not (run / "shift.json").exists()


def test_classes_that_the_model_lacks_are_refused(call: Runner, run: Path, pets: Path) -> None:
    (pets / "dogs").rename(pets / "wolves")
    refused(call("shift", run, pets), r"classes that the model does not know: 'wolves' \(20 images\)")
