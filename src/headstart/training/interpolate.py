"""Weights between those that a training started from and those that it ended with.

A network half-way between the pretrained and the fine-tuned one often keeps most of the gain and
loses less where the training learnt too much by heart. (WiSE-FT: Wortsman et al. 2022.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from headstart.config import Precision
from headstart.metrics.gain import calibrated_losses
from headstart.training.events import Blended
from headstart.training.loop import Validation, predict_logits

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far from the start to the end it is worth looking."""


def interpolate(
    start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """Move every tensor from `start` towards `end`; batch norms' running statistics move, too.

    Args:
        start: A state dict, such as the pretrained backbone's with the solved probe as head.
        end: The same network's after the training.
        alpha: How far, in [0, 1]: 0 gives the tensors of `start`, 1 those of `end`, bit for bit.

    Returns:
        New tensors under the names of `end` and in its order; what is no floating-point number, such
        as a count of batches, is that of `end`.

    Raises:
        ValueError: `alpha` is out of range, or the two are not of the same network.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if alone := sorted(start.keys() ^ end.keys()):
        raise ValueError(f"only one of the two networks has {', '.join(alone[:3])}")
    if other := [name for name, tensor in end.items() if tensor.shape != start[name].shape]:
        raise ValueError(f"the two networks differ in the shape of {', '.join(other[:3])}")
    return {
        name: torch.lerp(start[name], tensor, alpha) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in end.items()
    }


def try_blends(
    module: nn.Module,
    start: Mapping[str, torch.Tensor],
    validation: Validation,
    precision: Precision,
    alphas: Sequence[float] = ALPHAS,
) -> tuple[Blended, ...]:
    """Judge weights between a module's start and what it has learnt; leave it with the best, in place.

    Args:
        module: Holds the end's weights, on its device.
        start: Its state dict before the training.
        validation: What decides, by log loss after calibration; of equals the one nearer to the start.
        precision: Of the arithmetic.
        alphas: What is tried.
    """
    device = next(module.parameters()).device
    start = {name: tensor.to(device) for name, tensor in start.items()}
    end = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    tried = []
    for alpha in alphas:
        module.load_state_dict(interpolate(start, end, alpha))
        logits = predict_logits(module, validation, device, precision)
        loss = float(calibrated_losses(logits, validation.labels).mean())
        accuracy = float((logits.argmax(axis=1) == validation.labels).mean())
        tried.append(Blended(alpha, loss, accuracy, chosen=False))
    best = min(tried, key=lambda blend: blend.val_loss)
    module.load_state_dict(interpolate(start, end, best.alpha))
    return tuple(replace(blend, chosen=blend is best) for blend in tried)
