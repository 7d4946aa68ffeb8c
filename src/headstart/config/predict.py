"""What a prediction is asked for."""

from dataclasses import dataclass
from typing import Literal, get_args

from headstart.config.choices import choice_problems
from headstart.config.train import RuntimeChoice
from headstart.errors import ConfigError

RowFormat = Literal["csv", "jsonl", "parquet"]
"""How rows are written to a file."""

ROW_FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictConfig:
    """What a prediction is asked for. Each field is a command-line flag."""

    top: int = 1
    """How many classes to list for each image."""

    unknown_below: float = 0.0
    """Answer "unknown" where the best class's probability is below this, in [0, 1]."""

    column: str | None = None
    """Column of Parquet tables that holds images (bytes, or structs of bytes and path) or paths; default: the
    only one that can be meant."""

    part_rows: int | None = None
    """Write a folder of parts of so many rows, which a second call resumes; default: one file, or parts of
    4,096 if the output's name ends in a slash."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone; auto takes that of the training if this machine has it."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self)
        if self.top < 1:
            problems.append(f"--top must be at least 1, not {self.top}")
        if not 0 <= self.unknown_below <= 1:
            problems.append(f"--unknown-below must lie between 0 and 1, not {self.unknown_below}")
        if self.part_rows is not None and self.part_rows < 1:
            problems.append(f"--part-rows must be at least 1, not {self.part_rows}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
