"""Low-rank updates: nothing at first, all that learns meanwhile, and merged away in the end."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import pytest
import timm
import torch
from torch import nn

from headstart.backbones.freeze import Rule, make_plan
from headstart.backbones.lora import FROZEN, add_lora, merge_lora
from headstart.backbones.network import Network
from headstart.config import Preprocessing
from headstart.errors import ConfigError

RANK = 3


def make(name: str = "test_vit", size_px: int = 160) -> Network:
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0)
    half = (0.5, 0.5, 0.5)
    head = nn.Linear(backbone.num_features, 3)
    return Network(backbone, head, Preprocessing(size_px, size_px, "bicubic", half, half)).eval()


def names_of(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters()}


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 160, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture
def with_lora() -> Network:
    network = make()
    add_lora(network, RANK, names_of(network))
    return network


def learn(network: Network) -> None:
    """Move the updates as a training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))


@torch.inference_mode()
def test_at_first_nothing_changes(with_lora: Network, views: torch.Tensor) -> None:
    assert torch.equal(with_lora(views), make()(views))


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["test_vit", "test_vit3"])
def test_merged_logits_equal_unmerged(architecture: str, views: torch.Tensor) -> None:
    network, plain = make(architecture), make(architecture)
    add_lora(network, RANK, names_of(network))
    learn(network)
    unmerged = network(views)
    assert (unmerged - plain(views)).abs().max() > 1e-3
    merge_lora(network)
    torch.testing.assert_close(network(views), unmerged, atol=1e-5, rtol=1e-5)
    assert list(network.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(plain(views), unmerged, atol=1e-5, rtol=1e-5)


def test_only_the_updates_and_the_head_learn(with_lora: Network) -> None:
    names = [name for name, _ in with_lora.named_parameters()]
    plan = make_plan(names, (FROZEN, Rule(r"head\..*", 1.0), Rule(r"backbone\..*", 0.5)))
    learning = {name for name in names if plan[name] > 0}
    assert {name for name in names if ".lora_" in name} | {"head.weight", "head.bias"} == learning
    matrices = {name.split(".lora_")[0].rpartition(".")[2] for name in learning if ".lora_" in name}
    assert matrices == {"qkv", "proj", "fc1", "fc2"}
    sizes = {name: p.numel() for name, p in with_lora.named_parameters()}
    assert sum(sizes[name] for name in learning) < sum(sizes.values()) / 5
    shapes = dict(with_lora.named_parameters())
    assert shapes["backbone.blocks.0.attn.qkv.lora_A.default.weight"].shape[0] == RANK


def test_frozen_matrices_get_no_updates() -> None:
    network = make()
    add_lora(network, RANK, {name for name in names_of(network) if ".blocks.5." in name})
    blocks = {name.split(".")[2] for name in names_of(network) if ".lora_" in name}
    assert blocks == {"5"}


def test_the_seed_decides_where_updates_start_and_the_global_state_stays() -> None:
    found = []
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for seed in (1, 1, 2):
        network = make()
        torch.manual_seed(5)
        add_lora(network, RANK, names_of(network), seed=seed)
        found.append(network.state_dict()["backbone.blocks.0.attn.qkv.lora_A.default.weight"])
    assert torch.rand(1) == expected
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_other_networks_are_refused_and_told_what_to_do(architecture: str) -> None:
    network = make(architecture)
    with pytest.raises(ConfigError, match=r"vision transformer, and \w+ is none.*take --norm-bias-only"):
        add_lora(network, RANK, names_of(network))
    assert not [name for name in names_of(network) if "lora" in name]


def test_nothing_to_update_is_said() -> None:
    with pytest.raises(ConfigError, match="--lora finds no matrix to update"):
        add_lora(make(), RANK, {"head.weight"})


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def hide(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "peft" else find_spec(name, package)

    monkeypatch.setattr("importlib.util.find_spec", hide)
    network = make()
    with pytest.raises(ConfigError, match=r"pip install 'headstart\[lora\]'"):
        add_lora(network, RANK, names_of(network))
