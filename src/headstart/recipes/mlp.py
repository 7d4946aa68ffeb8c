"""A head with hidden layers on frozen features.

    headstart train photos/ --head mlp

It can bend where the linear head can't, and learns by heart sooner: the epoch of the lowest
validation loss is kept. (Simonyan and Zisserman 2015: 4096-4096, dropout 0.5.)
"""

from dataclasses import dataclass

from headstart.recipes.finetune import HEAD
from headstart.training.phase import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpHead:
    """Train the head on stored features.

    Attributes:
        epochs: Passes over them, at most.
        lr: Learning rate.
        patience: Stop after so many epochs without a lower validation loss.
    """

    epochs: int = 10
    lr: float = 1e-4
    patience: int = 3

    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("mlp", self.epochs, self.lr, (HEAD,)),)
