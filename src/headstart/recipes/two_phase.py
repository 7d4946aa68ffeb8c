"""The head first, then everything, the backbone more slowly.

    headstart train photos/ --recipe two-phase

A random head would send large gradients back and spoil what the backbone knows. The
probe is the head solved; its phase here polishes it on augmented views. (LP-FT: Kumar et al. 2022.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.backbones.freeze import Rule
from headstart.backbones.stages import Stage
from headstart.recipes.finetune import BACKBONE, HEAD
from headstart.training.phase import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPhase:
    """Train the head, then all.

    Attributes:
        epochs: Of the second phase.
        head_epochs: Of the first.
        lr: Of the head in the first phase; in the second all learn at `backbone_lr` of it.
        backbone_lr: Fraction of `lr`, in [0, 1].
    """

    epochs: int = 4
    head_epochs: int = 1
    lr: float = 1e-3
    backbone_lr: float = 0.1

    def phases(self, stages: Sequence[Stage]) -> tuple[Phase, ...]:  # noqa: ARG002
        """Head, then full."""
        return (
            Phase("head", self.head_epochs, self.lr, (HEAD, Rule(BACKBONE, 0.0))),
            Phase("full", self.epochs, self.lr, (HEAD, Rule(BACKBONE, self.backbone_lr))),
        )
