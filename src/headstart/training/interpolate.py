"""Weights between those that a training started from and those that it ended with.

A network half-way between the pretrained and the fine-tuned one often keeps most of the gain and
loses less where the training learnt too much by heart. (WiSE-FT: Wortsman et al. 2022.)
"""

from collections.abc import Mapping

import torch


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
