"""Batch norms of fixed statistics, computed within the convolutions before them, while both learn.

A batch norm that keeps its statistics is an affine map of each channel, so a convolution and the norm after
it are one convolution, with the weights scaled and a bias: the same function of the same parameters, and the
same gradients, without the norm's own passes over the activations and the memory they take (Jacob et
al. 2018, section 3.2, for inference). `bench/training.py` measures what it brings.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
_TOLERANCE = 1e-3  # of the largest output
_MOVED = 0.1


def fold_norms(module: nn.Module, example: torch.Tensor) -> int:
    """Have convolutions compute the batch norms that follow them, in place; names and parameters stay.

    From then on these norms keep their statistics, whether the module is in training mode or not. Pairs
    are found by a pass of a copy: the norm takes what the convolution gave, and each runs once. If the
    copy, its norms' parameters moved a little, answers otherwise once it is folded (as something else
    takes a convolution's output, too), the module is left as it was.

    Args:
        module: A network or a part of one.
        example: What it takes, a batch of any size.

    Returns:
        How many norms were folded.
    """
    trial = copy.deepcopy(module).eval()
    _move_norms(trial)
    with torch.inference_mode():
        names, before = _find_pairs(trial, example)
        _fold(trial, names)
        after = trial(example)
    if not torch.allclose(after, before, rtol=0, atol=_TOLERANCE * float(before.abs().max())):
        return 0
    _fold(module, names)
    return len(names)


def _move_norms(module: nn.Module) -> None:
    """Change what norms do, so that norms which do nothing at the start hide no mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if type(part) in _NORMS:
                for tensor in part.parameters(recurse=False):
                    tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=_MOVED)


def _fold(module: nn.Module, names: Sequence[tuple[str, str]]) -> None:
    for conv_name, norm_name in names:
        conv: Any = module.get_submodule(conv_name)
        norm: Any = module.get_submodule(norm_name)
        conv._norm = (norm,)  # in a tuple, so that it is no submodule
        conv.__class__ = _folded(type(conv))
        norm.__class__ = _FOLDED_NORMS[type(norm)]


def _find_pairs(module: nn.Module, example: torch.Tensor) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """Names of convolutions and of the norms that take their output; and the module's output."""
    given: list[tuple[str, torch.Tensor]] = []
    taken: list[tuple[str, torch.Tensor]] = []
    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):

            def note_output(_: nn.Module, __: Any, output: torch.Tensor, name: str = name) -> None:
                given.append((name, output))

            hooks.append(part.register_forward_hook(note_output))
        elif isinstance(part, nn.BatchNorm2d) and type(part) in _NORMS and part.track_running_stats:

            def note_input(_: nn.Module, inputs: tuple[torch.Tensor], name: str = name) -> None:
                taken.append((name, inputs[0]))

            hooks.append(part.register_forward_pre_hook(note_input))
    output = module(example)
    for hook in hooks:
        hook.remove()
    runs = Counter(name for name, _ in (*given, *taken))
    source = {id(tensor): name for name, tensor in given}  # `given` keeps the tensors alive
    pairs = [(source[id(tensor)], name) for name, tensor in taken if id(tensor) in source]
    return [(conv, norm) for conv, norm in pairs if runs[conv] == runs[norm] == 1], output


class _FoldedConv:
    """Before a kind of convolution: its weight and bias as they are with the norm behind it."""

    _norm: tuple[nn.BatchNorm2d]
    _parameters: dict[str, nn.Parameter | None]

    @property
    def weight(self) -> torch.Tensor:
        """`(C, c, h, w)`."""
        own = cast("torch.Tensor", self._parameters["weight"])
        return own * _scale(self._norm[0]).view(-1, 1, 1, 1)

    @property
    def bias(self) -> torch.Tensor | None:
        """`(C,)`."""
        own, norm = self._parameters["bias"], self._norm[0]
        mean = cast("torch.Tensor", norm.running_mean)
        shifted = -mean if own is None else own - mean
        bias = shifted * _scale(norm)
        return bias if norm.bias is None else bias + norm.bias


class _FoldedNorm(nn.BatchNorm2d):
    """What is left of a norm: nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, H, W)`."""
        return x


class _FoldedNormAct(BatchNormAct2d):
    """What is left of timm's norm: its activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, H, W)`."""
        activated: torch.Tensor = self.act(self.drop(x))
        return activated


_FOLDED_NORMS: dict[type[nn.BatchNorm2d], type[nn.BatchNorm2d]] = {
    nn.BatchNorm2d: _FoldedNorm,
    BatchNormAct2d: _FoldedNormAct,
}


def _folded(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    return type(f"Folded{kind.__name__}", (_FoldedConv, kind), {})


def _scale(norm: nn.BatchNorm2d) -> torch.Tensor:
    """What a norm multiplies each channel by, `(C,)`."""
    root = torch.rsqrt(cast("torch.Tensor", norm.running_var) + norm.eps)
    return root if norm.weight is None else root * norm.weight
