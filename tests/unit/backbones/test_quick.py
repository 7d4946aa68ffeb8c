"""Quick layers are the same function, with the same gradients, to the bit in float32."""

import copy

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from headstart.backbones.padding import QuickConv2dSame
from headstart.backbones.quick import QuickReLU6, quicken

LAST = torch.channels_last


def gradients(model: nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and gradients, of the input first."""
    x = pixels.clone(memory_format=torch.preserve_format).requires_grad_()
    model.zero_grad()
    output = model(x)
    output.square().sum().backward()
    grads = [x.grad, *(p.grad for p in model.parameters())]
    return output.detach(), torch.cat([grad.flatten() for grad in grads if grad is not None])


def pair(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    quick = copy.deepcopy(module)
    quicken(quick)
    return module, quick


@pytest.mark.parametrize("inplace", [True, False])
def test_relu6_is_clipped_alike_at_and_beyond_its_bounds(inplace: bool) -> None:
    plain, quick = pair(nn.Sequential(nn.Hardtanh(-9, 9), nn.ReLU6(inplace=inplace)))
    assert isinstance(quick[1], QuickReLU6)
    x = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 3.0, 6.0, 6.5, 8.0, torch.inf])
    wanted, found = gradients(plain, x), gradients(quick, x)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    with torch.no_grad():
        assert torch.equal(quick(x.clone()), plain(x.clone()))


def test_relu6_keeps_no_copy_of_what_it_took() -> None:
    kept: list[torch.Tensor] = []
    x = torch.randn(8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        clipped = QuickReLU6(inplace=True)(x * 2)
    assert {tensor.data_ptr() for tensor in kept if tensor.numel() == 8} == {clipped.data_ptr()}


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (9, 9), (3, 2)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (5, 1), (3, 2), ((3, 5), 1)])
@pytest.mark.parametrize("groups", [1, 4])
def test_same_padding_is_timms(
    size: tuple[int, int],
    stride: int | tuple[int, int],
    kernel: int | tuple[int, int],
    dilation: int,
    groups: int,
) -> None:
    torch.manual_seed(0)
    conv = Conv2dSame(4, 4, kernel, stride, dilation=dilation, groups=groups)
    plain, quick = pair(nn.Sequential(conv).double())
    assert isinstance(quick[0], QuickConv2dSame)
    x = torch.randn(2, 4, *size, dtype=torch.double).contiguous(memory_format=LAST)
    wanted, found = gradients(plain, x), gradients(quick, x)
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])


def test_a_network_learns_as_before_to_the_bit_in_float32() -> None:
    torch.manual_seed(0)
    plain, quick = pair(
        timm.create_model("tf_efficientnet_lite0", num_classes=3).eval().to(memory_format=LAST)
    )
    assert list(quick.state_dict()) == list(plain.state_dict())
    assert {type(part).__name__ for part in quick.modules()} >= {"QuickReLU6", "DepthwiseConv2dSame"}
    x = torch.randn(2, 3, 65, 64).contiguous(memory_format=LAST)
    wanted, found = gradients(plain, x), gradients(quick, x)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
