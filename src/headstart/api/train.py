"""Train: a folder of labelled images becomes a run folder."""

from dataclasses import fields, replace
from pathlib import Path

from headstart.api.prepare import prepare
from headstart.api.probe import train_probe
from headstart.api.trained import TrainResult
from headstart.config import TrainConfig, TuneConfig
from headstart.data.dataset import Dataset
from headstart.errors import ConfigError
from headstart.progress import Progress
from headstart.run.folder import check_writable
from headstart.run.launch import check_alone
from headstart.training.loggers import parse_loggers
from headstart.training.processes import Processes

_OF_A_HEAD = {
    *("epochs", "lr", "batch_size", "accumulate", "optimizer", "schedule", "weight_decay", "val_fraction"),
    *("label_smoothing", "mixup", "l2_sp", "ema", "clip_grad", "patience", "precision"),
}
"""Settings of the training that are of use without a backbone."""

_ALONE = {"probe", "auto"}
"""Recipes that several processes would not be faster with: a head is solved, a ladder measures its time."""


def train(  # noqa: PLR0913 - the data, what to do with them, and where things go
    data: str | Path | Dataset,
    config: TrainConfig | None = None,
    tuning: TuneConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a classifier on labelled images, measure it and save it.

    Where torchrun has started several processes, all call this alike and get the same result; the first alone
    saves the run and tells its progress.

    Args:
        data: A folder with one folder per class (inside `train/`, `val/` and `test/`, or not), a
            CSV or Parquet manifest, or a data set that was read before.
        config: What to do; the defaults solve a linear probe on the embedded backbone.
        tuning: How a recipe other than `probe` trains the backbone.
        out: The run folder, numbered where it exists. Default: `runs/DATA-RECIPE-N`.
        cache: Where features and converted backbones are kept; default: the platform's cache.
        resume: Go on with the training of these data and settings that was cut short.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings, the backbone or the disk need the user.
    """
    config, tuning, folder = config or TrainConfig(), tuning or TuneConfig(), Path(out) if out else None
    if config.budget is not None:
        config = replace(config, recipe="auto")
    _check_belongs(config, tuning, resume=resume)
    if config.recipe in _ALONE:
        check_alone(f"The recipe {config.recipe}")
    parse_loggers(tuning.log)
    if tuning.augment != TuneConfig().augment:
        from headstart.data.augment import find_policy  # seconds of torch

        find_policy(tuning.augment)  # a misspelt one is told before any work
    processes = Processes.join()
    with processes.in_turn():
        check_writable(folder or Path("runs/new"))
        prepared = prepare(data, config, cache, progress if processes.is_first else None)
    prepared = replace(prepared, processes=processes)
    if config.head == "mlp":
        from headstart.api.mlp import train_mlp  # seconds of torch that the linear probe doesn't need

        return train_mlp(prepared, tuning, folder, resume=resume)
    if config.recipe == "probe":
        return train_probe(prepared, folder)
    # Seconds of torch that the probe doesn't need.
    if config.recipe == "auto":
        from headstart.api.ladder import climb

        return climb(prepared, tuning, folder, resume=resume)
    from headstart.api.tune import tune

    return tune(prepared, tuning, folder, resume=resume)


def _check_belongs(config: TrainConfig, tuning: TuneConfig, *, resume: bool) -> None:
    """Refuse settings that the probe would silently ignore."""
    default = TuneConfig()
    given = [f.name for f in fields(tuning) if getattr(tuning, f.name) != getattr(default, f.name)]
    if config.head == "mlp":
        if idle := [f"--{name.replace('_', '-')}" for name in given if name not in _OF_A_HEAD]:
            raise ConfigError(
                f"{', '.join(idle)}: --head mlp learns from stored features, so this would do nothing. "
                "Add a recipe that trains the backbone, such as --recipe finetune."
            )
        return
    _check_recipe_takes(config, tuning)
    flags = [f"--{name.replace('_', '-')}" for name in [*given, *(["resume"] if resume else [])]]
    if config.recipe == "probe" and flags:
        raise ConfigError(
            f"{', '.join(flags)}: the probe trains no backbone, so this would do nothing. "
            "Add a recipe that does, such as --recipe finetune."
        )


def _check_recipe_takes(config: TrainConfig, tuning: TuneConfig) -> None:
    """Refuse options that start from pretrained weights, or that auto decides by itself."""
    unfit = {"scratch": ("lora", "wise_ft"), "auto": ("lora", "progressive")}.get(config.recipe, ())
    if given := [f"--{name.replace('_', '-')}" for name in unfit if getattr(tuning, name)]:
        raise ConfigError(
            f"{', '.join(given)}: not with --recipe {config.recipe}. Take a recipe that trains pretrained "
            "weights in one go, such as --recipe finetune."
        )
