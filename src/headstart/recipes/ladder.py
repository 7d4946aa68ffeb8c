"""The ladder: probe, last stages on cached activations, whole network; as far as time and gain go.

    headstart train photos/ --budget 5m
    headstart train photos/ --recipe auto

How much of a rung fits into the time left is `effort.py`'s to say.
"""

from dataclasses import dataclass, replace

from headstart.recipes.effort import TAIL_EPOCHS
from headstart.recipes.finetune import Finetune
from headstart.recipes.staged import Partial


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


def with_epochs(rung: Rung, epochs: int) -> Rung:
    """The rung, so many epochs long at most."""
    return replace(rung, recipe=replace(rung.recipe, epochs=epochs))
