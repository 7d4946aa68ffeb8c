"""1x1 convolutions whose weights' gradient is a matrix product.

A 1x1 convolution is one matrix product over all pixels, and so is each of its gradients. On processors
without AVX-512, oneDNN's kernel for the weights' reaches two thirds of what the product does; the other two
are as fast, and stay. `bench/training.py` measures what it brings.
"""

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with a kernel of one pixel; parameters, names and results are the same."""

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if not (_is_slow(x) and weight.requires_grad):
            plain: torch.Tensor = super()._conv_forward(x, weight, bias)
            return plain
        convolved: torch.Tensor = _Pointwise.apply(x, weight, bias)
        return convolved


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether it is one matrix product: each pixel by itself, all channels together."""
    return (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)


def _is_slow(x: torch.Tensor) -> bool:
    """Whether gradients will be wanted of a float32 convolution on a processor without AVX-512."""
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
        and _has_narrow_vectors()
    )


@cache
def _has_narrow_vectors() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class _Pointwise(torch.autograd.Function):
    """`(N, c, H, W)` by `(C, c, 1, 1)`, and a bias `(C,)` or none."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return conv2d(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_input, wants_weight, wants_bias = ctx.needs_input_grad
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        by_pixel = _by_pixel(gradient)
        return (
            _input_gradient(gradient, x, weight) if wants_input else None,
            (by_pixel.t() @ _by_pixel(x)).view_as(weight) if wants_weight else None,
            by_pixel.sum(0) if wants_bias else None,
        )


def _by_pixel(x: torch.Tensor) -> torch.Tensor:
    """`(N, C, H, W)` in channels-last memory as `(NHW, C)`, not copied."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _input_gradient(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False]
    )[0]
    return found
