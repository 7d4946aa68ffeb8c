"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of one batch."""

import numpy as np
import torch
from torch.nn.functional import one_hot


def mix(
    inputs: torch.Tensor,
    labels: torch.Tensor,
    n_classes: int,
    mixup: float,
    cutmix: float,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each input with its neighbour's, and the labels alike.

    Args:
        inputs: `(B, H, W, C)`, uint8 or floating.
        labels: Class indices `(B,)`.
        n_classes: K.
        mixup: Parameter of the Beta distribution; 0 is off.
        cutmix: Likewise. With both, a coin decides each batch.
        rng: Decides all.

    Returns:
        Inputs `(B, H, W, C)`, float32 if mixed by mixup, and class probabilities `(B, K) float32`.
    """
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    share = float(rng.beta(cutmix, cutmix) if cut else rng.beta(mixup, mixup))
    others = inputs.roll(1, 0)
    if cut:
        inputs, share = _paste(inputs, others, share, rng)
    else:
        inputs = inputs.float() * share + others.float() * (1 - share)
    wanted = one_hot(labels, n_classes).float()
    return inputs, wanted * share + wanted.roll(1, 0) * (1 - share)


def _paste(
    inputs: torch.Tensor, others: torch.Tensor, share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, float]:
    height, width = inputs.shape[1:3]
    half_height, half_width = (round(side * (1 - share) ** 0.5 / 2) for side in (height, width))
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(y - half_height, 0), min(y + half_height, height)
    left, right = max(x - half_width, 0), min(x + half_width, width)
    inputs = inputs.clone()
    inputs[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return inputs, 1 - (bottom - top) * (right - left) / (height * width)
