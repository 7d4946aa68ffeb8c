"""A network about to be trained: whole, or only what lies above a cut, on cached activations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.api.follow import watch
from headstart.api.plan import SplitPlan
from headstart.api.prepare import Prepared
from headstart.api.probe import solve_start
from headstart.api.trained import data_name
from headstart.backbones.convert import open_lower
from headstart.backbones.cut import Lower, Tail, split
from headstart.backbones.folding import fold_norms
from headstart.backbones.freeze import deciding_rules, freeze_all_but_norms_and_biases, make_plan
from headstart.backbones.network import Network, make_network, set_head
from headstart.backbones.quick import quicken
from headstart.backbones.runtime import Runtime, open_runtime
from headstart.backbones.stages import Stage, find_stages
from headstart.config import Precision, Preprocessing, TrainConfig, TuneConfig
from headstart.data.augment import find_policy
from headstart.data.pixels import PixelStore
from headstart.errors import ConfigError, UnreadableImageError
from headstart.features.extract import extract, open_store
from headstart.recipes.catalogue import freeze_first
from headstart.recipes.effort import suited_px
from headstart.recipes.growth import share_views
from headstart.training.batch_size import SMALLEST, find_batch_size
from headstart.training.batches import Batches, GrowingBatches, ImageBatches, ShortEpochs
from headstart.training.boundary import (
    ActivationBatches,
    Activations,
    MakeView,
    evaluation_batches,
    store_activations,
)
from headstart.training.checkpoint import Checkpoint
from headstart.training.events import Event
from headstart.training.loggers import logged, parse_loggers
from headstart.training.loop import Trainer, Validation
from headstart.training.phase import Phase
from headstart.training.precision import time_precisions, time_steps

_EVALUATION_BATCH = 32
_TIMED_BATCH = 32
_TIMED_S = 1.5


@dataclass(frozen=True, eq=False)
class Job:
    """What a network is trained on, and how.

    Attributes:
        prepared: The data and the backbone.
        plan: Who learns and who judges.
        tuning: How.
        preprocessing: The view at the size of the training.
        batches: The training images, decoded.
        views: The exact centre views, decoded.
        sizes: Side of the training views in each epoch; empty where they are the batches' own.
    """

    prepared: Prepared
    plan: SplitPlan
    tuning: TuneConfig
    preprocessing: Preprocessing
    batches: ImageBatches
    views: PixelStore
    sizes: tuple[int, ...] = ()

    @classmethod
    def decode(
        cls, prepared: Prepared, plan: SplitPlan, tuning: TuneConfig, preprocessing: Preprocessing
    ) -> "Job":
        """Decode once: whole pictures to learn from, exact centre views to be judged on.

        Raises:
            UnreadableImageError: A file changed since it was embedded.
        """
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
            find_policy(tuning.augment),
            preprocessing.crop_px,
            tuning.batch_size if isinstance(tuning.batch_size, int) else SMALLEST,
            prepared.config.seed,
            balance=prepared.config.balance,
            processes=prepared.processes,
        )
        return cls(prepared, plan, tuning, preprocessing, batches, views)

    @property
    def n_train(self) -> int:
        """Images that are learnt from."""
        return len(self.batches.keys)

    @property
    def val_keys(self) -> list[str]:
        """Of the images that choices are made on."""
        return [self.prepared.dataset.samples[row].file.key for row in self.plan.rows("val")]

    @property
    def val_labels(self) -> NDArray[np.int64]:
        """Their class indices."""
        return self.prepared.dataset.class_indices()[self.plan.rows("val")]

    def sized(self, file: Path, module: nn.Module, precision: Precision, example: torch.Tensor) -> "Job":
        """With the batch size that `auto` stands for, measured or as it was recorded in the file."""
        if self.tuning.batch_size != "auto":
            return self
        with self.prepared.progress.stage("Timing batch sizes", None):
            found = find_batch_size(file, module, precision, example, self.n_train)
        self.prepared.progress.note(found.describe())
        tuning = replace(self.tuning, batch_size=found.size)
        return replace(self, tuning=tuning, batches=replace(self.batches, batch_size=found.size))

    def validation(self) -> Validation:
        """The validation images' centre views."""
        keys = self.val_keys

        def inputs() -> Iterator[torch.Tensor]:
            for start in range(0, len(keys), _EVALUATION_BATCH):
                chunk = keys[start : start + _EVALUATION_BATCH]
                yield torch.from_numpy(np.stack([self.views[key] for key in chunk]))

        return Validation(inputs, self.val_labels)


def run_title(prepared: Prepared) -> str:
    """What a training is called where it must be told from others: its data and its recipe."""
    return f"{data_name(prepared.dataset)}-{prepared.config.recipe}"


def describe_settings(*settings: TrainConfig | TuneConfig) -> dict[str, str]:
    """Each setting in words."""
    return {field.name: str(getattr(some, field.name)) for some in settings for field in fields(some)}


def training_view(prepared: Prepared, tuning: TuneConfig) -> Preprocessing:
    """The view at the size asked for, or at the one that suits the pictures.

    Raises:
        ConfigError: The backbone takes no other size than its own.
    """
    trunk = prepared.trunk
    if tuning.input_px is not None or trunk.fixed_input:
        return trunk.view_at(tuning.input_px)
    suited = suited_px(prepared.dataset.shorter_sides_px(), trunk.preprocessing.crop_px)
    if suited < trunk.preprocessing.crop_px:
        prepared.progress.note(
            f"These pictures are small, so the backbone is trained on views of {suited} pixels instead of "
            f"{trunk.preprocessing.crop_px}, several times as fast; --input-px says otherwise."
        )
    return trunk.view_at(suited)


def new_network(prepared: Prepared, preprocessing: Preprocessing) -> Network:
    """Pretrained, or random for the recipe scratch; its head is random yet."""
    network = make_network(
        prepared.trunk,
        len(prepared.dataset.classes),
        pretrained=prepared.config.recipe != "scratch",
        seed=prepared.config.seed,
    )
    network.preprocessing = preprocessing
    return network


def start_head(network: Network, prepared: Prepared, plan: SplitPlan) -> None:
    """Give the network the head that was asked for, solved at its size, in place."""
    if prepared.config.recipe != "scratch" and prepared.config.head_init != "random":
        sized = _embed_at(prepared, plan, network.preprocessing)
        with prepared.progress.stage("Solving the head", None):
            set_head(network, *solve_start(sized, plan))


def _embed_at(prepared: Prepared, plan: SplitPlan, preprocessing: Preprocessing) -> Prepared:
    """The same with the training images' features at another size, if it is another."""
    if preprocessing == prepared.trunk.preprocessing:
        return prepared
    trunk = replace(prepared.trunk, preprocessing=preprocessing)
    runtime = open_runtime(trunk, prepared.runtime.name)
    store = open_store(prepared.cache, trunk, runtime.name)
    files = [prepared.dataset.samples[row].file for row in plan.rows("train")]
    extract(files, trunk, runtime, {"center": store}, progress=prepared.progress)
    return replace(prepared, trunk=trunk, runtime=runtime, stores={"center": store})


@dataclass(frozen=True, eq=False)
class Fitting:
    """What learns, and how fast it does.

    Attributes:
        job: What it learns from.
        network: The whole; `adopt` gives it what was learnt.
        module: What learns: the network itself, or what lies above the cut.
        phases: With rules for the module's parameters.
        validation: In the form that the module takes.
        precision: The faster one here, or the one asked for.
        example: A batch of what the module takes.
        frozen: Opens what lies below the cut for views of a side; None without a cut.
        views_per_s: Of that at full size, augmentation included.
    """

    job: Job
    network: Network
    module: nn.Module
    phases: tuple[Phase, ...]
    validation: Validation
    precision: Precision
    example: torch.Tensor
    frozen: Callable[[int], Runtime] | None = None
    views_per_s: float = float("inf")

    def describe(self) -> dict[str, str]:
        """What was measured, and must be the same for all processes that train together."""
        return {"batch size": str(self.job.tuning.batch_size), "precision": self.precision}

    def time_steps(self) -> float:
        """Images a second of bare training steps, as the machine is now."""
        with self.job.prepared.progress.stage("Timing a few steps", None):
            return time_steps(self.module, self.precision, self.example, least_s=_TIMED_S)

    def batches(self, folder: Path, n_views: int) -> Batches:
        """What the module learns from; above a cut, `n_views` of each image are embedded first."""
        job = self.job
        own_px = job.batches.size_px
        views = share_views(job.sizes, n_views) if job.sizes else {own_px: n_views}
        if self.frozen is None:
            of_size: dict[int, Batches] = {px: replace(job.batches, size_px=px) for px in views}
        else:
            of_size = dict(self._embed(self.frozen, folder, views))
        if (steps := job.tuning.steps_per_epoch) is not None:
            of_size = {px: ShortEpochs(batches, steps) for px, batches in of_size.items()}
        return GrowingBatches(of_size.__getitem__, job.sizes) if job.sizes else of_size[own_px]

    def _embed(
        self, frozen: Callable[[int], Runtime], folder: Path, views: Mapping[int, int]
    ) -> Iterator[tuple[int, ActivationBatches]]:
        """Batches of activations for each side of views, of which there are so many."""
        job, first = self.job, 0
        config = job.prepared.config
        in_turn = bool(job.sizes) and job.tuning.steps_per_epoch is None  # else epochs are no passes
        with job.prepared.progress.stage("Running the frozen stages", len(views) * job.n_train) as advance:
            for px, n_views in views.items():
                file, size = folder / f"activations-{px}-{n_views}.bin", (job.n_train, n_views)
                view = partial(_number_from, replace(job.batches, size_px=px).view, first)
                activations = store_activations(file, frozen(px), view, size, advance)
                first += n_views
                yield (
                    px,
                    ActivationBatches(
                        activations,
                        job.batches.labels,
                        job.batches.batch_size,
                        config.seed,
                        balance=config.balance,
                        processes=job.prepared.processes,
                        first_epoch=job.sizes.index(px) if in_turn else 0,
                    ),
                )

    def run(
        self,
        batches: Batches,
        folder: Path,
        *,
        name: str = "checkpoint",
        deadline: float | None = None,
    ) -> list[dict[str, Any]]:
        """Train, watched and kept on disk; returns the history. The module holds the best epoch's weights."""
        prepared, job = self.job.prepared, self.job
        trainer = self.trainer(batches, Checkpoint(folder / f"{name}.pt"), deadline=deadline)
        events: Iterator[Event] = trainer.run()
        names = parse_loggers(job.tuning.log)
        if names and prepared.processes.is_first:
            run_name = run_title(prepared) if name == "checkpoint" else f"{run_title(prepared)}-{name}"
            events = logged(events, names, folder, describe_settings(prepared.config, job.tuning), run_name)
        return watch(events, folder / prepared.processes.own("history.jsonl"), prepared.progress)

    def trainer(
        self,
        batches: Batches,
        checkpoint: Checkpoint | None = None,
        *,
        deadline: float | None = None,
        schedule: Callable[[float], float] | None = None,
    ) -> Trainer:
        """The loop over the phases, about to run; see `Trainer` for what it takes."""
        config, processes = self.job.prepared.config, self.job.prepared.processes
        torch.manual_seed(config.seed + (processes.rank << 32))
        return Trainer(
            self.module,
            batches,
            self.validation,
            self.phases,
            self.job.tuning,
            len(self.job.prepared.dataset.classes),
            checkpoint,
            self.precision,
            config.seed,
            schedule,
            deadline,
            processes,
            [float(px**2) for px in self.job.sizes],
        )

    def adopt(self) -> None:
        """Give the network what the module has learnt."""
        if self.module is not self.network:
            self.network.load_state_dict(self.module.state_dict(), strict=False)


def open_fitting(job: Job, network: Network, phases: Sequence[Phase], folder: Path) -> Fitting:
    """Cut the network where its lowest learning stage begins, if that spares work; time its steps."""
    if job.tuning.norm_bias_only:
        frozen = freeze_all_but_norms_and_biases(network, "backbone.")
        phases = freeze_first(phases, frozen, network)
    stage = _lowest_learning(find_stages(network), network, phases)
    if stage is not None and job.tuning.views and not job.tuning.cutmix:
        try:
            lower, tail = split(network, stage)
        except ConfigError:  # this architecture can't be cut there, so it runs whole
            return _open_whole(job, network, phases, folder)
        return _open_tail(job, network, phases, lower, tail, folder / f"validation-{stage.name}.bin")
    return _open_whole(job, network, phases, folder)


def _open_whole(job: Job, network: Network, phases: Sequence[Phase], folder: Path) -> Fitting:
    px = job.preprocessing.crop_px
    quicken(network)
    generator = torch.Generator().manual_seed(0)
    example = torch.randint(0, 256, (_TIMED_BATCH, px, px, 3), dtype=torch.uint8, generator=generator)
    _fold(job, network, example)
    precision = _choose_precision(job, network, f"{px}", example)
    job = job.sized(folder / "batch-size-whole.json", network, precision, example)
    return Fitting(job, network, network, tuple(phases), job.validation(), precision, example)


def _open_tail(
    job: Job, network: Network, phases: Sequence[Phase], lower: Lower, tail: Tail, file: Path
) -> Fitting:
    progress, px, keys = job.prepared.progress, job.preprocessing.crop_px, job.val_keys
    with progress.stage("Converting the frozen stages", None):
        frozen = cache(partial(open_lower, lower, name=job.prepared.runtime.name))
        runtime = frozen(px)
    if runtime.name != job.prepared.runtime.name:
        progress.note(f"The frozen stages run on {runtime.name}, for OpenVINO can't convert them.")
    quicken(tail)
    with progress.stage("Running the frozen stages on validation images", len(keys)) as advance:
        runtime.embed(job.views[keys[0]][None])  # the first call is slower than those that are timed
        started = perf_counter()
        held_out = store_activations(
            file, runtime, lambda row, _: job.views[keys[row]], (len(keys), 1), advance
        )
        views_per_s = len(keys) / (perf_counter() - started)
    names = [name for name, _ in tail.named_parameters()]
    rules = [replace(phase, rules=deciding_rules(names, phase.rules)) for phase in phases]
    validation = Validation(partial(evaluation_batches, held_out), job.val_labels)
    example = _repeat(held_out)
    _fold(job, tail, example)
    precision = _choose_precision(job, tail, f"{px}-{file.stem}", example)
    recorded = file.with_name(f"{file.stem.replace('validation', 'batch-size')}.json")
    job = job.sized(recorded, tail, precision, example)
    return Fitting(job, network, tail, tuple(rules), validation, precision, example, frozen, views_per_s)


def _number_from(view: MakeView, first: int, row: int, number: int) -> NDArray[np.uint8]:
    """A view, where the first of an image's is of another number than 0."""
    return view(row, first + number)


def _fold(job: Job, module: nn.Module, example: torch.Tensor) -> None:
    """Spare the batch norms' own passes where their statistics stay as they are."""
    if job.tuning.norm_statistics == "frozen":
        fold_norms(module, example[:1])


def _repeat(activations: Activations) -> torch.Tensor:
    """A batch to time steps with."""
    rows = np.arange(_TIMED_BATCH) % len(activations.data)
    return activations.batch(rows, np.zeros_like(rows))


def _choose_precision(job: Job, module: nn.Module, name: str, example: torch.Tensor) -> Precision:
    """The precision asked for, or the faster one."""
    if job.tuning.precision != "auto":
        return job.tuning.precision
    count = job.prepared.processes.count
    shared = "" if count == 1 else f"-of-{count}"  # of several, each has fewer threads
    name = f"{name}-{job.tuning.norm_statistics}{shared}"
    with job.prepared.progress.stage("Timing the precisions", None):
        speeds = time_precisions(module, job.prepared.trunk.folder, name, example)
    return max(speeds, key=lambda precision: speeds[precision])


def _lowest_learning(stages: Sequence[Stage], network: Network, phases: Sequence[Phase]) -> Stage | None:
    """The first stage of which a phase trains anything; None where that is the first of all, or none is."""
    names = [name for name, _ in network.named_parameters()]
    plans = [make_plan(names, phase.rules) for phase in phases]
    for index, stage in enumerate(stages):
        if any(plan[name] > 0 for plan in plans for name in stage.parameters):
            return stage if index else None
    return None
