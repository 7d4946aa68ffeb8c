"""`headstart explain` draws maps, says what can't be read or has moved, and refuses what has no maps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.classifier import Classifier
from headstart.data.decode import read_view
from headstart.evaluation.maps import open_mapper
from networks import TINY, make_model, save_onnx, save_random
from support import Runner, pictures, refused


@pytest.fixture
def run(pets_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pets_run, tmp_path / "run"))


def test_images_get_maps_and_what_cannot_be_read_a_reason(
    call: Runner, run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(pictures(small_set / "cats")[0], tmp_path / "new" / "a.jpg")
    (tmp_path / "new" / "b.jpg").write_bytes(b"nothing of a picture")
    done = call("explain", run, "new", "gone.jpg", "--similar", "2", "--losses", "2", "--json")
    assert done.returncode == 1
    assert "2 of 3 files can't be read" in done.stderr
    report = json.loads(done.stdout)
    assert report.pop("folder") == "maps"
    saved = json.loads((tmp_path / "maps" / "explain.json").read_text())
    assert saved == report
    assert saved["method"] == "class-activation"
    good, broken, gone = saved["images"]
    assert (good["predicted"], good["map"], good["error"]) == ("cats", "a.png", None)
    assert good["similar"][0]["label"] == "cats"
    assert (broken["error"], broken["map"]) == ("not an image", None)
    assert gone["error"] == "no such file"
    with Image.open(tmp_path / "maps" / "a.png") as picture:
        assert picture.width > 4 * 224
    for name in saved["sheets"]:
        assert (tmp_path / "maps" / name).is_file()


def test_names_do_not_reach_the_terminal_raw(
    call: Runner, run: Path, small_set: Path, tmp_path: Path
) -> None:
    shutil.copy(pictures(small_set / "cats")[0], tmp_path / "a\x1b[31m\n.jpg")
    (tmp_path / "b\x1b[31m.jpg").write_bytes(b"nothing of a picture")
    done = call("explain", run, *sorted(tmp_path.glob("?\x1b*")), "--similar", "0", "--losses", "1")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    read, unread, saved = done.stdout.splitlines()
    assert r"a\x1b[31m\n.jpg: cats" in read
    assert r"b\x1b[31m.jpg: not an image" in unread
    assert saved.startswith("Saved 1 map")


def test_without_images_the_highest_losses_are_explained_inside_the_run(
    call: Runner, run: Path, tmp_path: Path
) -> None:
    for _ in range(2):  # the second time over the first
        done = call("explain", run, "--losses", "2", "--similar", "0")
        assert done.returncode == 0, done.stderr
    saved = json.loads((run / "explain" / "explain.json").read_text())
    assert len(saved["images"]) == 2
    assert all(image["label"] in {"cats", "dogs"} for image in saved["images"])
    expected = {"explain.json", *saved["sheets"], *(image["map"] for image in saved["images"])}
    assert {path.name for path in (run / "explain").iterdir()} == expected
    assert not list(run.glob(".explain*"))


def test_training_images_that_moved_are_named_and_the_rest_goes_on(
    call: Runner, pets: Path, tmp_path: Path
) -> None:
    call("train", pets, "--mirror", "off", "--out", "run")
    image = pictures(pets / "cats")[3]
    shutil.copy(image, tmp_path / "own.jpg")
    image.unlink()
    done = call("explain", "run", "own.jpg", "--losses", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (finding,) = report["findings"]
    assert finding.startswith("1 of 40 training images were moved, removed or changed:")
    assert image.name in finding
    first = report["images"][0]["similar"][0]
    assert (Path(first["path"]).name, first["moved"]) == (image.name, True)
    assert first["cosine"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--similar", "99"], "--similar must lie between 0 and 12, not 99"),
        (["--losses", "0"], "--losses must lie between 1 and 200, not 0"),
        (["nothing-*.jpg"], "Nothing matches nothing"),
        (["--out", "run/config.json/maps", "a.jpg"], "a file stands where a folder should be"),
    ],
)
def test_what_cannot_be_explained_is_refused(words: list[str], message: str, call: Runner, run: Path) -> None:
    refused(call("explain", run, *words), message)
    assert not (run / "explain").exists()


def test_a_run_from_a_newer_version_or_none_is_refused(call: Runner, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    refused(call("explain", run), "format version 2", "Upgrade it")
    refused(call("explain", "nowhere"), "There is no run at nowhere")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads with hidden layers that are small enough for a test."""
    monkeypatch.setattr("headstart.api.mlp.WIDTH", 16)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("architecture", "head", "method"),
    [
        (TINY, "linear", "class-activation"),
        (TINY, "mlp", "grad-cam"),
        ("test_convnext", "linear", "grad-cam"),
        ("test_vit", "linear", "token-relevance"),
        ("test_vit", "mlp", "token-relevance"),
    ],
)
def test_runs_of_each_kind_of_network_and_head_have_maps(
    architecture: str, head: str, method: str, call: Runner, pets: Path, tmp_path: Path
) -> None:
    model = f"{architecture}@{save_random(tmp_path, architecture)}"
    extra = ("--epochs", "2", "--batch-size", "8") if head == "mlp" else ()
    done = call("train", pets, "--model", model, "--head", head, *extra, "--out", "run")
    assert done.returncode == 0, done.stderr
    done = call("explain", "run", pictures(pets)[0], pictures(pets)[-1], "--losses", "1", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["method"] == method
    for image in report["images"]:
        assert len(image["similar"]) == 4
        with Image.open(tmp_path / "maps" / image["map"]) as sheet:
            assert np.asarray(sheet).std() > 20


def test_a_run_of_an_onnx_file_has_no_maps_and_says_so(call: Runner, pets: Path, tmp_path: Path) -> None:
    net = save_onnx(make_model(), tmp_path / "net.onnx")
    done = call("train", pets, "--model", net, "--mirror", "off", "--out", "run")
    assert done.returncode == 0, done.stderr
    refused(call("explain", "run"), "comes from an ONNX file, which gives features and no spatial maps")
    assert not (tmp_path / "maps").exists()
    assert not (tmp_path / "run" / "explain").exists()


def test_maps_of_a_real_run_change_when_its_head_is_randomised(
    pets_run: Path, small_set: Path, cache: Path
) -> None:
    """Maps that stay the same would show the picture, not the decision (Adebayo et al. 2018)."""
    classifier = Classifier.load(pets_run, cache=cache)
    paths = pictures(small_set)[::4]
    views = np.stack([read_view(str(path), classifier.trunk.preprocessing) for path in paths])
    mapper = open_mapper(classifier)
    classes = mapper.logits(views).argmax(axis=1)
    maps, alike = mapper.maps(views, classes), []
    for seed in range(5):
        drawn = np.random.default_rng(seed).standard_normal(classifier.weight.shape).astype(np.float32)
        scale = classifier.weight.std()
        other = open_mapper(replace(classifier, weight=scale * drawn)).maps(views, classes)
        alike += [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps, other, strict=True)]
    assert abs(np.mean(alike)) < 0.4
    again = open_mapper(classifier).maps(views, classes)
    np.testing.assert_array_equal(maps, again)
