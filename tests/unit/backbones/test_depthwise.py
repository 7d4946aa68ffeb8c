"""Quickened depthwise convolutions are the same function, with the same gradients."""

import copy

import pytest
import timm
import torch
from torch import nn

from headstart.backbones.depthwise import DepthwiseConv2d, _Depthwise
from headstart.backbones.quick import quicken


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_gradients_are_those_of_the_function(kernel: int, stride: int, padding: int) -> None:
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(1, 2, 7, 8, dtype=torch.double, generator=generator, requires_grad=True)
    weight = torch.randn(2, 1, kernel, kernel, dtype=torch.double, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: _Depthwise.apply(a, b, stride, padding), (x, weight))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto"])
def test_a_network_learns_as_before_in_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=3).eval()
    quick = copy.deepcopy(plain)
    quicken(quick)
    assert any("Depthwise" in type(module).__name__ for module in quick.modules())
    assert list(quick.state_dict()) == list(plain.state_dict())
    pixels, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 2])
    gradients = []
    for model, dtype in ((plain, torch.float32), (plain, torch.bfloat16), (quick, torch.bfloat16)):
        model.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            logits = model(pixels)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    exact, slow, fast = gradients
    assert (fast - exact).norm() < 1.5 * (slow - exact).norm() + 1e-3 * exact.norm()


def test_float32_stays_bit_equal() -> None:
    conv = nn.Conv2d(4, 4, 5, padding=2, groups=4)
    quick = nn.Sequential(copy.deepcopy(conv))
    quicken(quick)
    assert isinstance(quick[0], DepthwiseConv2d)
    x = torch.randn(1, 4, 9, 9)
    assert torch.equal(quick(x), conv(x))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, groups=4, stride=(1, 2)),
        nn.Conv2d(4, 4, 1, groups=4),
    ],
)
def test_other_convolutions_are_left_alone(conv: nn.Conv2d) -> None:
    module = nn.Sequential(conv)
    quicken(module)
    assert module[0] is conv
