"""An ONNX file as a frozen trunk: features as torch has them, and a run that needs nothing else."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import headstart as hs
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.network import Normalize, embed
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import open_trunk
from headstart.config import RuntimeName
from headstart.errors import (
    ConfigError,
    DamagedRunError,
    RuntimeUnavailableError,
    UnknownBackboneError,
    WeightsMismatchError,
    WeightsNotFoundError,
)
from networks import N_SOURCE, SIDE, SIDECAR, TINY, make_model, save_onnx, some_views
from support import digest

QUICK: dict[str, Any] = {"mirror": "off", "runtime": "openvino-fp32"}


class ChannelsLast(nn.Module):
    """Pictures as TensorFlow has them; probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.permute(0, 3, 1, 2)).softmax(-1)


class Features(nn.Module):
    """What is in the middle of a network: a map."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.forward_features(x)


def their_features(model: nn.Module, views: np.ndarray, sidecar: dict[str, Any] = SIDECAR) -> np.ndarray:
    preprocessing = hs.config.Preprocessing(1, 1, "bicubic", tuple(sidecar["mean"]), tuple(sidecar["std"]))
    with torch.inference_mode():
        return embed(model, Normalize(preprocessing)(torch.from_numpy(views))).numpy()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_onnx(make_model(), tmp_path_factory.mktemp("onnx") / "net.onnx")


@pytest.fixture(scope="module")
def trained(net: str, small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return hs.train(small_set, hs.TrainConfig(model=net, **QUICK), out=out, cache=cache).run


@pytest.mark.parametrize("architecture", [TINY, "test_vit"])
def test_features_and_source_logits_are_torchs(architecture: str, cache: Path, tmp_path: Path) -> None:
    model, side = make_model(architecture), 160
    batch = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}} if architecture == "test_vit" else {}
    trunk = open_trunk(find_backbone(save_onnx(model, tmp_path / "m.onnx", side=side, **batch)), cache)
    assert (trunk.preprocessing.crop_px, trunk.preprocessing.resize_px) == (side, 178)
    views = some_views(trunk, 3)
    expected = their_features(model, views)
    found = open_runtime(trunk, "openvino-fp32").embed(views)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    with torch.inference_mode():
        logits = model.get_classifier()(torch.from_numpy(expected)).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(trunk.source_logits(found), logits, rtol=1e-3, atol=1e-4)


def test_channels_last_and_probabilities_are_read(cache: Path, tmp_path: Path) -> None:
    model, path = make_model(), tmp_path / "nhwc.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(ChannelsLast(model).eval(), (torch.zeros(1, SIDE, SIDE, 3),), path, dynamo=False)
    path.with_suffix(".json").write_text(json.dumps({**SIDECAR, "label_names": list("abcdefg")}))
    trunk = open_trunk(find_backbone(str(path)), cache)
    assert trunk.source_classes == tuple("abcdefg")
    views = some_views(trunk, 2)
    found = open_runtime(trunk, "openvino-fp32").embed(views)
    np.testing.assert_allclose(found, their_features(model, views), rtol=1e-3, atol=1e-4)


def test_a_network_without_classifier_ends_in_its_features(cache: Path, tmp_path: Path) -> None:
    model = make_model(num_classes=0)
    any_size = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}
    sidecar = {**SIDECAR, "input_size": [3, 64, 64]}
    trunk = open_trunk(find_backbone(save_onnx(model, tmp_path / "m.onnx", sidecar, **any_size)), cache)
    assert len(trunk.source_head[1]) == 0
    assert trunk.preprocessing.crop_px == 64
    views = some_views(trunk, 2)
    found = open_runtime(trunk, "openvino-fp32").embed(views)
    np.testing.assert_allclose(found, their_features(model, views), rtol=1e-3, atol=1e-4)


def test_a_tensor_can_be_named(net: str, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "logits.onnx"
    named = save_onnx(make_model(), file, {**SIDECAR, "output": "logits"}, output_names=["logits"])
    trunk = open_trunk(find_backbone(named), cache)
    assert trunk.feature_dim == N_SOURCE
    plain = open_trunk(find_backbone(net), cache)
    views = some_views(trunk, 2)
    logits = plain.source_logits(open_runtime(plain, "openvino-fp32").embed(views))
    found = open_runtime(trunk, "openvino-fp32").embed(views)
    np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-4)


def test_the_run_is_whole_and_says_what_it_is(trained: Path, net: str) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"backbone.onnx", "backbone.json", "head.safetensors", "metrics.json", "README.md"} <= names
    assert "model.safetensors" not in names
    assert digest(trained / "backbone.onnx") == digest(Path(net))
    card = (trained / "README.md").read_text()
    assert "timm can't make a network of an ONNX file" in card
    assert "create_model" not in card
    assert "\n- onnx\n- headstart\n" in card
    assert "library_name" not in card


def test_the_run_predicts_and_evaluates_alone(
    trained: Path, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "moved"))
    images = sorted(small_set.rglob("*.jpg"))[::4]
    here, there = hs.load(trained, cache=cache), hs.load(run, cache=tmp_path / "empty")
    np.testing.assert_allclose(there.predict_proba(images), here.predict_proba(images), atol=1e-6)
    assert here.classes == ("cats", "dogs")
    assert there.evaluate(small_set).n == 40
    again = hs.TrainConfig(model=str(run / "backbone.onnx"), **QUICK)
    hs.train(small_set, again, out=tmp_path / "next", cache=cache)  # its copy is a source as good as the file


def test_a_damaged_run_is_refused(trained: Path, cache: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    content = (run / "backbone.onnx").read_bytes()
    (run / "backbone.onnx").write_bytes(content[:-9])
    with pytest.raises(DamagedRunError, match=r"backbone\.onnx is damaged or was changed"):
        hs.load(run, cache=cache)
    (run / "backbone.onnx").write_bytes(content)
    (run / "head.safetensors").unlink()
    with pytest.raises(DamagedRunError, match=r"head\.safetensors can't be read"):
        hs.load(run, cache=cache)


@pytest.mark.parametrize("recipe", ["finetune", "scratch", "auto", "partial"])
def test_what_would_train_it_is_refused(recipe: Any, net: str, small_set: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--recipe {recipe} trains the network itself, but .*is an ONNX"):
        hs.train(small_set, hs.TrainConfig(model=net, recipe=recipe), cache=cache)


@pytest.mark.parametrize("runtime", ["torch-fp32", "torch-bf16"])
def test_torch_can_not_run_it(runtime: RuntimeName, net: str, small_set: Path, cache: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="torch can't run an ONNX file"):
        hs.train(small_set, hs.TrainConfig(model=net, runtime=runtime), cache=cache)


def test_a_run_on_it_is_no_source(trained: Path, small_set: Path, cache: Path) -> None:
    with pytest.raises(UnknownBackboneError, match=r"Start from that: --model .*backbone\.onnx"):
        hs.train(small_set, hs.TrainConfig(from_=str(trained)), cache=cache)


@pytest.mark.parametrize(
    ("sidecar", "error", "message"),
    [
        (None, WeightsNotFoundError, r"does not say how its pictures are normalised.*\"mean\""),
        ({"mean": [1, 2, 300]}, ConfigError, r"it lacks crop_pct, interpolation, std; mean must be three"),
        ({**SIDECAR, "interpolation": "cubic"}, ConfigError, "must be one of bicubic, bilinear, lanczos"),
        ({**SIDECAR, "crop_pct": 87.5}, ConfigError, "crop_pct must lie above 0 and at most 1, not 87.5"),
        ({**SIDECAR, "input_size": [3, 64, 64]}, ConfigError, "96 pixels, and its JSON .* input_size 64"),
        ({**SIDECAR, "output": "nothing"}, WeightsMismatchError, "has no tensor 'nothing'"),
    ],
)
def test_what_it_does_not_say_is_asked_for(
    sidecar: dict[str, Any] | None,
    error: type[Exception],
    message: str,
    net: str,
    cache: Path,
    tmp_path: Path,
) -> None:
    file = Path(shutil.copy(net, tmp_path / "net.onnx"))
    if sidecar is not None:
        file.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(error, match=message):
        open_trunk(find_backbone(str(file)), cache)


def test_what_is_no_network_of_pictures_is_refused(cache: Path, tmp_path: Path) -> None:
    map_ = save_onnx(Features(make_model()), tmp_path / "map.onnx")
    with pytest.raises(WeightsMismatchError, match=r"must be one row an image, \(N, d\), but .*\[1,96,3,3\]"):
        open_trunk(find_backbone(map_), cache)
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"no model")
    garbage.with_suffix(".json").write_text(json.dumps(SIDECAR))
    with pytest.raises(WeightsMismatchError, match=r"garbage\.onnx can't be read"):
        open_trunk(find_backbone(str(garbage)), cache)
    with pytest.raises(WeightsNotFoundError, match=r"There is no weights file 'no\.onnx'"):
        find_backbone("no.onnx")
