"""Compare: recipes, models and seeds, trained and measured on one split of the same images."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import get_args

from headstart.api.compared import Cell, Comparison, make_rows
from headstart.api.findings import describe_findings
from headstart.api.outcome import Outcome
from headstart.api.plan import SplitPlan, check_held_out, digest_split, fix_split, plan_split
from headstart.api.prepare import Prepared, prepare
from headstart.api.probe import blas_threads
from headstart.api.train import train
from headstart.api.trained import data_name
from headstart.backbones.catalogue import CATALOGUE, OnnxFile, WeightsFile, find_backbone
from headstart.config import CompareConfig, RecipeName, TuneConfig
from headstart.data.dataset import Dataset
from headstart.errors import BackboneError, ConfigError, TrainingError
from headstart.progress import Progress, Silent
from headstart.run.atomic import write_json, write_text
from headstart.run.comparison import ComparisonFolder
from headstart.run.curves import Curve, save_curves
from headstart.run.folder import check_writable, is_run
from headstart.run.launch import check_alone
from headstart.run.unfinished import Unfinished

RECIPE_NAMES: tuple[RecipeName, ...] = get_args(RecipeName)
_VARIED = {"recipes", "models", "seeds"}
_OF_THE_SPLIT = {"val_fraction"}


def compare(  # noqa: PLR0913 - the data, what to do with them, and where things go
    data: str | Path | Dataset,
    config: CompareConfig | None = None,
    tuning: TuneConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Train each recipe with each model and each seed on one split, and put the results side by side.

    All learn from the same images, choose by the same validation images and are measured on the same
    test images. The best is chosen by validation; the test split only tells what it is worth.

    Args:
        data: As for `train`.
        config: What to compare.
        tuning: How backbones are trained. What only some recipes know (`epochs`, `lr`, `backbone_lr`,
            `cut`) goes to those; the probe takes nothing of it.
        out: The comparison's folder, numbered where it exists. Default: `runs/DATA-compare-N`.
        cache: Where features and converted backbones are kept; default: the platform's cache.
        resume: Go on with the comparison of these data and settings: what is finished is not trained again,
            what was cut short goes on. Recipes, models and seeds may have been added.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings or the disk need the user, or no training came through. One
            that fails for its recipe or model alone becomes a row that says why.
    """
    config, tuning, folder = config or CompareConfig(), tuning or TuneConfig(), Path(out) if out else None
    check_alone("A comparison")
    progress = progress or Silent()
    recipes = _check_recipes(config)
    tunings = _share_out(recipes, tuning)
    models = {model: _name_of(model) for model in dict.fromkeys(config.models)}
    if resume:
        ComparisonFolder.check_any(folder, data_name(data))
    check_writable(folder or Path("runs/new"))
    prepared = prepare(data, config.splitting(), cache, progress)
    plan = _split(prepared, tuning)
    open_folder = ComparisonFolder.resume if resume else ComparisonFolder.begin
    place = open_folder(folder, data_name(prepared.dataset), _facts(prepared.dataset, plan, config, tuning))
    job = _Job(place, fix_split(prepared.dataset, plan), config, tunings, models, cache, progress)
    try:
        cells = list(job.cells())
    except KeyboardInterrupt:
        progress.note(f"The same command with --resume goes on; what is finished stays in {place.path}.")
        raise
    comparison = _conclude(place, cells, prepared.dataset, plan)
    with progress.stage("Saving the comparison", None):
        write_json(place.compare_json, comparison.to_json())
        write_text(place.compare_csv, comparison.to_csv())
        save_curves(place.compare_png, _curves(comparison))
    return comparison


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """The trainings of one comparison, one after the other.

    Attributes:
        place: Where their runs go.
        dataset: With the split that all share.
        config: What to compare.
        tunings: The settings of each recipe.
        models: A name for the folders of each model.
        cache: As for `train`.
        progress: Told how the work moves.
    """

    place: ComparisonFolder
    dataset: Dataset
    config: CompareConfig
    tunings: Mapping[RecipeName, TuneConfig]
    models: Mapping[str, str]
    cache: str | Path | None
    progress: Progress

    def cells(self) -> Iterator[Cell]:
        """Train what is not finished; all recipes and models with one seed before the next."""
        jobs = list(product(range(self.config.seeds), self.models, self.tunings))
        hopeless: dict[tuple[str, str], str] = {}
        for number, (seed, model, recipe) in enumerate(jobs, 1):
            self.progress.note(f"{number} of {len(jobs)}: {recipe}, {model}, seed {seed}")
            if why := hopeless.get((recipe, model)):
                yield Cell(recipe, model, seed, None, why)
                continue
            try:
                outcome = self._outcome(recipe, model, seed)
            except (BackboneError, ConfigError, TrainingError) as error:
                self.progress.note(f"failed: {error}")
                if not isinstance(error, TrainingError):  # with another seed it would fail alike
                    hopeless[recipe, model] = str(error)
                yield Cell(recipe, model, seed, None, str(error))
            else:
                yield Cell(recipe, model, seed, outcome)

    def _outcome(self, recipe: RecipeName, model: str, seed: int) -> Outcome:
        run = self.place.run(recipe, self.models[model], seed)
        waits = Unfinished.waits(run)
        if is_run(run) and not (waits and recipe == "auto"):  # auto saves its first rung at once
            self.progress.note(f"{run.name} is finished")
            return Outcome.read(run)
        result = train(
            self.dataset,
            self.config.training(recipe, model, seed),
            self.tunings[recipe],
            out=run,
            cache=self.cache,
            resume=waits,
            progress=self.progress,
        )
        return Outcome.read(result.run)


def _check_recipes(config: CompareConfig) -> tuple[RecipeName, ...]:
    """The recipes asked for, each once.

    Raises:
        ConfigError: A name is none; the nearest is suggested. Or none takes the head's start.
    """
    problems = []
    for name in config.recipes:
        if name not in RECIPE_NAMES:
            near = difflib.get_close_matches(name, RECIPE_NAMES, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            problems.append(f"No recipe is called {name!r}.{hint}")
    if problems:
        raise ConfigError(f"{' '.join(problems)} Known: {', '.join(RECIPE_NAMES)}.")
    recipes = tuple(
        known for name in dict.fromkeys(config.recipes) for known in RECIPE_NAMES if known == name
    )
    if config.budget is not None and "auto" not in recipes:
        raise ConfigError(f"--budget {config.budget} belongs to the recipe auto, which is not compared.")
    starts = {config.training(recipe, config.models[0], 0).head_init for recipe in recipes}
    if config.head_init not in starts:
        raise ConfigError(
            f"--head-init {config.head_init}: none of the recipes {', '.join(recipes)} takes this, so it "
            "would do nothing. Leave it out, or add a recipe that does."
        )
    return recipes


def _share_out(recipes: Sequence[RecipeName], tuning: TuneConfig) -> dict[RecipeName, TuneConfig]:
    """What each recipe takes of the settings.

    Raises:
        ConfigError: None takes a setting that was given.
    """
    from headstart.recipes.catalogue import settings_for  # seconds of torch

    shares = {recipe: settings_for(recipe, tuning) for recipe in recipes}
    default = TuneConfig()
    idle = [
        f"--{name.replace('_', '-')}"
        for name, value in asdict(tuning).items()
        if value != getattr(default, name)
        and name not in _OF_THE_SPLIT
        and all(getattr(share, name) != value for share in shares.values())
    ]
    if idle:
        raise ConfigError(
            f"{', '.join(idle)}: none of the recipes {', '.join(recipes)} takes this, so it would do "
            "nothing. Leave it out, or add a recipe that does."
        )
    return shares


def _name_of(model: str) -> str:
    """What a model's folders are called: its own name, but a weights file's after its content.

    Raises:
        BackboneError: There is no such file or architecture.
    """
    backbone = find_backbone(model)
    if model not in CATALOGUE and not isinstance(backbone.weights, OnnxFile):
        from headstart.backbones.architecture import find_architecture  # seconds of torch

        find_architecture(backbone.architecture)  # a typo is told before hours of training
    return backbone.alias if isinstance(backbone.weights, WeightsFile | OnnxFile) else backbone.name


def _split(prepared: Prepared, tuning: TuneConfig) -> SplitPlan:
    """Hold out what is to choose and to measure; the embedded backbone tells near-duplicates apart.

    Raises:
        ConfigError: Nothing can be held out.
    """
    with blas_threads(len(prepared.dataset)):
        plan = plan_split(
            prepared.dataset, prepared.stores["center"], prepared.config, val_fraction=tuning.val_fraction
        )
    check_held_out(prepared.dataset, plan)
    return plan


def _facts(dataset: Dataset, plan: SplitPlan, config: CompareConfig, tuning: TuneConfig) -> dict[str, str]:
    """What all trainings of a comparison have in common."""
    shared = {name: value for name, value in asdict(config).items() if name not in _VARIED}
    return {
        "images": digest_split(dataset, plan),
        "classes": ", ".join(dataset.classes),
        **{name: str(value) for name, value in {**shared, **asdict(tuning)}.items()},
        "headstart": version("headstart"),
        "torch": version("torch"),
    }


def _conclude(
    place: ComparisonFolder, cells: Sequence[Cell], dataset: Dataset, plan: SplitPlan
) -> Comparison:
    """Choose the best.

    Raises:
        TrainingError: No training came through; says why.
    """
    rows, best = make_rows(cells)
    if best is None:
        reasons = dict.fromkeys(failure for row in rows for failure in row.failures)
        raise TrainingError("No training came through:" + "".join(f"\n  {reason}" for reason in reasons))
    images = {part: len(plan.rows(part)) for part in ("train", "val", "test")}
    return Comparison(place.path, rows, best, tuple(cells), images, describe_findings(dataset, plan))


def _curves(comparison: Comparison) -> list[Curve]:
    """Validation accuracy over time of each row's chosen training."""
    return [
        Curve(row.recipe, row.model, row.chosen.curve, solved=row.chosen.images_per_s is None)
        for row in comparison.rows
        if row.chosen
    ]
