"""What a comparison of recipes, models and seeds runs."""

from dataclasses import dataclass, replace

from headstart.config.choices import choice_problems
from headstart.config.train import HeadInit, HeadName, MirrorChoice, RecipeName, RuntimeChoice, TrainConfig
from headstart.errors import ConfigError

_MAX_SEEDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """What a comparison runs. Each field is a command-line flag of the same name."""

    recipes: tuple[str, ...] = ("scratch", "probe", "finetune")
    """What learns, in each its own way; see `headstart train --help`. Separated by commas."""

    models: tuple[str, ...] = ("lite0",)
    """Backbones, as for train, separated by commas."""

    seeds: int = 1
    """Trainings of each recipe with each model; their seeds are 0, 1, 2, ..."""

    split_seed: int = 0
    """Decides held-out parts, with the images' content; the same for all trainings."""

    test_fraction: float | None = None
    """Hold out this share of the images as a test split, in (0, 0.9]. Default, without a test folder:
    a fifth."""

    budget: str | None = None
    """Time that the recipe auto may spend on each training, such as 90s, 5m or 1h."""

    head: HeadName = "linear"
    """The recipe probe's, as for train."""

    head_init: HeadInit = "probe"
    """What heads start from, as for train. Recipes that it doesn't suit start as ever: scratch, and with
    random the probe."""

    source_class: tuple[str, ...] = ()
    """TARGET=SOURCE for --head-init source, as for train."""

    balance: bool = False
    """Count every class alike, however many images it has, as for train."""

    mirror: MirrorChoice = "auto"
    """Train the probe on mirrored images too, as for train."""

    runtime: RuntimeChoice = "auto"
    """What runs frozen backbones, as for train."""

    folds: int = 5
    """Folds of the probe's cross-validation, 3 to 20."""

    strict: bool = False
    """Refuse to train if any file can't be read, instead of skipping it."""

    def __post_init__(self) -> None:
        """Check what `training` doesn't, and report every problem at once."""
        problems = choice_problems(self)
        if not self.recipes or not self.models:
            problems.append("--recipes and --models must name at least one each")
        if not 1 <= self.seeds <= _MAX_SEEDS:
            problems.append(f"--seeds must lie between 1 and {_MAX_SEEDS}, not {self.seeds}")
        if not 0 <= self.split_seed < 2**32:
            problems.append(f"--split-seed must lie between 0 and 2^32 - 1, not {self.split_seed}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
        object.__setattr__(self, "source_class", tuple(self.source_class))
        self.splitting()
        self.training("auto", self.models[0], 0)

    def splitting(self) -> TrainConfig:
        """The settings by which the images are split."""
        return replace(self._shared(), test_fraction=self.test_fraction, seed=self.split_seed, mirror="off")

    def training(self, recipe: RecipeName, model: str, seed: int) -> TrainConfig:
        """The settings of one training, for images that are split."""
        budget = self.budget if recipe == "auto" else None
        head = self.head if recipe == "probe" else "linear"
        config = replace(self._shared(), recipe=recipe, model=model, seed=seed, budget=budget, head=head)
        if recipe == "scratch" or (recipe == "probe" and self.head_init == "random"):
            return config
        return replace(config, head_init=self.head_init, source_class=self.source_class)

    def _shared(self) -> TrainConfig:
        return TrainConfig(
            balance=self.balance,
            mirror=self.mirror,
            runtime=self.runtime,
            folds=self.folds,
            strict=self.strict,
        )
