"""A cut network is the same network in two parts."""

import pytest
import timm
import torch
from torch import nn

from headstart.backbones.cut import split
from headstart.backbones.network import Network
from headstart.backbones.stages import find_stage, find_stages
from headstart.config import Preprocessing
from headstart.errors import ConfigError

_MEAN = (0.5, 0.5, 0.5)


def make(name: str, size_px: int = 64) -> Network:
    torch.manual_seed(0)
    sizes = {"img_size": size_px} if name.startswith("vit") else {}
    backbone = timm.create_model(name, num_classes=0, **sizes)
    preprocessing = Preprocessing(size_px, size_px, "bicubic", _MEAN, _MEAN)
    return Network(backbone, nn.Linear(backbone.num_features, 3), preprocessing).eval()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("tf_efficientnet_lite0", "blocks.4"),
        ("resnet18", "layer3"),
        ("convnext_atto", "stages.2"),
        ("vit_tiny_patch16_224", "blocks.9"),
        ("regnetx_002", "s3"),
    ],
)
def test_lower_and_tail_together_are_the_network(name: str, stage: str) -> None:
    network = make(name)
    stages = find_stages(network)
    lower, tail = split(network, stages[find_stage(stages, stage)])
    views = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(tail(lower(views)), network(views), rtol=1e-4, atol=1e-5)
    learning = {name for name, _ in tail.named_parameters()}
    above = {name for later in stages[find_stage(stages, stage) :] for name in later.parameters}
    assert above <= learning
    below = {name for earlier in stages[: find_stage(stages, stage)] for name in earlier.parameters}
    assert below & learning <= {"backbone.cls_token", "backbone.pos_embed"}


def test_what_the_tail_learns_goes_back_into_the_network() -> None:
    network = make("resnet18")
    lower, tail = split(network, find_stages(network)[-1])
    with torch.no_grad():
        for parameter in tail.parameters():
            parameter.mul_(1.1)
    network.load_state_dict(tail.state_dict(), strict=False)
    views = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(tail(lower(views)), network(views), rtol=1e-4, atol=1e-5)


def test_a_network_can_not_be_cut_before_its_first_stage() -> None:
    network = make("resnet18")
    with pytest.raises(ConfigError, match="ResNet can't be cut at stem"):
        split(network, find_stages(network)[0])
