"""How much of a rung of the ladder fits into the time left; knows no network and no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.recipes.growth import LEAST_EPOCHS, growing_sizes, share_views

TAIL_EPOCHS = 12
"""Of the last stages, at most."""

_OVERHEAD = 1.08  # of an epoch over its bare steps: batches, validation, checkpoint
_VIEWS_SHARE = 0.4  # of the time, at most, for embedding views
_STEP_PER_EMBEDDING_BF16, _STEP_PER_EMBEDDING_FP32 = 4, 2.4
_GROWN = 0.64  # of the arithmetic, where twelve epochs' views grow
_CLOSING_S = 20
_LEAST_SHARE = 0.5  # of an epoch
_SMALLEST_PX, _PX_STEP, _ENLARGE = 96, 32, 4


@dataclass(frozen=True, slots=True)
class Pace:
    """What a rung costs here, by measured steps.

    Attributes:
        n_images: That are learnt from.
        images_per_s: Of training steps on views of full size.
        views_per_s: Of the frozen stages below; infinite without any.
        closing_s: To convert, measure and save what was learnt.
        grows_to: The full side, where views grow up to it; None where all have it.
    """

    n_images: int
    images_per_s: float
    views_per_s: float
    closing_s: float
    grows_to: int | None = None

    def sizes(self, epochs: int) -> tuple[int, ...]:
        """Side of the views in each epoch; empty where all are of full size."""
        return () if self.grows_to is None or epochs < LEAST_EPOCHS else growing_sizes(self.grows_to, epochs)

    def seconds(self, effort: "Effort") -> float:
        """Seconds of a whole rung."""
        return (
            self.views_s(effort.epochs, effort.views)
            + effort.share * self.training_s(effort.epochs)
            + self.closing_s
        )

    def training_s(self, epochs: int) -> float:
        """Seconds of so many whole epochs."""
        sizes = self.sizes(epochs)
        whole = sum(map(self._area, sizes)) if sizes else epochs
        return whole * _OVERHEAD * self.n_images / self.images_per_s

    def views_s(self, epochs: int, views: int) -> float:
        """Seconds of the frozen stages, for so many views of each image."""
        if sizes := self.sizes(epochs):
            whole = sum(kept * self._area(px) for px, kept in share_views(sizes, views).items())
        else:
            whole = views
        return whole * self.n_images / self.views_per_s

    def _area(self, px: int) -> float:
        """Of a view, as a share of the full one's; arithmetic goes by it."""
        return (px / self.grows_to) ** 2 if self.grows_to else 1.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of a rung is done.

    Attributes:
        epochs: Each judged on the validation images.
        views: Stored, of each image.
        share: Of the images that an epoch shows, in (0, 1]; the next goes on with the others.
    """

    epochs: int
    views: int
    share: float = 1.0

    def steps(self, n_images: int, batch_size: int) -> int | None:
        """Batches an epoch, rounded down so that they fit; None where it shows all images."""
        if self.share >= 1:
            return None
        return max(int(self.share * n_images / batch_size), 1)


def plan_effort(pace: Pace, left_s: float, views: int, epochs: tuple[int, int]) -> Effort | None:
    """As much of a rung as fits into the time left; None where not even its least does.

    Between two numbers of epochs it takes the larger, each epoch as much shorter as fits: on a large set
    a whole epoch less would leave a tenth of the time unused.

    Args:
        pace: What it costs.
        left_s: Seconds, infinite without a budget.
        views: Stored views of each image, at most.
        epochs: At least and at most.
    """
    least, most = epochs
    free_s = left_s - pace.closing_s
    for kept in range(views, 0, -1):
        whole = None
        for count in range(least, most + 1):
            shown = min(kept, count)  # a view that no epoch shows would be embedded for nothing
            views_s = pace.views_s(count, shown)
            if shown > 1 and views_s > _VIEWS_SHARE * free_s:
                break
            share = (free_s - views_s) / pace.training_s(count)
            if share < 1:
                if whole is None:
                    break
                return Effort(count, shown, share) if share >= _LEAST_SHARE else whole
            whole = Effort(count, shown)
        else:
            return whole
    return None


def guess_tail_s(n_images: int, embedded_per_s: float, views: int, *, in_bfloat16: bool) -> float:
    """About how long the first rung above the probe takes, known before anything of it was timed.

    A training step of the last three stages of a small network costs four times what embedding one
    image does on the fastest runtime, where both compute in bfloat16 (measured: lite0, 109 against 430
    images a second), and 2.4 times in float32 (28 against 67); views of growing size cost two thirds.
    """
    step = _STEP_PER_EMBEDDING_BF16 if in_bfloat16 else _STEP_PER_EMBEDDING_FP32
    shown = _GROWN * (views + TAIL_EPOCHS * _OVERHEAD * step)
    return n_images * shown / embedded_per_s + _CLOSING_S


def suited_px(shorter_sides: Sequence[int], native_px: int) -> int:
    """The size at which small pictures are trained: four times theirs, and not above the backbone's own.

    Enlarging pictures of 32 pixels to 224 makes training ten times dearer and adds no detail.
    """
    if not shorter_sides:
        return native_px
    middle = sorted(shorter_sides)[len(shorter_sides) // 2]
    enlarged = math.ceil(_ENLARGE * middle / _PX_STEP) * _PX_STEP
    return min(native_px, max(enlarged, _SMALLEST_PX))
