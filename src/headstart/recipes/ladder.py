"""The ladder: probe, last stages on cached activations, whole network; as far as time and gain go.

    headstart train photos/ --budget 5m
    headstart train photos/ --recipe auto

How much of a rung fits into the time left is `effort.py`'s to say.
"""

from dataclasses import dataclass, replace

from headstart.recipes.effort import TAIL_EPOCHS
from headstart.recipes.finetune import Finetune
from headstart.recipes.staged import Partial

_FAR = 1 / 3  # of the images, wrong: from there on a rung learns at its full rate
_GENTLEST = 0.05  # of that rate


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the ladder above the probe.

    Attributes:
        name: In messages and files.
        recipe: What learns, for how long at most.
        about: In a few words.
        least_epochs: Below which it isn't worth beginning.
    """

    name: str
    recipe: Partial | Finetune
    about: str
    least_epochs: int

    @property
    def epochs(self) -> tuple[int, int]:
        """At least and at most."""
        return min(self.least_epochs, self.recipe.epochs), self.recipe.epochs


TAIL = Rung(
    "tail", Partial(epochs=TAIL_EPOCHS, lr=1e-3, backbone_lr=1.0), "the last stages, on cached activations", 2
)
WHOLE = Rung("whole", Finetune(epochs=6, lr=5e-4, backbone_lr=1.0), "the whole network", 1)
RUNGS = (TAIL, WHOLE)


def with_rate_for(rung: Rung, error: float) -> Rung:
    """The rung with a learning rate that goes by how much there is to learn.

    Weights that answer nearly all images rightly are spoilt by the rate that those far from their
    pictures need. Measured on held-out parts of training sets, lite0, four epochs of the tail: with a
    probe that errs on 29 % (CIFAR-10), 1e-3 ends at a log loss of .597, 3e-4 at .619, 1e-4 at .701;
    with one that errs on 9 % (hotdog), at .219, .195 and .199.

    Args:
        rung: At its full rate.
        error: Share of the validation images that the best so far gets wrong, in [0, 1].
    """
    factor = min(max(error / _FAR, _GENTLEST), 1.0)
    return replace(rung, recipe=replace(rung.recipe, lr=rung.recipe.lr * factor))


def with_epochs(rung: Rung, epochs: int) -> Rung:
    """The rung, so many epochs long at most."""
    return replace(rung, recipe=replace(rung.recipe, epochs=epochs))
