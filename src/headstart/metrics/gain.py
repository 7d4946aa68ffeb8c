"""Whether a classifier is really better than another, on images that neither has learnt from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.metrics.calibration import fit_temperature, log_softmax
from headstart.metrics.intervals import bootstrap_interval, mcnemar_exact

_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Gain:
    """What changed from one classifier to another on the same images.

    Attributes:
        images: How many.
        accuracy_before: Of the first.
        accuracy_after: Of the second.
        loss_before: Calibrated log loss of the first, in nats.
        loss_after: Of the second.
        loss_interval: 95 % interval of the mean loss's change, after less before (paired bootstrap).
        p: That both are equally accurate (exact McNemar test).
    """

    images: int
    accuracy_before: float
    accuracy_after: float
    loss_before: float
    loss_after: float
    loss_interval: tuple[float, float]
    p: float

    @property
    def is_real(self) -> bool:
        """Whether the loss fell, and either the test or the interval says that this is no chance.

        The interval knows nothing of what no image has shown yet: a dozen images that all are right under
        both tell little of the rare mistake that costs most. So a fall that one more mistake would undo, made
        with a probability of 1 in N + 1, is none.
        """
        more_right = self.accuracy_after > self.accuracy_before and self.p < _ALPHA
        fall = self.loss_before - self.loss_after
        outweighs_a_mistake = self.images * fall > np.log(self.images + 1)
        return (
            fall > 0
            and self.accuracy_after >= self.accuracy_before
            and (more_right or (self.loss_interval[1] < 0 and bool(outweighs_a_mistake)))
        )

    def describe(self) -> str:
        """Both numbers and how sure the difference is, in a few words."""
        low, high = self.loss_interval
        return (
            f"validation accuracy {self.accuracy_before:.3f} to {self.accuracy_after:.3f} "
            f"(p = {self.p:.2g}), "
            f"log loss {self.loss_before:.3f} to {self.loss_after:.3f} (change {low:+.3f} to {high:+.3f})"
        )


def measure_gain(before: NDArray[np.float64], after: NDArray[np.float64], labels: NDArray[np.int64]) -> Gain:
    """Compare two classifiers' logits `(N, K)` on the same N images, each calibrated on them.

    Raises:
        ValueError: They judge different images.
    """
    if before.shape != after.shape or len(before) != len(labels):
        raise ValueError(f"both must judge the same images; got {before.shape}, {after.shape}, {len(labels)}")
    losses = [calibrated_losses(logits, labels) for logits in (before, after)]
    right = [logits.argmax(1) == labels for logits in (before, after)]
    change = losses[1] - losses[0]
    return Gain(
        images=len(labels),
        accuracy_before=float(right[0].mean()),
        accuracy_after=float(right[1].mean()),
        loss_before=float(losses[0].mean()),
        loss_after=float(losses[1].mean()),
        loss_interval=bootstrap_interval(lambda drawn: float(change[drawn].mean()), len(change), seed=0),
        p=mcnemar_exact(right[1], right[0]),
    )


def calibrated_losses(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log loss of each image in nats, `(N,)`, at the temperature that suits these images best."""
    scaled = logits / fit_temperature(logits, labels)
    losses: NDArray[np.float64] = -log_softmax(scaled)[np.arange(len(labels)), labels]
    return losses
