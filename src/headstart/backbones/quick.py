"""Layers that train faster on a CPU than torch's and timm's, and compute the same.

`bench/training.py` measures what they bring.
"""

from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from headstart.backbones.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, is_depthwise
from headstart.backbones.padding import QuickConv2dSame

_LEAST, _MOST = 0.0, 6.0


class QuickReLU6(nn.ReLU6):
    """`nn.ReLU6`, whose gradient is told by what it gave.

    torch keeps what it took, and where it works in place has to copy that before.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clip to 0 to 6, any shape."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return super().forward(x)
        clipped: torch.Tensor = _Clip.apply(x, self.inplace)
        return clipped


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, inplace: bool) -> torch.Tensor:
        if inplace:
            ctx.mark_dirty(x)
        clipped = x.clamp_(_LEAST, _MOST) if inplace else x.clamp(_LEAST, _MOST)
        ctx.save_for_backward(clipped)
        return clipped

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.ops.aten.hardtanh_backward(gradients[0], *ctx.saved_tensors, _LEAST, _MOST), None


_QUICK: dict[type[nn.Module], type[nn.Module]] = {nn.ReLU6: QuickReLU6, Conv2dSame: QuickConv2dSame}
_QUICK_DEPTHWISE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: DepthwiseConv2d,
    Conv2dSame: DepthwiseConv2dSame,
}


def quicken(module: nn.Module) -> None:
    """Replace layers in place by quick ones of the same function, on the same parameters."""
    for part in module.modules():
        quick = _QUICK_DEPTHWISE if isinstance(part, nn.Conv2d) and is_depthwise(part) else _QUICK
        part.__class__ = quick.get(type(part), type(part))
