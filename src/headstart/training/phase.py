"""A stretch of training with one set of rules: what learns, how fast, for how long."""

from dataclasses import dataclass

from headstart.backbones.freeze import Rule
from headstart.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Phase:
    """What data can say of a stretch of training.

    Attributes:
        name: Shown while it runs, and written into the history.
        epochs: Passes over the training images, at least 1.
        lr: Base learning rate, above 0; each rule scales it.
        rules: Which parameters learn, and at which fraction of `lr`; the first match wins.
    """

    name: str
    epochs: int
    lr: float
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        problems = []
        if self.epochs < 1:
            problems.append(f"--epochs must be at least 1, not {self.epochs}")
        if not self.lr > 0:
            problems.append(f"--lr must be above 0, not {self.lr}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
