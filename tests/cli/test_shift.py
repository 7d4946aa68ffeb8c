"""`headstart shift` on real photographs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.api.harden import Hardening
from headstart.classifier import Classifier
from headstart.errors import ConfigError
from headstart.progress import Silent
from headstart.run.folder import RunFolder
from headstart.run.tables import read_split
from networks import TINY, save_random
from pages import check_page
from support import Runner, pictures, refused, went_well


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
    assert f"only {found['n']} images to measure on: the intervals say little" in found["findings"]
    with Image.open(run / "shift.png") as picture:
        assert picture.width > 500
    assert json.loads(call(*words).stdout) == found
    assert call("report", run).returncode == 0
    html = (run / "report.html").read_text()
    assert "Does it hold on other pictures?" in html
    assert "brightness: darker" in (run / "shift.html").read_text()
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


def paint_by_light(root: Path, count: int = 36) -> Path:
    """Noise of two brightnesses: whoever learns it is at the mercy of light."""
    for label, low, high in (("day", 120, 256), ("night", 0, 110)):
        (root / label).mkdir(parents=True)
        for k in range(count):
            rng = np.random.default_rng([low, k])
            pixels = rng.integers(low, high, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{k}.png")
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{TINY}@{save_random(tmp_path_factory.mktemp('weights'))}"


def test_a_run_is_hardened_against_what_harms_it_and_set_side_by_side(
    call: Runner, tiny: str, tmp_path: Path, browser: Any
) -> None:
    paint_by_light(tmp_path / "light")
    assert call("train", "light", "--model", tiny, "--out", "run").returncode == 0
    words = ("shift", "run", "light", "--kinds", "brightness,contrast", "--harden", "--epochs", "1")
    went_well(
        call(*words),
        r"What harms for sure: brightness.* Augmentation against it: light,brightness=0\.7",
        r"Hardened by the recipe partial, saved in run-hardened: robustness \d\.\d+",
        r"The first run's recipe, probe, learns nothing from augmentation",
    )
    found = json.loads((tmp_path / "run" / "shift.json").read_text())
    hardened = found["hardened"]
    assert (hardened["run"], hardened["recipe"], hardened["n"]) == ("run-hardened", "partial", found["n"])
    settings = json.loads((tmp_path / "run-hardened" / "config.json").read_text())["headstart"]
    assert settings["tuning"]["augment"] == found["policy"] == hardened["augment"]
    gain = hardened["gain"]
    assert gain["shifted"] == pytest.approx(hardened["shifted"] - found["shifted"])
    assert gain["accuracy"] == pytest.approx(hardened["accuracy"] - found["accuracy"])
    assert gain["shifts"]["brightness"]["gain"] == pytest.approx(
        hardened["shifts"]["brightness"]["change"]
        - found["shifts"]["brightness"]["change"]
        + gain["accuracy"]
    )
    assert call("report", "run").returncode == 0
    for page in ("shift.html", "report.html"):
        text = check_page(browser, tmp_path / "run" / page)
        assert "run-hardened was trained against it, on the first run's own images" in text
        assert "calibration error, shifted" in text


def test_hardening_keeps_the_runs_own_recipe_settings_and_splits(
    tiny: str, cache: Path, tmp_path: Path
) -> None:
    data = paint_by_light(tmp_path / "light", 20)
    tuning = hs.TuneConfig(epochs=1, lr=3e-3, input_px=32, batch_size=8, precision="fp32")
    config = hs.TrainConfig(model=tiny, recipe="finetune", balance=True)
    run = hs.train(data, config, tuning, out=tmp_path / "run", cache=cache).run
    plan = Hardening.plan(RunFolder(run), hs.ShiftConfig(harden=True, seed=3), Silent())
    assert (plan.training.recipe, plan.training.balance, plan.training.seed) == ("finetune", True, 3)
    assert (plan.tuning.epochs, plan.tuning.lr, plan.tuning.input_px) == (1, 3e-3, 32)
    assert plan.replaced == ""
    table = read_split(RunFolder(run).split_parquet)
    own = dict(zip(table.paths, table.splits, strict=True))
    assert {sample.file.path: sample.split for sample in plan.dataset.samples} == own
    assert set(own.values()) == {"train", "val", "test"}


def test_what_can_not_be_hardened_is_refused_before_it_is_measured(
    call: Runner, run: Path, pets: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    assert call("train", shutil.copytree(pets, gone), "--out", "moved").returncode == 0
    pictures(gone)[0].unlink()
    refused(
        call("shift", "moved", pets, "--harden"), r"1 of the 40 are not where it found them, such as \S+gone"
    )
    assert not (tmp_path / "moved" / "shift.json").exists()
    (run / "backbone.onnx").touch()
    with pytest.raises(ConfigError, match="has an ONNX file for a backbone, which no recipe trains"):
        Hardening.plan(RunFolder(run), hs.ShiftConfig(harden=True), Silent())
