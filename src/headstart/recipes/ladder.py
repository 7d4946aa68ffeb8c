"""The ladder: probe, last stages on cached activations, whole network; as far as time and gain go.

    headstart train photos/ --budget 5m
    headstart train photos/ --recipe auto

Pure decisions: what each rung is, what it costs, and how much of it fits into the time left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headstart.recipes.finetune import Finetune
from headstart.recipes.staged import Partial

_MIN_TAIL_EPOCHS = 2
_OVERHEAD = 1.15  # of an epoch over its bare steps: batches, validation, checkpoint
_VIEWS_SHARE = 0.4  # of the time, at most, for embedding views
_SMALLEST_PX, _PX_STEP, _ENLARGE = 96, 32, 4


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the ladder above the probe.

    Attributes:
        name: In messages and files.
        recipe: What learns, for how long at most.
        about: In a few words.
    """

    name: str
    recipe: Partial | Finetune
    about: str


TAIL = Rung("tail", Partial(epochs=12, lr=1e-3, backbone_lr=1.0), "the last stages, on cached activations")
WHOLE = Rung("whole", Finetune(epochs=6, lr=5e-4, backbone_lr=1.0), "the whole network")
RUNGS = (TAIL, WHOLE)


@dataclass(frozen=True, slots=True)
class Pace:
    """What a rung costs here, by measured steps.

    Attributes:
        n_images: That are learnt from.
        images_per_s: Of training steps.
        views_per_s: Of the frozen stages below; infinite without any.
        closing_s: To convert, measure and save what was learnt.
    """

    n_images: int
    images_per_s: float
    views_per_s: float
    closing_s: float

    @property
    def epoch_s(self) -> float:
        """Seconds of one epoch."""
        return _OVERHEAD * self.n_images / self.images_per_s

    def seconds(self, effort: "Effort") -> float:
        """Seconds of a whole rung."""
        return self.n_images * effort.views / self.views_per_s + effort.epochs * self.epoch_s + self.closing_s


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of a rung is done: epochs, and stored views of each image."""

    epochs: int
    views: int


def plan_effort(rung: Rung, pace: Pace, left_s: float, views: int) -> Effort | None:
    """As much of a rung as fits into the time left; None where not even its least does.

    Args:
        rung: With its most epochs.
        pace: What it costs.
        left_s: Seconds, infinite without a budget.
        views: Stored views of each image, at most.
    """
    least = min(_MIN_TAIL_EPOCHS if rung.name == TAIL.name else 1, rung.recipe.epochs)
    free_s = left_s - pace.closing_s
    for kept in range(views, 0, -1):
        views_s = pace.n_images * kept / pace.views_per_s
        if views_s > _VIEWS_SHARE * free_s and kept > 1:
            continue
        fitting = (free_s - views_s) / pace.epoch_s
        epochs = rung.recipe.epochs if fitting >= rung.recipe.epochs else int(fitting)
        if epochs >= least:
            return Effort(epochs, min(kept, epochs))
    return None


def with_epochs(rung: Rung, epochs: int) -> Rung:
    """The rung, so many epochs long at most."""
    return replace(rung, recipe=replace(rung.recipe, epochs=epochs))


def suited_px(shorter_sides: Sequence[int], native_px: int) -> int:
    """The size at which small pictures are trained: four times theirs, and not above the backbone's own.

    Enlarging pictures of 32 pixels to 224 makes training ten times dearer and adds no detail.
    """
    middle = sorted(shorter_sides)[len(shorter_sides) // 2]
    enlarged = -(-_ENLARGE * middle // _PX_STEP) * _PX_STEP
    return min(native_px, max(enlarged, _SMALLEST_PX))
