"""How a data set is checked."""

from dataclasses import dataclass

from headstart.config.choices import choice_problems
from headstart.config.train import RuntimeChoice, TrainConfig
from headstart.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """How a data set is checked. Each field is a command-line flag of the same name."""

    model: str = TrainConfig().model
    """Backbone whose features tell what resembles what, as for train; those of a training are used again."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone. auto: the fastest one here whose features can be trusted."""

    seed: int = 0
    """Deals the folds of cross-validation, with the images' content."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self)
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed must lie between 0 and 2^32 - 1, not {self.seed}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
