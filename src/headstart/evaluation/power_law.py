"""How an error falls with the number of training images, and what more of them would bring.

The law is `error(n) = floor + scale * n ** -decay`, the usual shape of learning curves (Cortes et al.,
"Learning curves: asymptotic values and rate of convergence", 1994; Hestness et al., "Deep learning scaling
is predictable, empirically", 2017). For one decay it is linear in the other two, so that all decays of a
grid are solved at once, and thousands of bootstrap draws in a moment.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DECAYS = np.geomspace(0.1, 2.0, 40)
"""Slower ones can't be told from no fall at all, faster ones not from a step."""


@dataclass(frozen=True, slots=True, eq=False)
class PowerLaws:
    """B laws.

    Attributes:
        floor: Error that no number of images removes, `(B,)`, within 0 to 1.
        scale: `(B,)`, not negative.
        decay: `(B,)`, positive.
    """

    floor: Floats
    scale: Floats
    decay: Floats

    def errors(self, n: Floats) -> Floats:
        """Errors `(B, M)` at M numbers of images, within 0 to 1."""
        raw = self.floor[:, None] + self.scale[:, None] * n[None] ** -self.decay[:, None]
        return np.clip(raw, 0.0, 1.0)


def fit_power_laws(n: Floats, errors: Floats, weights: Floats) -> PowerLaws:
    """Fit B laws by weighted least squares, floor and scale kept from falling below 0.

    Args:
        n: Numbers of images, `(M,)`, at least two different ones.
        errors: `(B, M)`.
        weights: Inverse variances, `(M,)`.

    Raises:
        ValueError: There are fewer than two numbers of images.
    """
    if len(np.unique(n)) < 2:
        raise ValueError(f"a curve needs errors at two numbers of images or more; got {n}")
    reference = float(n.max())  # keeps the scales of all decays alike
    w = weights / weights.sum()
    falls = (n[None] / reference) ** -_DECAYS[:, None]  # (C, M)
    mean_fall, mean_error = falls @ w, errors @ w  # (C,), (B,)
    spread = (falls**2) @ w - mean_fall**2
    shared = (errors * w) @ falls.T - mean_error[:, None] * mean_fall  # (B, C)
    scale = np.maximum(shared / spread, 0.0)
    floor = mean_error[:, None] - scale * mean_fall
    # where the floor would be negative it is 0, and the scale is that of a line through the origin
    through_origin = (errors * w) @ falls.T / ((falls**2) @ w)
    scale = np.where(floor < 0, through_origin, scale)
    floor = np.maximum(floor, 0.0)
    missed = errors[:, None] - floor[:, :, None] - scale[:, :, None] * falls
    best = ((missed**2) @ w).argmin(axis=1)
    rows = np.arange(len(errors))
    decay = _DECAYS[best]
    return PowerLaws(floor[rows, best], scale[rows, best] * reference**decay, decay)
