"""Some stages learn, the lower ones stay as they were pretrained.

    headstart train photos/ --recipe partial --cut blocks.5
    headstart train photos/ --recipe gradual

Low stages see edges and textures, which most pictures share; frozen, they also regularise. (Yosinski et
al. 2014; gradual unfreezing: Howard and Ruder 2018.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.backbones.stages import Stage, stage_rules
from headstart.recipes.finetune import HEAD
from headstart.training.phase import Phase

_LAST_STAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """Train the head and the stages from a cut on.

    Attributes:
        epochs: Passes over the images.
        lr: Of the head.
        backbone_lr: Fraction of `lr` at which the upper stages learn.
        cut: Name of the first stage that learns; None: the last three.
    """

    epochs: int = 5
    lr: float = 1e-3
    backbone_lr: float = 0.3
    cut: str | None = None

    def phases(self, stages: Sequence[Stage]) -> tuple[Phase, ...]:
        """One phase."""
        cut = self.cut if self.cut is not None else stages[max(len(stages) - _LAST_STAGES, 1)].name
        return (
            Phase("partial", self.epochs, self.lr, (HEAD, *stage_rules(stages, cut, scale=self.backbone_lr))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradual:
    """Unfreeze one stage after another, from the output down.

    Attributes:
        epochs: Of the last phase, in which all that was unfrozen learns.
        lr: Of the head.
        backbone_lr: Fraction of `lr` at which unfrozen stages learn.
        steps: Phases; each unfreezes an equal share of the stages.
    """

    epochs: int = 2
    lr: float = 1e-3
    backbone_lr: float = 0.1
    steps: int = 3

    def phases(self, stages: Sequence[Stage]) -> tuple[Phase, ...]:
        """One an unfreezing."""
        phases = []
        for step in range(1, self.steps + 1):
            first = len(stages) - round(len(stages) * step / self.steps)
            rules = (HEAD, *stage_rules(stages, stages[first].name, scale=self.backbone_lr))
            epochs = self.epochs if step == self.steps else 1
            phases.append(Phase(f"from {stages[first].name}", epochs, self.lr, rules))
        return tuple(phases)
