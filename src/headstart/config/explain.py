"""What an explanation shows."""

from dataclasses import dataclass

from headstart.config.choices import choice_problems
from headstart.config.train import RuntimeChoice
from headstart.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainConfig:
    """What an explanation shows. Each field is a command-line flag of the same name."""

    similar: int = 4
    """Most similar training images shown beside each picture; 0 for none."""

    losses: int = 12
    """Test images of the highest loss that are explained where no images are given."""

    pairs: int = 6
    """Most confused pairs of classes on their sheet."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone; auto takes that of the training if this machine has it."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self) + [
            f"--{name} must lie between {least} and {most}, not {value}"
            for name, value, least, most in (
                ("similar", self.similar, 0, 12),
                ("losses", self.losses, 1, 200),
                ("pairs", self.pairs, 1, 50),
            )
            if not least <= value <= most
        ]
        if problems:
            raise ConfigError("; ".join(problems) + ".")
