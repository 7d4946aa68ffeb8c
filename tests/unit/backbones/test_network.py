"""The network to train: timm's own, with a head of ours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.convert import load_trunk_module
from headstart.backbones.network import Network, make_network, set_head, timm_tensors
from headstart.backbones.trunk import Trunk, open_trunk

TINY = ["test_resnet", "test_vit", "test_efficientnet"]  # timm's own test models, 160 px
N_CLASSES = 3


@pytest.fixture(scope="module")
def open_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trunk]:
    folder = tmp_path_factory.mktemp("tiny")

    def open_random(architecture: str) -> Trunk:
        path = folder / f"{architecture}.safetensors"
        if not path.exists():
            torch.manual_seed(1)
            save_file(timm.create_model(architecture, num_classes=7).state_dict(), path)
        return open_trunk(find_backbone(f"{architecture}@{path}"), folder)

    return open_random


@pytest.fixture(scope="module")
def trunk(open_tiny: Callable[[str], Trunk]) -> Trunk:
    return open_tiny("test_resnet")


def random_views(size_px: int = 160, n: int = 2) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def normalize(views: torch.Tensor, trunk: Trunk) -> torch.Tensor:
    settings = trunk.preprocessing
    return ((views / 255 - torch.tensor(settings.mean)) / torch.tensor(settings.std)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("architecture", TINY)
def test_plain_timm_gives_the_same_logits(architecture: str, open_tiny: Callable[[str], Trunk]) -> None:
    trunk = open_tiny(architecture)
    network = make_network(trunk, N_CLASSES).eval()
    plain = timm.create_model(trunk.architecture, num_classes=N_CLASSES).eval()
    tensors = timm_tensors(network, trunk.classifier)
    assert {tensor.dtype for tensor in tensors.values()} <= {np.dtype(np.float32), np.dtype(np.int64)}
    plain.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    views = random_views()
    with torch.inference_mode():
        torch.testing.assert_close(network(views), plain(normalize(views, trunk)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", TINY)
def test_pretrained_features_are_the_trunks(architecture: str, open_tiny: Callable[[str], Trunk]) -> None:
    trunk = open_tiny(architecture)
    with torch.inference_mode():
        found = make_network(trunk, N_CLASSES).eval().features(random_views())
        assert found.shape == (2, trunk.feature_dim)
        assert (found == load_trunk_module(trunk)(random_views())).all()


def test_tensors_are_copies(trunk: Trunk) -> None:
    network = make_network(trunk, N_CLASSES)
    tensors = timm_tensors(network, trunk.classifier)
    before = tensors["fc.bias"].copy(), tensors["conv1.0.weight"].copy()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert (tensors["fc.bias"] == before[0]).all()
    assert (tensors["conv1.0.weight"] == before[1]).all()


def test_names_are_those_that_rules_are_written_for(trunk: Trunk) -> None:
    names = list(make_network(trunk, N_CLASSES).state_dict())
    assert {name.split(".")[0] for name in names} == {"backbone", "head"}  # mean and std are not saved
    assert [name for name in names if name.startswith("head.")] == ["head.weight", "head.bias"]
    assert not [name for name in names if name.startswith("backbone.fc")]


def test_other_sizes(trunk: Trunk) -> None:
    network = make_network(trunk, N_CLASSES).eval()
    for size_px in (64, 96):
        assert network(random_views(size_px)).shape == (2, N_CLASSES)


def test_seed_decides_all_and_leaves_the_global_state(trunk: Trunk) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (make_network(trunk, N_CLASSES, pretrained=False, seed=s) for s in (1, 1, 2))
    assert torch.rand(1) == expected
    assert all(
        (a == b).all() for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    )
    for layer in ("backbone.conv1.0.weight", "head.weight"):
        assert (first.state_dict()[layer] != other.state_dict()[layer]).any()


def test_head_is_xavier_with_zero_bias(trunk: Trunk) -> None:
    head = make_network(trunk, 40).head
    limit = (6 / (trunk.feature_dim + 40)) ** 0.5
    assert (head.bias == 0).all()
    assert 0.95 * limit < head.weight.abs().max() <= limit


def test_from_scratch_no_weights_are_read(trunk: Trunk) -> None:
    network = make_network(replace(trunk, folder=Path("nowhere")), N_CLASSES, pretrained=False)
    assert network(random_views(64)).shape == (2, N_CLASSES)
    pretrained = make_network(trunk, N_CLASSES).state_dict()
    assert (network.state_dict()["backbone.conv1.0.weight"] != pretrained["backbone.conv1.0.weight"]).any()


@pytest.fixture
def network(trunk: Trunk) -> Network:
    return make_network(trunk, N_CLASSES).eval()


def test_warm_start(network: Network, trunk: Trunk) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(N_CLASSES, trunk.feature_dim)).astype(np.float32)
    bias = rng.normal(size=N_CLASSES).astype(np.float32)
    parameters = list(network.head.parameters())
    set_head(network, weight, bias)
    assert [a is b for a, b in zip(network.head.parameters(), parameters, strict=True)] == [True, True]
    with torch.inference_mode():
        expected = network.features(random_views()).numpy() @ weight.T + bias
        np.testing.assert_allclose(network(random_views()).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_head_of_another_shape_is_refused(network: Network, trunk: Trunk) -> None:
    one_row = np.zeros((1, trunk.feature_dim), np.float32)
    with pytest.raises(ValueError, match=r"A head of \(3, 96\) can't be set to a weight \(1, 96\)"):
        set_head(network, one_row, np.zeros(1, np.float32))  # copying would spread the row over all


def test_gradients_reach_both_parts(network: Network) -> None:
    network(random_views(64)).sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []
