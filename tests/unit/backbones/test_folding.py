"""Folded batch norms are the same function, with the same gradients."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from headstart.backbones.folding import fold_norms
from headstart.backbones.freeze import train_mode
from headstart.backbones.quick import quicken

NETWORKS = ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"]


def network(name: str, dtype: torch.dtype = torch.double) -> nn.Module:
    """A network with three classes whose norms all do something."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, drop_rate=0.0, drop_path_rate=0.0)
    for norm in norms(model):
        nn.init.normal_(norm.running_mean, 0, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return model.to(dtype)


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]


def gradients(model: nn.Module, pixels: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Of all parameters, under frozen statistics, in one vector."""
    train_mode(model, freeze_statistics=True)
    model.zero_grad()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        logits = model(pixels)
    cross_entropy(logits.to(pixels.dtype), torch.tensor([0, 2])).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_the_plain_network(name: str) -> None:
    plain, pixels = network(name), torch.randn(2, 3, 64, 64, dtype=torch.double)
    folded = copy.deepcopy(plain)
    assert fold_norms(folded, pixels[:1]) == len(norms(plain))
    assert list(folded.state_dict()) == list(plain.state_dict())
    train_mode(plain, freeze_statistics=True)
    folded.train()
    torch.testing.assert_close(folded(pixels), plain(pixels), rtol=1e-9, atol=1e-9)
    before = {key: value.clone() for key, value in folded.state_dict().items()}
    wanted, found = gradients(plain, pixels), gradients(folded, pixels)
    assert len(found) == len(wanted) == sum(p.numel() for p in plain.parameters())
    assert (found - wanted).norm() < 1e-9 * wanted.norm()
    for key, value in folded.state_dict().items():
        assert torch.equal(value, before[key]), key  # statistics, above all


def test_in_bfloat16_it_is_as_near_to_the_exact_gradient_as_the_plain_network_is() -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    plain = network("tf_efficientnet_lite0", torch.float32)
    folded = copy.deepcopy(plain)
    quicken(folded)
    fold_norms(folded, pixels[:1])
    exact = gradients(plain, pixels)
    rough, found = gradients(plain, pixels, torch.bfloat16), gradients(folded, pixels, torch.bfloat16)
    assert (found - exact).norm() < 1.5 * (rough - exact).norm()


def test_it_learns_what_the_plain_network_learns() -> None:
    plain, pixels = network("resnet18"), torch.randn(2, 3, 32, 32, dtype=torch.double)
    folded = copy.deepcopy(plain)
    fold_norms(folded, pixels[:1])
    for model in (plain, folded):
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        for _ in range(3):
            gradients(model, pixels)
            optimizer.step()
    for (key, wanted), found in zip(plain.state_dict().items(), folded.state_dict().values(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8, msg=key)


def test_a_copy_is_folded_by_its_own_norms() -> None:
    model, pixels = network("resnet18"), torch.randn(1, 3, 32, 32, dtype=torch.double)
    fold_norms(model, pixels)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for norm in norms(copied):
            norm.bias.add_(1)
    assert not torch.allclose(copied.eval()(pixels), model.eval()(pixels))


class Twice(nn.Module):
    """One convolution before two norms, and its output is used besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.conv(x)) + self.second(self.conv(x))


class Shared(Twice):
    """Something else takes what the norm takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.first(y) + y


@pytest.mark.parametrize("module", [Twice(), Shared(), nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1))])
def test_what_is_no_pair_is_left_alone(module: nn.Module) -> None:
    x = torch.randn(2, 3, 8, 8)
    wanted, kinds = module.eval()(x), [type(part) for part in module.modules()]
    assert fold_norms(module.train(), x) == 0
    assert [type(part) for part in module.modules()] == kinds
    assert all(part.training for part in module.modules())
    assert torch.equal(module.eval()(x), wanted)
