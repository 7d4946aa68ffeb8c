"""Depthwise convolutions whose bfloat16 gradients are fast on a CPU.

oneDNN has bfloat16 kernels for what a depthwise convolution does forward, but not for all that it does
backward: the gradient of a 5x5 kernel, and the input's gradient under a stride of 2, take ten to eighty
times as long as the forward pass, so networks of mobile size train slower in bfloat16 than in float32.
Both can be had from kernels that are fast: a large kernel's gradient is put together from those of 3x3
kernels on shifted inputs, and a strided input gradient is a plain convolution of the spread-out output
gradient. Everything else is left to torch. `bench/training.py` measures what it brings.
"""

from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from headstart.backbones.padding import QuickConv2dSame

_FAST_KERNEL = 3


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one filter a channel; parameters, names and results are the same."""

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if not _is_slow(x):
            plain: torch.Tensor = super()._conv_forward(x, weight, bias)
            return plain
        return _filter(x, weight, bias, self.stride[0], int(self.padding[0]))


class DepthwiseConv2dSame(QuickConv2dSame):
    """Likewise timm's, which pads as TensorFlow does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter `(N, C, H, W)`."""
        if not _is_slow(x):
            return super().forward(x)
        return _filter(self.padded(x), self.weight, self.bias, self.stride[0], 0)


def is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether there is a filter a channel; not dilated, padded with zeros, of equal strides."""
    return (
        1 < conv.groups == conv.in_channels == conv.out_channels
        and conv.kernel_size[0] == conv.kernel_size[1] >= _FAST_KERNEL
        and conv.stride[0] == conv.stride[1]
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and conv.padding[0] == conv.padding[1] < conv.kernel_size[0]
    )


def _is_slow(x: torch.Tensor) -> bool:
    """Whether gradients will be wanted of a bfloat16 convolution on a CPU."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return kind == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled()


def _filter(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int
) -> torch.Tensor:
    filtered: torch.Tensor = _Depthwise.apply(x.bfloat16(), weight.bfloat16(), stride, padding)
    return filtered if bias is None else filtered + bias.bfloat16().view(1, -1, 1, 1)


class _Depthwise(torch.autograd.Function):
    """Filter `(N, C, H, W)` by `(C, 1, k, k)`, `padding` zeros on each side."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        wants_input, wants_weight, *_ = ctx.needs_input_grad
        return (
            _input_gradient(gradient, x, weight, ctx.stride, ctx.padding) if wants_input else None,
            _weight_gradient(gradient, x, weight, ctx.stride, ctx.padding) if wants_weight else None,
            None,
            None,
        )


def _input_gradient(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    """The convolution's transpose: the gradient, spread out by the stride, filtered by the turned kernel."""
    margin = weight.shape[2] - 1 - padding
    turned = weight.flip(2, 3).contiguous(memory_format=torch.channels_last)
    if stride == 1:
        return conv2d(gradient, turned, padding=margin, groups=len(weight))
    height, width = (size + weight.shape[2] - 1 for size in x.shape[2:])
    return conv2d(_place(gradient, (height, width), margin, margin, stride), turned, groups=len(weight))


def _weight_gradient(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    """The kernel's gradient, window by window of 3x3: to shift a window is to shift the gradient back."""
    last = weight.shape[2] - _FAST_KERNEL
    starts = sorted({*range(0, last, _FAST_KERNEL if stride == 1 else stride), last})
    padded = pad(x, (padding,) * 4) if padding else x  # oneDNN is slow where it has to pad by 2
    height, width = ((size - _FAST_KERNEL) // stride + 1 for size in padded.shape[2:])
    whole = torch.empty_like(weight)
    window = weight[:, :, :_FAST_KERNEL, :_FAST_KERNEL].contiguous(memory_format=torch.channels_last)
    for top, left in product(starts, starts):
        _, part, _ = torch.ops.aten.convolution_backward(
            _place(gradient, (height, width), top // stride, left // stride),
            padded,
            window,
            None,
            [stride, stride],
            [0, 0],
            [1, 1],
            False,
            [0, 0],
            len(weight),
            [False, True, False],
        )
        whole[:, :, top : top + _FAST_KERNEL, left : left + _FAST_KERNEL] = part
    return whole


def _place(gradient: torch.Tensor, size: tuple[int, int], top: int, left: int, step: int = 1) -> torch.Tensor:
    """Zeros of a size, the gradient's rows and columns `step` apart from `top` and `left` on."""
    rows, columns = gradient.shape[2:]
    if (rows, columns) == size:
        return gradient
    bottom, right = top + (rows - 1) * step + 1, left + (columns - 1) * step + 1
    n, channels = gradient.shape[:2]
    placed = gradient.new_zeros((n, *size, channels)).permute(0, 3, 1, 2)
    placed[:, :, top:bottom:step, left:right:step] = gradient
    return placed
