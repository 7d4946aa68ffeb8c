"""What a test of shifts does."""

from dataclasses import dataclass

from headstart.config.choices import choice_problems
from headstart.config.train import RuntimeChoice
from headstart.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftConfig:
    """What a test of shifts does. Each field is a command-line flag of the same name."""

    images: int | None = 200
    """Measure on so many images at most, of each class alike many, chosen by content. Each is embedded 51
    times, which takes about a second on two old cores without bfloat16."""

    kinds: tuple[str, ...] = ()
    """Shifts, separated by commas; default: all ten. brightness, contrast, temperature, saturation, blur,
    noise, jpeg, resolution, rotation, crop."""

    harden: bool = False
    """Then train with the augmentation advised, on the run's own training images, and measure that, too."""

    epochs: int | None = None
    """Of the training that --harden starts; default: the recipe's."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone; auto takes that of the training if this machine has it."""

    seed: int = 0
    """Of the noise, and of the training that --harden starts."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self)
        if self.images is not None and self.images < 1:
            problems.append(f"--images must be at least 1, not {self.images}")
        if self.epochs is not None and self.epochs < 1:
            problems.append(f"--epochs must be at least 1, not {self.epochs}")
        if self.epochs is not None and not self.harden:
            problems.append("--epochs is that of the training that --harden starts; add it")
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed must lie between 0 and 2^32 - 1, not {self.seed}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
        object.__setattr__(self, "kinds", tuple(self.kinds))
