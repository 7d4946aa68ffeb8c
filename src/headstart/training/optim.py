"""Optimisers and learning-rate schedules, by name."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from headstart.config import OptimizerName, ScheduleName

_MOMENTUM = 0.9
_WARM_UP = 0.1
_ONE_CYCLE_RISE, _ONE_CYCLE_START, _ONE_CYCLE_END = 0.25, 0.04, 1e-3
_STEP_EVERY, _STEP_FACTOR = 1 / 3, 0.1


def make_optimizer(
    name: OptimizerName,
    parameters: Iterable[tuple[str, nn.Parameter]],
    plan: Mapping[str, float],
    *,
    lr: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Group parameters by learning-rate scale and weight decay, which spares biases and norms.

    Args:
        name: `sgd` (Nesterov momentum 0.9) or `adamw` (Loshchilov and Hutter 2019).
        parameters: Names and tensors.
        plan: Learning-rate scale of each name; 0 leaves it out.
        lr: What the scales multiply.
        weight_decay: Of matrices and kernels.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter_name, parameter in parameters:
        if (scale := plan[parameter_name]) > 0:
            groups.setdefault((scale, parameter.ndim > 1), []).append(parameter)
    described = [
        {"params": members, "lr": lr * scale, "weight_decay": weight_decay if decays else 0.0}
        for (scale, decays), members in groups.items()
    ]
    if name == "sgd":
        return torch.optim.SGD(described, lr=lr, momentum=_MOMENTUM, nesterov=True)
    return torch.optim.AdamW(described, lr=lr, fused=True)  # one pass over the weights instead of six


def make_schedule(name: ScheduleName) -> Callable[[float], float]:
    """The learning rate's factor at each fraction of a phase, from 0 to 1.

    `one-cycle` rises from 1/25 over the first quarter and falls to 1/1000 along a cosine (Smith 2018);
    `cosine` warms up linearly for a tenth and falls to 0; `step` divides by ten after each third.
    """
    return {"one-cycle": _one_cycle, "cosine": _cosine, "step": _step, "constant": lambda _: 1.0}[name]


def _one_cycle(progress: float) -> float:
    if progress < _ONE_CYCLE_RISE:
        return _between(_ONE_CYCLE_START, 1.0, progress / _ONE_CYCLE_RISE)
    return _between(1.0, _ONE_CYCLE_END, (progress - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE))


def _cosine(progress: float) -> float:
    if progress < _WARM_UP:
        return max(progress / _WARM_UP, 1e-3)
    return _between(1.0, 0.0, (progress - _WARM_UP) / (1 - _WARM_UP))


def _step(progress: float) -> float:
    return float(_STEP_FACTOR ** int(progress / _STEP_EVERY + 1e-9))


def _between(start: float, end: float, fraction: float) -> float:
    """Along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
