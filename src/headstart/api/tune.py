"""The recipes that train a backbone: from a prepared data set to a saved run."""

import csv
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.api.findings import describe_findings
from headstart.api.measure import measure
from headstart.api.plan import SplitPlan, check_held_out, digest_split, plan_split
from headstart.api.prepare import Prepared
from headstart.api.probe import blas_threads, solve_start
from headstart.api.save import save_run
from headstart.api.source import measure_zero_shot
from headstart.api.trained import Head, Trained, TrainResult, data_name
from headstart.backbones.catalogue import Backbone, WeightsFile
from headstart.backbones.network import Network, make_network, set_head, timm_tensors
from headstart.backbones.runtime import open_runtime
from headstart.backbones.stages import find_stages
from headstart.backbones.trunk import Trunk, convert_trunk
from headstart.config import Precision, Preprocessing, TuneConfig
from headstart.data.augment import Augmentation, find_policy
from headstart.data.pixels import PixelStore
from headstart.errors import ConfigError, UnreadableImageError
from headstart.features.extract import extract, open_store
from headstart.metrics.calibration import fit_temperature
from headstart.progress import Progress
from headstart.recipes.catalogue import make_recipe, rules_of
from headstart.run.atomic import write_bytes
from headstart.run.unfinished import Unfinished
from headstart.training.batches import ImageBatches
from headstart.training.checkpoint import Checkpoint
from headstart.training.events import Advice, EpochEnded, Event, Finished, PhaseStarted, StepEnded, to_json
from headstart.training.loop import Trainer, Validation
from headstart.training.precision import choose_precision

_EVALUATION_BATCH = 32
_RESUMED = ("recipe", "head_init", "source_class", "balance", "seed")


def tune(prepared: Prepared, tuning: TuneConfig, out: Path | None, *, resume: bool) -> TrainResult:
    """Train the backbone as the recipe says, choose the epoch by validation, measure once, save.

    Raises:
        ConfigError: Settings that don't fit the recipe or the data.
        DivergedError: The loss is not finite.
        ResumeError: There is nothing to go on with.
        StorageError: The disk is full, read-only or forbidden.
    """
    clock, progress, config = prepared.clock, prepared.progress, prepared.config
    recipe, policy = make_recipe(config.recipe, tuning), find_policy(tuning.augment)
    preprocessing = prepared.trunk.view_at(tuning.input_px)
    with clock.stage("head"):
        plan = _plan(prepared, tuning)
        network = _make_network(prepared, plan)
    phases = rules_of(recipe.phases(find_stages(network)), tuning.freeze_rules, network)
    with clock.stage("decoding"):
        batches, validation = _decode(prepared, plan, preprocessing, policy, tuning)
    unfinished = Unfinished.open(
        out, f"{data_name(prepared.dataset)}-{config.recipe}", _facts(prepared, plan, tuning), resume=resume
    )
    with clock.stage("timing"):
        precision = _choose_precision(network, prepared, preprocessing, tuning, progress)
    checkpoint = Checkpoint(unfinished.folder / "checkpoint.pt")
    n_classes = len(prepared.dataset.classes)
    trainer = Trainer(
        network, batches, validation, phases, tuning, n_classes, checkpoint, precision, config.seed
    )
    with clock.stage("training"):
        torch.manual_seed(config.seed)
        try:
            history = _watch(trainer.run(), unfinished.history, progress)
        except KeyboardInterrupt:
            progress.note("The same command with --resume goes on from the last checkpoint.")
            raise
    with clock.stage("measuring"):
        trained = _measured(prepared, plan, tuning, network, preprocessing, history)
    with clock.stage("saving"), progress.stage("Saving the run", None):
        run = save_run(trained, out, clock.seconds())
        unfinished.remove()
    return TrainResult.of(run, trained, clock.seconds())


def _plan(prepared: Prepared, tuning: TuneConfig) -> SplitPlan:
    """Split the data, and see that each part can do its work.

    Raises:
        ConfigError: Nothing could be held out, or a batch is larger than what is left to train on.
    """
    dataset = prepared.dataset
    with blas_threads(len(dataset)):
        plan = plan_split(
            dataset, prepared.stores["center"], prepared.config, val_fraction=tuning.val_fraction
        )
    check_held_out(dataset, plan)
    n_train = len(plan.rows("train"))
    if tuning.batch_size > n_train:
        raise ConfigError(
            f"--batch-size {tuning.batch_size} is larger than the {n_train:,} training images that are "
            f"left beside validation and test. Give at most {n_train}."
        )
    return plan


def _make_network(prepared: Prepared, plan: SplitPlan) -> Network:
    """Pretrained, with the head that was asked for; or random."""
    scratch = prepared.config.recipe == "scratch"
    network = make_network(
        prepared.trunk, len(prepared.dataset.classes), pretrained=not scratch, seed=prepared.config.seed
    )
    if not scratch and prepared.config.head_init != "random":
        with prepared.progress.stage("Solving the head", None):
            set_head(network, *solve_start(prepared, plan))
    return network


def _decode(
    prepared: Prepared,
    plan: SplitPlan,
    preprocessing: Preprocessing,
    policy: Augmentation,
    tuning: TuneConfig,
) -> tuple[ImageBatches, Validation]:
    """Decode once: whole pictures to learn from, exact centre views to be judged on."""
    samples, labels = prepared.dataset.samples, prepared.dataset.class_indices()
    pixels = PixelStore.whole(prepared.cache, preprocessing.resize_px)
    views = PixelStore.center(prepared.cache, preprocessing)
    train, val = plan.rows("train"), plan.rows("val")
    for store, rows in ((pixels, train), (views, val)):
        if failures := store.fill([samples[row].file for row in rows], progress=prepared.progress):
            # They could be decoded when they were embedded.
            raise UnreadableImageError(
                f"{next(iter(failures.values()))}. Did it change meanwhile? Train again."
            )
    batches = ImageBatches(
        pixels,
        [samples[row].file.key for row in train],
        labels[train],
        policy,
        preprocessing.crop_px,
        tuning.batch_size,
        prepared.config.seed,
        balance=prepared.config.balance,
    )
    return batches, _validation(views, [samples[row].file.key for row in val], labels[val])


def _validation(views: PixelStore, keys: Sequence[str], labels: np.ndarray[Any, Any]) -> Validation:
    def inputs() -> Iterator[torch.Tensor]:
        for start in range(0, len(keys), _EVALUATION_BATCH):
            chunk = keys[start : start + _EVALUATION_BATCH]
            yield torch.from_numpy(np.stack([views[key] for key in chunk]))

    return Validation(inputs, labels)


def _choose_precision(
    network: Network,
    prepared: Prepared,
    preprocessing: Preprocessing,
    tuning: TuneConfig,
    progress: Progress,
) -> Precision:
    if tuning.precision != "auto":
        return tuning.precision
    with progress.stage("Timing the precisions", None):
        return choose_precision(network, prepared.trunk.folder, preprocessing.crop_px)


def _watch(events: Iterator[Event], history: Path, progress: Progress) -> list[dict[str, Any]]:
    """Follow a training to its end: a bar for its steps, a line an epoch, a file for all but the steps."""
    lines = [json.loads(line) for line in history.read_text().splitlines()] if history.is_file() else []
    steps = progress.stage("Training", None)
    with steps as advance:
        for event in events:
            if isinstance(event, StepEnded):
                advance(1)
                continue
            if text := describe(event):
                progress.note(text)
            lines = _replace_epoch(lines, to_json(event))
            write_bytes(history, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return lines


def _replace_epoch(lines: Sequence[dict[str, Any]], line: dict[str, Any]) -> list[dict[str, Any]]:
    """Add a line; after a resume it takes the place of the one that told the same before the kill."""
    same = ("event", "phase", "epoch", "step", "message")
    kept = [old for old in lines if any(old.get(name) != line.get(name) for name in same)]
    return [*kept, line]


def describe(event: Event) -> str:
    """An event in one line; empty for those that only loggers want."""
    match event:
        case PhaseStarted():
            return (
                f"{event.phase}: {event.epochs} epoch{'s' if event.epochs > 1 else ''} of {event.steps} "
                f"steps; {event.parameters:,} of {event.of:,} parameters learn"
            )
        case EpochEnded():
            return (
                f"epoch {event.epoch}/{event.epochs} {event.phase}: loss {event.train_loss:.3f}, train "
                f"accuracy {event.train_accuracy:.3f}; validation loss {event.val_loss:.3f}, accuracy "
                f"{event.val_accuracy:.3f}; {event.images_per_s:.0f} images/s, "
                f"{event.seconds_left:.0f} s left"
            )
        case Advice():
            return event.message
        case Finished():
            return (
                f"best epoch {event.best_epoch}: validation accuracy {event.val_accuracy:.3f}; {event.reason}"
            )
        case _:
            return ""


def results_csv(history: Sequence[dict[str, Any]]) -> str:
    """One row an epoch."""
    rows = [line for line in history if line["event"] == EpochEnded.__name__]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, [name for name in rows[0] if name != "event"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _measured(
    prepared: Prepared,
    plan: SplitPlan,
    tuning: TuneConfig,
    network: Network,
    preprocessing: Preprocessing,
    history: Sequence[dict[str, Any]],
) -> Trained:
    """Convert the trained backbone and measure it as it will be used: from files, on the fast runtime."""
    trunk = convert_network(network, prepared, preprocessing)
    runtime = open_runtime(trunk, prepared.runtime.name)
    dataset, store = prepared.dataset, open_store(prepared.cache, trunk, runtime.name)
    rows = np.concatenate([plan.rows("val"), plan.rows("test")])
    files = [dataset.samples[row].file for row in rows]
    extract(files, trunk, runtime, {"center": store}, progress=prepared.progress)
    weight, bias = (p.detach().float().cpu().numpy() for p in (network.head.weight, network.head.bias))
    val = plan.rows("val")
    features = np.concatenate(
        [x for _, x in store.table([dataset.samples[row].file.key for row in val]).blocks()]
    )
    temperature = fit_temperature(features @ weight.T + bias, dataset.class_indices()[val])
    calibrated = [(array / temperature).astype(np.float32) for array in (weight, bias)]
    head = Head(calibrated[0], calibrated[1], temperature, {"method": "gradient"}, history)
    return Trained(
        prepared.config,
        prepared.backbone,
        trunk,
        runtime.name,
        dataset,
        plan,
        head,
        measure(dataset, plan, head, store),
        describe_findings(dataset, plan),
        tuning,
        results_csv(history),
        measure_zero_shot(prepared, plan),
    )


def convert_network(network: Network, prepared: Prepared, preprocessing: Preprocessing) -> Trunk:
    """Put a trained network into the cache as a trunk of its own."""
    from safetensors.numpy import save

    old = prepared.trunk
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        write_bytes(file, save(timm_tensors(network, old.classifier)))
        own = Backbone(
            name=prepared.backbone.name,
            architecture=old.architecture,
            weights=WeightsFile(file),
            preprocessing=preprocessing,
            licence=old.licence,
        )
        return convert_trunk(own, prepared.cache / "trunks", prepared.progress)


def _facts(prepared: Prepared, plan: SplitPlan, tuning: TuneConfig) -> dict[str, str]:
    """What must be the same for a training to go on."""
    from importlib.metadata import version

    dataset = prepared.dataset
    return {
        "images": digest_split(dataset, plan),
        "classes": ", ".join(dataset.classes),
        "backbone": prepared.trunk.digest[:16],
        **{name: str(getattr(prepared.config, name)) for name in _RESUMED},
        **{name: str(getattr(tuning, name)) for name in [field.name for field in fields(tuning)]},
        "headstart": version("headstart"),
        "torch": version("torch"),
    }
