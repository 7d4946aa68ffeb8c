"""Cut a network in two: a lower part that stays frozen, and an upper part that learns from its output.

Both halves are copies of the whole in which the other half's modules pass their input through, so
every module and parameter keeps its name: rules, stages and timm's own names go on meaning the same.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from headstart.backbones.network import Network, Normalize
from headstart.backbones.stages import Stage
from headstart.errors import ConfigError

_PREFIX = "backbone."


class Lower(nn.Module):
    """Views `(N, H, W, 3) uint8` to what enters the first stage above the cut, `(N, ...)`."""

    def __init__(self, backbone: nn.Module, normalize: Normalize) -> None:
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Activations at the cut."""
        backbone: Any = self.backbone
        activations: torch.Tensor = backbone.forward_features(self.normalize(views))
        return activations


class Tail(nn.Module):
    """Activations at the cut to logits `(N, K)`; parameters are named as in the whole network."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def features(self, activations: torch.Tensor) -> torch.Tensor:
        """Features `(N, d)` of activations, in whichever precision they were stored."""
        backbone: Any = self.backbone
        upper = backbone.forward_features(activations.float())
        features: torch.Tensor = backbone.forward_head(upper, pre_logits=True)
        return features

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """Logits of activations."""
        logits: torch.Tensor = self.head(self.features(activations))
        return logits


def split(network: Network, stage: Stage) -> tuple[Lower, Tail]:
    """Copy a network into what lies below a stage and what lies from it on.

    Returns:
        Both in eval mode; `tail(lower(views))` equals `network(views)`.

    Raises:
        ConfigError: The stage is the first, or this architecture does more between its modules than
            hand on one tensor.
    """
    size_px = network.preprocessing.crop_px
    views = torch.arange(size_px * size_px * 3, dtype=torch.int64).mul(2654435761).bitwise_right_shift(13)
    example = views.remainder(256).to(torch.uint8).view(1, size_px, size_px, 3)
    whole = copy.deepcopy(network).eval()
    below, above = _halves(whole, stage.name, example)
    lower = Lower(_bypass(whole.backbone, above), copy.deepcopy(whole.normalize)).eval()
    tail = Tail(_bypass(whole.backbone, below), copy.deepcopy(whole.head)).eval()
    _pass_positions(tail.backbone)
    with torch.inference_mode():
        try:
            same = torch.allclose(tail(lower(example)), whole(example), rtol=1e-3, atol=1e-4)
        except (RuntimeError, ValueError, TypeError):
            same = False
    if not below or not same:
        raise ConfigError(
            f"{type(network.backbone).__name__} can't be cut at {stage.name}: what passes there is not one "
            "tensor from module to module. Train it whole, or cut it at another stage."
        )
    return lower, tail


def _halves(network: Network, name: str, example: torch.Tensor) -> tuple[list[str], list[str]]:
    """Names of the outermost modules that run before a module, and of those that run from it on."""
    order: list[tuple[str, str]] = []
    hooks = []
    for module_name, module in network.backbone.named_modules():
        hooks += [
            module.register_forward_pre_hook(lambda *_, n=module_name: order.append(("in", n))),
            module.register_forward_hook(lambda *_, n=module_name: order.append(("out", n))),
        ]
    try:
        with torch.inference_mode():
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    at = order.index(("in", name)) if ("in", name) in order else len(order)
    done = {n for kind, n in order[:at] if kind == "out"}
    begun = {n for kind, n in order[at:] if kind == "in"}
    return _outermost(done - begun), _outermost(begun - done)


def _outermost(names: Iterable[str]) -> list[str]:
    chosen: list[str] = []
    for name in sorted(names, key=lambda n: n.count(".") if n else -1):
        if name and not any(name.startswith(f"{outer}.") for outer in chosen):
            chosen.append(name)
    return chosen


def _bypass(backbone: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy in which the named modules hand on their input."""
    left = copy.deepcopy(backbone)
    for name in names:
        left.set_submodule(name, nn.Identity())
    return left


def _pass_positions(backbone: nn.Module) -> None:
    """Keep a transformer's tail from adding positions and tokens that its input holds already."""
    if hasattr(backbone, "_pos_embed"):
        vars(backbone)["_pos_embed"] = _hand_on


def _hand_on(x: torch.Tensor) -> torch.Tensor:
    return x
