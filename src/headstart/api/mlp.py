"""The recipe probe with `--head mlp`: hidden layers, trained on stored features in the one loop."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.api.findings import describe_findings
from headstart.api.follow import results_csv, watch
from headstart.api.measure import measure
from headstart.api.plan import SplitPlan
from headstart.api.prepare import Prepared
from headstart.api.save import save_run
from headstart.api.trained import Head, Trained, TrainResult, data_name
from headstart.api.tune import facts_of, plan_training
from headstart.classifier import head_logits
from headstart.config import TuneConfig
from headstart.errors import ConfigError
from headstart.features.embed import View
from headstart.heads.hidden import Floats
from headstart.metrics.calibration import fit_temperature
from headstart.recipes.mlp import MlpHead
from headstart.run.unfinished import Unfinished
from headstart.training.checkpoint import Checkpoint
from headstart.training.loop import Trainer, Validation
from headstart.training.mlp import FeatureBatches, Mlp

WIDTH = 4096
"""Of both hidden layers."""


def train_mlp(prepared: Prepared, tuning: TuneConfig, out: Path | None, *, resume: bool) -> TrainResult:
    """Train the head, choose the epoch by validation, measure once, save.

    Raises:
        ConfigError: Settings that don't fit the data, or a batch size that is to be timed on a backbone.
        DivergedError: The loss is not finite.
        ResumeError: There is nothing to go on with.
        StorageError: The disk is full, read-only or forbidden.
    """
    if tuning.batch_size == "auto":
        raise ConfigError("--batch-size auto times a backbone; --head mlp trains none. Give a number.")
    clock, progress, recipe = prepared.clock, prepared.progress, _recipe(tuning)
    tuning = replace(tuning, patience=recipe.patience)
    with clock.stage("head"):
        plan = plan_training(prepared, tuning)
    tuning = tuning.settled(len(plan.rows("train")))
    name = f"{data_name(prepared.dataset)}-{prepared.config.recipe}"
    unfinished = Unfinished.open(out, name, facts_of(prepared, plan, tuning), resume=resume)
    with clock.stage("training"):
        mlp, history = _fit(prepared, plan, tuning, recipe, unfinished.folder)
    with clock.stage("measuring"):
        trained = _measured(prepared, plan, tuning, mlp, history)
    with clock.stage("saving"), progress.stage("Saving the run", None):
        run = save_run(trained, out, clock.seconds())
        unfinished.remove()
    return TrainResult.of(run, trained, clock.seconds())


def _recipe(tuning: TuneConfig) -> MlpHead:
    """With what the user set in place of its defaults."""
    default = MlpHead()
    return MlpHead(
        epochs=tuning.epochs or default.epochs,
        lr=tuning.lr or default.lr,
        patience=tuning.patience or default.patience,
    )


def _fit(
    prepared: Prepared, plan: SplitPlan, tuning: TuneConfig, recipe: MlpHead, folder: Path
) -> tuple[Mlp, list[dict[str, Any]]]:
    """The head of the best epoch, and how it came to be."""
    config, labels = prepared.config, prepared.dataset.class_indices()
    views = [_features(prepared, plan, "train", view) for view in prepared.stores]
    held_out = torch.from_numpy(_features(prepared, plan, "val"))
    size = tuning.batch_size if isinstance(tuning.batch_size, int) else len(views[0])
    mlp = Mlp(views[0], len(prepared.dataset.classes), width=WIDTH, seed=config.seed)
    trainer = Trainer(
        mlp,
        FeatureBatches(views, labels[plan.rows("train")], size, config.seed, balance=config.balance),
        Validation(lambda: iter([held_out]), labels[plan.rows("val")]),
        recipe.phases(),
        tuning,
        len(prepared.dataset.classes),
        Checkpoint(folder / "checkpoint.pt"),
        "fp32" if tuning.precision == "auto" else tuning.precision,
        config.seed,
    )
    torch.manual_seed(config.seed)
    try:
        return mlp, watch(trainer.run(), folder / "history.jsonl", prepared.progress)
    except KeyboardInterrupt:
        prepared.progress.note("The same command with --resume goes on from the last checkpoint.")
        raise


def _measured(
    prepared: Prepared, plan: SplitPlan, tuning: TuneConfig, mlp: Mlp, history: Sequence[dict[str, Any]]
) -> Trained:
    """Calibrate on the validation images, and measure on arrays as the classifier will."""
    dataset, store = prepared.dataset, prepared.stores["center"]
    hidden, weight, bias = mlp.layers()
    uncalibrated = head_logits(_features(prepared, plan, "val"), weight, bias, hidden)
    temperature = fit_temperature(uncalibrated, dataset.class_indices()[plan.rows("val")])
    weight, bias = ((array / temperature).astype(np.float32) for array in (weight, bias))
    head = Head(weight, bias, temperature, {"method": "gradient"}, history, hidden)
    return Trained(
        prepared.config,
        prepared.backbone,
        prepared.trunk,
        prepared.runtime.name,
        dataset,
        plan,
        head,
        measure(dataset, plan, head, store, hidden),
        describe_findings(dataset, plan),
        tuning,
        results_csv(history),
    )


def _features(prepared: Prepared, plan: SplitPlan, part: str, view: View = "center") -> Floats:
    samples = prepared.dataset.samples
    return prepared.stores[view].table([samples[row].file.key for row in plan.rows(part)]).matrix()
