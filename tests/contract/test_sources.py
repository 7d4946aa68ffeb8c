"""Weights of other people's files, from the file to a run that predicts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import headstart as hs
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.network import embed, load_model, make_network
from headstart.backbones.trunk import open_trunk
from headstart.backbones.weights import build_source
from headstart.errors import ConfigError
from headstart.progress import Advance

TINY = ["test_resnet", "test_vit"]  # timm's own test models, 160 px


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        yield lambda _: None

    def note(self, message: str) -> None:
        self.lines.append(message)


def save_headless(path: Path, architecture: str) -> dict[str, torch.Tensor]:
    """Random weights as a trainer leaves them: under a prefix, and without the classifier."""
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0)
    torch.save({"state_dict": {f"net.{name}": tensor for name, tensor in model.state_dict().items()}}, path)
    return model.state_dict()


@pytest.mark.parametrize("architecture", TINY)
def test_a_trunk_without_classifier_becomes_a_run(
    architecture: str, small_set: Path, tmp_path: Path, cache: Path
) -> None:
    file, notes = tmp_path / "last.ckpt", Notes()
    tensors = save_headless(file, architecture)
    config = hs.TrainConfig(model=f"{architecture}@{file}", mirror="off", runtime="torch-fp32")
    result = hs.train(small_set, config, out=tmp_path / "run", cache=cache, progress=notes)
    assert f"{file}: the prefix 'state_dict.net.' stripped; no classifier" in "\n".join(notes.lines)
    model = hs.load(result.run, cache=cache)
    assert model.trunk.source_classes == ()
    assert model.trunk.source_head[0].shape == (0, model.trunk.feature_dim)
    saved = timm.create_model(f"local-dir:{result.run}", pretrained=True).state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in tensors.items())
    images = sorted(small_set.rglob("*.jpg"))[:4]
    again = hs.load(result.run, cache=tmp_path / "empty").predict_proba(images)
    np.testing.assert_allclose(again, model.predict_proba(images), atol=1e-3)


def test_a_trunk_without_classifier_can_be_trained(tmp_path: Path, cache: Path) -> None:
    save_headless(tmp_path / "last.ckpt", "test_resnet")
    trunk = open_trunk(find_backbone(f"test_resnet@{tmp_path / 'last.ckpt'}"), cache)
    views = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    for pretrained in (True, False):
        assert make_network(trunk, 3, pretrained=pretrained)(views).shape == (1, 3)
    assert load_model(trunk).num_classes == 0


@pytest.mark.parametrize(("architecture", "feature_dim"), [("resnet50", 2048), ("vit_tiny_patch16_224", 192)])
def test_random_weights_of_a_known_architecture_are_loaded(
    architecture: str, feature_dim: int, tmp_path: Path
) -> None:
    arguments = {"img_size": 64} if "vit" in architecture else {}
    theirs = timm.create_model(architecture, num_classes=3, **arguments)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    found = build_source(find_backbone(f"{architecture}@{tmp_path / 'w.safetensors'}"))
    pixels = torch.zeros(1, 3, 224, 224) if "vit" in architecture else torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        assert embed(found, pixels).shape == (1, feature_dim)
    head = found.get_classifier().weight
    assert torch.equal(head, theirs.get_classifier().weight)


def test_a_transformer_takes_its_own_size_only(small_set: Path, tmp_path: Path, cache: Path) -> None:
    save_headless(tmp_path / "vit.ckpt", "test_vit")
    config = hs.TrainConfig(
        model=f"test_vit@{tmp_path / 'vit.ckpt'}", recipe="finetune", runtime="torch-fp32"
    )
    with pytest.raises(
        ConfigError, match=r"test_vit takes views of 160 pixels only, so --input-px 64 can't be"
    ):
        hs.train(small_set, config, hs.TuneConfig(input_px=64), out=tmp_path / "run", cache=cache)
