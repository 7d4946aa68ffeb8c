"""Everything learns: the backbone more slowly than the head, or, from scratch, all alike.

    headstart train photos/ --recipe finetune
    headstart train photos/ --recipe scratch --epochs 30

(Girshick et al. 2014; Dive into Deep Learning, "Fine-Tuning": the head at ten times the rate.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.backbones.freeze import Rule
from headstart.backbones.stages import Stage
from headstart.training.phase import Phase

HEAD = Rule(r"head\..*", 1.0)
BACKBONE = r"backbone\..*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    """Train all from the pretrained weights at once, from the solved probe's head."""

    epochs: int = 5
    lr: float = 1e-3
    backbone_lr: float = 0.1

    def phases(self, stages: Sequence[Stage]) -> tuple[Phase, ...]:  # noqa: ARG002
        """One phase."""
        return (Phase("all", self.epochs, self.lr, (HEAD, Rule(BACKBONE, self.backbone_lr))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch(Finetune):
    """Train all from random weights: the baseline that every gain is measured against."""

    epochs: int = 10
    lr: float = 2e-3
    backbone_lr: float = 1.0
