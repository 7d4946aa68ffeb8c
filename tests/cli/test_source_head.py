"""A head that starts from the source classifier's rows, as a user asks for it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.numpy import load_file
from safetensors.torch import save_file

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.trunk import open_trunk
from support import Runner, paint_set, refused, went_well

BY_NAME = ["--head-init", "source", "--source-class", "hotdog=hot dog"]
BARELY_TRAINED = "--recipe finetune --epochs 1 --lr 1e-9 --schedule constant --input-px 64 --batch-size 8"
HOTDOG = 934


@pytest.fixture(scope="module")
def hotdogs(photo_sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight real photographs a class to learn from, and twelve to be tested on."""
    root = tmp_path_factory.mktemp("hotdogs") / "hotdogs"
    for part, count in (("train", 8), ("test", 12)):
        for name in ("hotdog", "not-hotdog"):
            (root / part / name).mkdir(parents=True)
            for path in sorted((photo_sets / "hotdog" / part / name).iterdir())[:count]:
                shutil.copy(path, root / part / name / path.name)
    return root


def test_zero_shot_is_shown_before_training_and_kept(call: Runner, hotdogs: Path, tmp_path: Path) -> None:
    done = call("train", hotdogs, *BY_NAME, "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    shown = "Zero-shot: the source classifier's rows, carried over by name, get "
    assert done.stderr.index(shown) < done.stderr.index("Solving the head:")
    assert "of 16 training images right before any training (95 % interval" in done.stderr
    assert "test images" not in done.stderr  # they are read once, at the end
    result = json.loads(done.stdout)
    found = result["zero_shot"]
    assert found == json.loads((tmp_path / "run" / "metrics.json").read_text())["zero_shot"]
    assert found["by"] == "name"
    assert found["rows"] == {"hotdog": ["hotdog"], "not-hotdog": []}
    assert (found["train"]["n"], found["test"]["n"]) == (16, 24)
    low, high = found["test"]["accuracy_interval"]
    assert low < found["test"]["accuracy"] < high
    assert found["test"]["accuracy"] > 0.7
    prior = json.loads((tmp_path / "run" / "config.json").read_text())["headstart"]["head"]["prior"]
    assert prior["used"]
    assert prior["log_loss_with"] < prior["log_loss_without"]
    assert result["metrics"]["test"]["accuracy"] > 0.7


def test_estimated_rows_need_no_names(call: Runner, small_set: Path) -> None:
    done = call("train", small_set, "--head-init", "source", "--out", "run")
    went_well(
        done,
        r"Zero-shot: .* mixed by its answers to each class, get \d+\.\d % of 40 training images right",
        r"As the probe's prior they give a cross-validated log loss of \d\.\d+, against \d\.\d+ without",
        r"so they were (used|left out)\. ",
    )
    rows = json.loads(Path("run", "metrics.json").read_text())["zero_shot"]["rows"]
    assert any("cat" in name or "tabby" in name for name in rows["cats"])
    assert len(rows["dogs"]) == 3


def test_a_training_starts_from_the_rows_themselves(call: Runner, hotdogs: Path, cache: Path) -> None:
    done = call("train", hotdogs, *BY_NAME, *BARELY_TRAINED.split(), "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["zero_shot"]["train"]["n"] < 16  # some are held out for validation
    weight = load_file("run/model.safetensors")["classifier.weight"]
    row = open_trunk(find_backbone("lite0"), cache).source_head[0][HOTDOG]
    ratio = weight[0] / (row / 2)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-2)  # the temperature is divided in
    np.testing.assert_allclose(weight[1], -weight[0], rtol=1e-2, atol=1e-6)


def test_weights_without_a_classifier_have_no_rows(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    model = timm.create_model("test_resnet", num_classes=0)
    save_file(model.state_dict(), tmp_path / "headless.safetensors")
    done = call(
        *("train", "set", "--model", f"test_resnet@{tmp_path / 'headless.safetensors'}"),
        *("--head-init", "source"),
    )
    refused(done, r"headless\.safetensors come without a classifier, so --head-init source finds no rows")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source-class", "a=hotdog"], "--source-class does nothing without --head-init source"),
        (
            ["--head-init", "source", "--recipe", "scratch"],
            "--head-init source does not suit --recipe scratch",
        ),
        (["--head-init", "random"], "--head-init random does not suit --recipe probe"),
        (["--head-init", "luck"], "--head-init takes one of probe, source, random, not 'luck'"),
        (
            ["--head-init", "source", "--source-class", "c=hotdog", "--source-class", "a=hotdgo"],
            r"the data have no class 'c'; no source class is called 'hotdgo' \(did you mean 'hotdog'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], message: str, call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    done = call("train", "set", *words)
    refused(done, message)
    assert "Embedding" not in done.stderr
