"""Training from random weights: no weights are asked for, and the run predicts like any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import headstart as hs
from headstart.backbones.catalogue import SMALL
from headstart.data.decode import read_view
from headstart.errors import WeightsNotFoundError

QUICK = hs.TuneConfig(epochs=1, batch_size=8, precision="fp32", val_fraction=0.25)


@pytest.fixture(scope="module", params=list(SMALL))
def trained(
    request: pytest.FixtureRequest, small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> hs.TrainResult:
    out = tmp_path_factory.mktemp("runs") / request.param
    config = hs.TrainConfig(model=request.param, recipe="scratch", runtime="openvino-fp32")
    return hs.train(small_set, config, QUICK, out=out, cache=cache)


def test_an_empty_cache_gives_the_same_answers(
    trained: hs.TrainResult, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    images = sorted(small_set.rglob("*.jpg"))[::9]
    before = hs.load(trained.run, cache=cache).predict_proba(images)
    np.testing.assert_allclose(hs.load(trained.run, cache=tmp_path).predict_proba(images), before, atol=1e-5)


def test_timm_gives_the_same_answers(trained: hs.TrainResult, small_set: Path, cache: Path) -> None:
    model = hs.load(trained.run, cache=cache)
    view = model.trunk.preprocessing
    assert view.crop_px == {"simple_vgg": 64, "resnet18_cifar": 32}[model.trunk.architecture]
    plain = timm.create_model(f"local-dir:{trained.run}", pretrained=True).eval()
    images = sorted(small_set.rglob("*.jpg"))[::9]
    pixels = np.stack([read_view(str(path), view) for path in images]) / np.float32(255)
    normal = torch.from_numpy((pixels - np.float32(view.mean)) / np.float32(view.std)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        np.testing.assert_allclose(model.predict_proba(images), plain(normal).softmax(1).numpy(), atol=1e-4)


def test_the_card_says_how_timm_gets_to_know_it(trained: hs.TrainResult) -> None:
    card = (trained.run / "README.md").read_text()
    assert "import headstart.backbones.small" in card
    assert "no licence of such applies" in card
    assert "pretrained on other images" not in card
    assert json.loads((trained.run / "config.json").read_text())["headstart"]["backbone"]["licence"] == "none"


def test_its_weights_are_a_source_for_any_recipe(
    trained: hs.TrainResult, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    name = json.loads((trained.run / "config.json").read_text())["headstart"]["backbone"]["name"]
    file = shutil.copy(trained.run / "model.safetensors", tmp_path / "mine.safetensors")
    config = hs.TrainConfig(model=f"{name}@{file}", runtime="openvino-fp32", mirror="off")
    probed = hs.train(small_set, config, out=tmp_path / "run", cache=cache)
    assert hs.load(probed.run, cache=cache).trunk.preprocessing == SMALL[name].preprocessing


def test_no_hub_is_asked_for_random_weights(
    small_set: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(name: str) -> None:
        raise AssertionError(f"asked for the weights of {name}")

    monkeypatch.setattr("headstart.backbones.weights._from_hub", ask)
    config = hs.TrainConfig(model="test_efficientnet", recipe="scratch", runtime="openvino-fp32")
    result = hs.train(small_set, config, QUICK, out=tmp_path / "run", cache=cache)
    assert hs.load(result.run, cache=cache).trunk.architecture == "test_efficientnet"


@pytest.mark.parametrize("recipe", ["probe", "finetune"])
def test_other_recipes_need_weights(recipe: str, small_set: Path, cache: Path, tmp_path: Path) -> None:
    config = hs.TrainConfig(model="simple-vgg", recipe=recipe)
    message = (
        f"simple-vgg has no pretrained weights for the recipe {recipe} .*--recipe scratch, .*simple-vgg@FILE"
    )
    with pytest.raises(WeightsNotFoundError, match=message):
        hs.train(small_set, config, out=tmp_path / "run", cache=cache)
