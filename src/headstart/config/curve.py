"""What a learning curve measures."""

from dataclasses import dataclass

from headstart.config.choices import choice_problems
from headstart.config.train import RuntimeChoice, TrainConfig
from headstart.errors import ConfigError

_HELD_OUT = 0.2
_MAX_HELD_OUT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveConfig:
    """What a learning curve measures. Each field is a command-line flag of the same name."""

    model: str | None = None
    """Backbone whose features are learnt from, as for train. Default: that of --run, else lite0."""

    seeds: int = 5
    """Series of subsets; each is drawn anew and nested, and each size has a head in every series."""

    test_fraction: float | None = None
    """Hold out this share of the images to measure on, in (0, 0.5]. Default, without a test folder: a
    fifth."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone, as for train."""

    seed: int = 0
    """Decides subsets and held-out parts, with the images' content."""

    strict: bool = False
    """Refuse if any file can't be read, instead of skipping it."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self)
        if not 2 <= self.seeds <= 50:
            problems.append(f"--seeds must lie between 2 and 50, not {self.seeds}")
        if self.test_fraction is not None and not 0 < self.test_fraction <= _MAX_HELD_OUT:
            problems.append(
                f"--test-fraction must lie above 0 and at most {_MAX_HELD_OUT}, not {self.test_fraction}"
            )
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed must lie between 0 and 2^32 - 1, not {self.seed}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")

    def training(self, model: str, *, has_test: bool) -> TrainConfig:
        """The settings of the training that would split and embed the same images."""
        return TrainConfig(
            model=model,
            test_fraction=self.test_fraction if has_test else self.test_fraction or _HELD_OUT,
            mirror="off",
            runtime=self.runtime,
            seed=self.seed,
            strict=self.strict,
        )
