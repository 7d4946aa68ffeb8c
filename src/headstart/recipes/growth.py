"""Progressive resizing: smaller pictures first, the last epochs at full size.

A network learns most of what it will know from small views, at a fraction of the arithmetic, and needs the
full size only to finish. (Howard 2018, fast.ai's DAWNBench entry; Tan and Le 2021, EfficientNetV2. That the
last epochs have to be at the size of the test: Touvron et al. 2019, FixRes.)
"""

import math
from collections import Counter
from collections.abc import Sequence

from headstart.errors import ConfigError

STEP_PX = 32
"""Sides are multiples of it, which suits the strides of nearly all networks; the last is the full one."""

_FIRST = 1 / 2  # of the full side
_AT_FULL = 1 / 5  # of the epochs, at least one
_LEAST_PX, _UNASKED_EPOCHS = 160, 3

LEAST_EPOCHS = 2
"""One to grow in, one at full size."""


def suits_growing(full_px: int) -> bool:
    """Whether views of this side are worth growing.

    Measured on held-out parts of training sets, five epochs of lite0: photographs from 128 to 224 pixels
    lost nothing, pictures of 32 pixels from 64 to 128 lost two to four points.
    """
    return full_px >= _LEAST_PX


def grows_unasked(full_px: int, epochs: int) -> bool:
    """Whether views of this side, for so many epochs, grow although nobody asked."""
    return suits_growing(full_px) and epochs >= _UNASKED_EPOCHS


def growing_sizes(full_px: int, epochs: int) -> tuple[int, ...]:
    """The side of the training views in each epoch; never smaller than in the one before.

    Args:
        full_px: In the last fifth of the epochs, and in the last one at least.
        epochs: Of all phases together.

    Raises:
        ConfigError: There is nothing to grow from, or no epoch to grow in.
    """
    if full_px <= STEP_PX or epochs < LEAST_EPOCHS:
        raise ConfigError(
            f"--progressive begins with a multiple of {STEP_PX} pixels below the full size and grows from "
            f"epoch to epoch: {full_px} pixels and {epochs} epoch{'s' * (epochs > 1)} leave nothing to grow. "
            "Leave it out, or give more --epochs or a larger --input-px."
        )
    first = max(math.ceil(_FIRST * full_px / STEP_PX), 1) * STEP_PX
    growing = epochs - max(math.ceil(_AT_FULL * epochs), 1)
    sides = [first + (full_px - first) * epoch / max(growing, 1) for epoch in range(growing)]
    return tuple(min(int(side) // STEP_PX * STEP_PX, full_px) for side in sides) + (full_px,) * (
        epochs - growing
    )


def share_views(sizes: Sequence[int], n_views: int) -> dict[int, int]:
    """How many stored views each side gets: a share by its epochs, one at least, none that no epoch shows.

    Args:
        sizes: The side in each epoch, smallest first.
        n_views: Of all sides together, about.
    """
    epochs = Counter(sizes)
    return {px: min(max(round(n_views * n / len(sizes)), 1), n) for px, n in epochs.items()}
