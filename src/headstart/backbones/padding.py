"""Convolutions padded as TensorFlow pads, without passes over the activations that nothing needs.

torch's padding fills its whole output before it copies its input into it, and copies the gradient out of
the larger one, although whoever comes next can read it where it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding
from torch.nn.functional import conv2d


class QuickConv2dSame(Conv2dSame):
    """timm's `Conv2dSame`; parameters, names and results are the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve `(N, C, H, W)`."""
        return conv2d(self.padded(x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """What is convolved: zeros on both sides, so that a window begins at each stride in `x`."""
        missing = [
            get_same_padding(size, *along)
            for size, *along in zip(x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        ]
        if not any(missing):
            return x
        padded: torch.Tensor = _Pad.apply(x, missing)
        return padded


class _Pad(torch.autograd.Function):
    """Zeros around `(N, C, H, W)`: so many rows and columns, half of them before."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, missing: Sequence[int]) -> torch.Tensor:
        ctx.box = [(lack // 2, size) for lack, size in zip(missing, x.shape[2:], strict=True)]
        n, channels, height, width = x.shape
        padded = x.new_empty(n, height + missing[0], width + missing[1], channels).permute(0, 3, 1, 2)
        for dim, (start, size) in enumerate(ctx.box, 2):
            padded.narrow(dim, 0, start).zero_()
            padded.narrow(dim, start + size, padded.shape[dim] - start - size).zero_()
        _inside(padded, ctx.box).copy_(x)
        return padded

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _inside(gradients[0], ctx.box), None


def _inside(padded: torch.Tensor, box: Sequence[tuple[int, int]]) -> torch.Tensor:
    (top, height), (left, width) = box
    return padded[:, :, top : top + height, left : left + width]
