"""Somebody else's tensors: found under their prefixes, or refused with the reason."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from headstart.backbones import fitting
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.fitting import fit
from headstart.backbones.weights import build_source
from headstart.errors import UnknownBackboneError, WeightsMismatchError

TINY = "test_resnet"  # timm's own test model

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    torch.manual_seed(0)
    return timm.create_model(TINY, num_classes=5).state_dict()


def without_head(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}


def meta(architecture: str, **arguments: object) -> Tensors:
    with torch.device("meta"):
        return timm.create_model(architecture, **arguments).state_dict()


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def build(path: Path, architecture: str = TINY) -> nn.Module:
    return build_source(find_backbone(f"{architecture}@{path}"))


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "backbone.", "encoder.", "net.", "module._orig_mod.", "resnetv20_", "my/net/"],
)
def test_a_prefix_is_stripped_and_every_value_kept(tensors: Tensors, tmp_path: Path, prefix: str) -> None:
    save_file(under(prefix, tensors), tmp_path / "some.safetensors")
    found = build(tmp_path / "some.safetensors").state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (
            lambda t: {"epoch": 3, "state_dict": under("model.", t), "optimizer_states": [{}]},
            "state_dict.model.",
        ),
        (
            lambda t: {"model": t, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {0: t}}},
            "model.",
        ),
        (lambda t: {"state_dict": t, "state_dict_ema": {n: x + 1 for n, x in t.items()}}, "state_dict_ema."),
    ],
)
def test_trainers_checkpoints(
    tensors: Tensors, tmp_path: Path, wrap: Callable[[Tensors], object], prefix: str
) -> None:
    torch.save(wrap(tensors), tmp_path / "last.ckpt")
    found = build(tmp_path / "last.ckpt").state_dict()
    more = 1 if "ema" in prefix else 0
    assert torch.equal(found["conv1.0.weight"], tensors["conv1.0.weight"] + more)


def test_a_network_cut_in_an_nn_sequential(tensors: Tensors, tmp_path: Path) -> None:
    model = timm.create_model(TINY, num_classes=5)
    model.load_state_dict(tensors)
    cut = nn.Sequential(*list(model.children())[:-1])
    torch.save(cut.state_dict(), tmp_path / "cut.pth")
    found = build(tmp_path / "cut.pth").state_dict()
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in without_head(tensors).items()
    }


def test_another_or_no_classifier_leaves_the_trunk(tensors: Tensors) -> None:
    trunk = without_head(tensors)
    other = {"fc.1.weight": torch.zeros(3, 96), "fc.1.bias": torch.zeros(3)}
    wide = {"fc.weight": torch.zeros(5, 7), "fc.bias": torch.zeros(5)}
    for head, left_out in (
        ({}, ""),
        (other, "; 2 other tensors left out (fc.1.weight, fc.1.bias)"),
        (wide, ""),
    ):
        found = fit(trunk | head, TINY, "file")
        assert found.load("file").state_dict().keys() == trunk.keys()
        assert found.describe().startswith(
            "no classifier 'fc' that fits, so the trunk alone is used" + left_out
        )
    assert fit(tensors, TINY, "file").describe() == ""


def test_a_classifier_without_bias_gets_zeros(tensors: Tensors) -> None:
    found = fit({n: t for n, t in tensors.items() if n != "fc.bias"}, TINY, "file").load("file").state_dict()
    assert torch.equal(found["fc.weight"], tensors["fc.weight"])
    assert found["fc.bias"].tolist() == [0.0] * 5


def test_counters_of_batches_may_be_missing(tensors: Tensors) -> None:
    old = {name: tensor for name, tensor in tensors.items() if "num_batches" not in name}
    assert fit(old, TINY, "file").load("file").state_dict().keys() == tensors.keys()


def test_half_precision_becomes_single(tensors: Tensors) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    assert fit(half, TINY, "file").load("file").state_dict()["fc.weight"].dtype == torch.float32


@pytest.mark.parametrize("architecture", ["vgg16", "vgg16_bn"])
def test_torchvisions_vgg_is_renamed(architecture: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, architecture)().state_dict()
    found = fit(under("module.", theirs), architecture, "file")
    assert found.whole
    assert set(found.tensors) == set(meta(architecture))
    assert found.head["head.fc.weight"].shape == (1000, 4096)
    assert found.describe() == f"the prefix 'module.' stripped; renamed by timm's rules for {architecture}"


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_torchvisions_resnets_are_timms(architecture: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, architecture)().state_dict()
    assert fit(theirs, architecture, "file").describe() == ""


def test_a_transformer_of_another_input_size_is_resampled() -> None:
    theirs = timm.create_model("test_vit", img_size=96).state_dict()
    found = fit(theirs, "test_vit", "file")
    assert found.renamed
    assert found.tensors["pos_embed"].shape == meta("test_vit")["pos_embed"].shape
    assert torch.equal(found.load("file").state_dict()["cls_token"], theirs["cls_token"])


def test_kernels_are_not_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_SEARCH_S", 0)
    theirs = timm.create_model("test_vit", patch_size=32).state_dict()
    message = r"of another shape: 2 \(pos_embed is .*Is it the same family in another width, patch or input"
    with pytest.raises(WeightsMismatchError, match=message):
        fit(theirs, "test_vit", "file")


@pytest.mark.parametrize(
    ("theirs", "asked", "message"),
    [
        (
            "resnet18",
            "resnet34",
            r"100 of the 180 .*there; missing: 80 \(layer1\.2\.conv1\.weight, .*: --model resnet18@file$",
        ),
        (
            "resnet34",
            "resnet18",
            r"100 of the 100 .* are there; unknown: 96 \(layer1\.2\.conv1\.weight, .*those of resnet34: ",
        ),
        (
            "resnet50",
            "resnet18",
            r".*of another shape: 23 \(layer1\.0\.conv1\.weight is 64x64x1x1, not 64x64x3x3\).*of resnet50: ",
        ),
        ("test_resnet", "test_vit", r"0 of the \d+ .*missing: .*unknown: .*They are those of test_resnet: "),
    ],
)
def test_another_architecture_is_recognised(
    theirs: str, asked: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.backbones.fitting._SEARCH_S", 600)  # however slow this machine is
    with pytest.raises(WeightsMismatchError, match=rf"file does not fit {asked}: {message}"):
        fit(meta(theirs), asked, "file")


def test_the_prefix_is_told_where_tensors_are_missing(
    tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_SEARCH_S", 0)
    partial = dict(list(under("net.", without_head(tensors)).items())[:-3])
    message = r"are there \(without the prefix 'net\.'\); missing: [23] .*in another depth, or a part of the"
    with pytest.raises(WeightsMismatchError, match=message):
        fit(partial, TINY, "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: {n: x for n, x in t.items() if "running" not in n},
            r"batch norms have no statistics.*Save model\.state_dict",
        ),
        (
            lambda t: t | {"conv1.0.weight": t["conv1.0.weight"] * torch.nan},
            r"1 tensors of file hold .*diverged",
        ),
        (
            lambda t: under("encoder_q.", t) | under("encoder_k.", {n: x + 1 for n, x in t.items()}),
            r"file holds 2 networks that fit, under 'encoder_q\.', 'encoder_k\.'\. Save the one",
        ),
        (
            lambda t: {f"resnetv20_stage{i}_conv{i}_weight": torch.zeros(3) for i in range(4)},
            r"0 of the .*unknown: 4 .*counted by layer, as Gluon and Keras count them",
        ),
        (
            lambda t: {"a": torch.zeros(3)},
            r"unknown: 1 \(a\)\. Is it another architecture's, or another library",
        ),
    ],
)
def test_what_is_wrong_is_told(
    tensors: Tensors,
    change: Callable[[Tensors], Tensors],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "_SEARCH_S", 0)
    with pytest.raises(WeightsMismatchError, match=message):
        fit(change(tensors), TINY, "file").load("file")


def test_the_same_network_twice_is_one(tensors: Tensors) -> None:
    assert fit(under("a.", tensors) | under("b.", tensors), TINY, "file").whole


def test_an_unknown_architecture_suggests_the_nearest(tensors: Tensors) -> None:
    with pytest.raises(UnknownBackboneError, match=r"'resnet81'\. Did you mean resnet18"):
        fit(tensors, "resnet81", "file")


@pytest.mark.parametrize("content", [{"epoch": 3}, torch.zeros(3), []])
def test_a_file_without_named_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "some.pth")
    with pytest.raises(
        WeightsMismatchError, match=r"some\.pth holds a \w+ without tensors, not a state dict"
    ):
        build(tmp_path / "some.pth")


def test_a_whole_pickled_model_is_not_run(tmp_path: Path) -> None:
    torch.save(timm.create_model(TINY), tmp_path / "model.pth")
    message = r"can't be read as weights: it holds Python objects \(.*save_file\(model\.state_dict\(\)"
    with pytest.raises(WeightsMismatchError, match=message):
        build(tmp_path / "model.pth")


class Payload:
    """What a pickle would run when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.remove, ("a file of the user's",)


def test_a_payload_is_named_and_not_run(tensors: Tensors, tmp_path: Path) -> None:
    torch.save({"state_dict": tensors, "extra": Payload()}, tmp_path / "bad.pth")
    with pytest.raises(
        WeightsMismatchError, match=r"Python objects \((posix|nt)\.remove\), which are code to run"
    ):
        build(tmp_path / "bad.pth")
