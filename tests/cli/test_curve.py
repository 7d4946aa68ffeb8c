"""`headstart curve` measures, draws and foretells, and refuses what has no curve."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from support import Runner, digest, paint_set, refused, went_well


def test_a_curve_without_a_test_folder(call: Runner, small_set: Path, tmp_path: Path) -> None:
    done = call("curve", small_set, "--seeds", "2")
    went_well(done, "images accuracy 95 % interval", "all images", "2 times as many", r"4 times as many \(")
    went_well(done, r"training images give .* of \d+ held-out images right", "only .* images to measure on")
    with Image.open(tmp_path / "pets-curve.png") as picture:
        assert min(picture.size) > 400
    assert call("curve", small_set, "--seeds", "2").stdout.replace("-2.png", ".png") == done.stdout
    first, second = (digest(tmp_path / f"pets-curve{n}.png") for n in ("", "-2"))
    assert first == second


def test_a_run_gets_its_curve(call: Runner, pets: Path, pets_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pets_run, tmp_path / "run"))
    done = call("curve", pets, "--seeds", "2", "--run", run, "--json")
    report = json.loads(done.stdout)
    assert report.pop("files") == [str(run / "curve.json"), str(run / "curve.png")]
    assert not list(tmp_path.glob("*.png"))
    saved = json.loads((run / "curve.json").read_text())
    assert saved == report
    assert saved["format_version"] == 1
    assert saved["measured_on"] == "held-out"
    assert [point["n"] for point in saved["points"]] == sorted({point["n"] for point in saved["points"]})
    assert {some["factor"] for some in saved["forecasts"]} == {2, 4}
    assert {need["name"] for need in saved["classes"]} == {"cats", "dogs"}


def test_a_test_folder_is_what_is_measured_on(call: Runner, small_set: Path, tmp_path: Path) -> None:
    for part, some in (("train", slice(0, 8)), ("test", slice(8, 18))):
        for name in ("cats", "dogs"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for path in sorted((small_set / name).iterdir())[some]:
                shutil.copy(path, tmp_path / "photos" / part / name)
    report = json.loads(call("curve", "photos", "--seeds", "2", "--json").stdout)
    assert (report["measured_on"], report["n_test"]) == ("test", 20)
    assert [point["n"] for point in report["points"]] == [8, 12, 16]
    refused(call("curve", "photos", "--test-fraction", "0.3"), "has a test split of its own")


def test_too_few_images_have_no_law_but_a_curve(call: Runner, small_set: Path, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for path in sorted((small_set / name).iterdir())[:3]:
            shutil.copy(path, tmp_path / "few" / name)
    report = json.loads(call("curve", "few", "--seeds", "2", "--json").stdout)
    assert report["error_law"] is None
    assert report["forecasts"] == []
    assert "Too few images for a law" in " ".join(report["summary"])
    assert (tmp_path / "few-curve.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1"], "--seeds must lie between 2 and 50, not 1"),
        (["--test-fraction", "0.9"], "--test-fraction must lie above 0 and at most 0.5, not 0.9"),
        (["--out", "curve.jpg"], "--out curve.jpg: this becomes a PNG"),
        (["--run", "nowhere"], "There is no run at nowhere"),
        (["--model", "resnet1"], "Did you mean resnet18"),
    ],
)
def test_what_has_no_curve_is_refused(
    words: list[str], message: str, call: Runner, small_set: Path, tmp_path: Path
) -> None:
    refused(call("curve", small_set, *words), message)
    assert not list(tmp_path.iterdir())


def test_a_run_of_other_images_or_another_backbone_is_refused(
    call: Runner, pets: Path, pets_run: Path, tmp_path: Path
) -> None:
    refused(
        call("curve", pets, "--run", pets_run, "--model", "lite1"),
        "was trained on lite0",
        "Leave out --model",
    )
    others = paint_set(tmp_path / "others", a=4, b=4)
    refused(call("curve", others, "--run", pets_run), "trained on none of the images of .*others")
    run = Path(shutil.copytree(pets_run, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    refused(call("curve", pets, "--run", run), "format version 2", "Upgrade it")
    assert not (run / "curve.json").exists()
