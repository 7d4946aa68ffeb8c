"""What a learning-rate range test tries."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from headstart.config.choices import choice_problems
from headstart.config.train import HeadInit, RuntimeChoice, TrainConfig
from headstart.errors import ConfigError

LEAST_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LrFindConfig:
    """What a learning-rate range test tries. Each field is a command-line flag of the same name."""

    model: str = TrainConfig().model
    """Backbone, as for train."""

    recipe: Literal["scratch", "finetune", "two-phase", "partial", "gradual"] = "finetune"
    """What learns, as for train; of a recipe of several phases its last, in which most does."""

    start_lr: float = 1e-6
    """Learning rate of the first step; the backbone's is the recipe's fraction of it."""

    end_lr: float = 1.0
    """Learning rate of the last step, if the loss has not diverged before."""

    steps: int = 100
    """Batches, each at a higher rate by the same factor; at least 20."""

    head_init: HeadInit = "probe"
    """What the head starts from, as for train."""

    source_class: tuple[str, ...] = ()
    """TARGET=SOURCE for --head-init source, as for train."""

    balance: bool = False
    """Count every class alike, however many images it has, as for train."""

    runtime: RuntimeChoice = "auto"
    """What runs the frozen backbone, as for train."""

    seed: int = 0
    """Decides held-out parts, order and augmentation, as it does in a training."""

    strict: bool = False
    """Refuse if any file can't be read, instead of skipping it."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self) + [
            f"--{name}-lr must be above 0, not {value}"
            for name, value in (("start", self.start_lr), ("end", self.end_lr))
            if not 0 < value < inf
        ]
        if not problems and not self.start_lr < self.end_lr:
            problems.append(f"--start-lr {self.start_lr:g} must lie below --end-lr {self.end_lr:g}")
        if self.steps < LEAST_STEPS:
            problems.append(f"--steps must be at least {LEAST_STEPS}, not {self.steps}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
        object.__setattr__(self, "source_class", tuple(self.source_class))
        self.training()

    def training(self) -> TrainConfig:
        """The settings of the training that a rate is looked for."""
        return TrainConfig(
            model=self.model,
            recipe=self.recipe,
            head_init=self.head_init,
            source_class=self.source_class,
            balance=self.balance,
            runtime=self.runtime,
            seed=self.seed,
            strict=self.strict,
            mirror="off",
        )
