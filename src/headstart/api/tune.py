"""The recipes that train a backbone: from a prepared data set to a saved run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from headstart.api.finish import measure_network
from headstart.api.fitting import (
    Job,
    describe_settings,
    new_network,
    open_fitting,
    run_title,
    start_head,
    training_view,
)
from headstart.api.follow import describe
from headstart.api.plan import SplitPlan, check_held_out, digest_split, plan_split
from headstart.api.prepare import Prepared
from headstart.api.probe import blas_threads
from headstart.api.problems import Problems
from headstart.api.save import save_run
from headstart.api.trained import TrainResult
from headstart.backbones.lora import FROZEN, add_lora, merge_lora
from headstart.backbones.network import Network
from headstart.backbones.stages import find_stages
from headstart.backbones.trunk import Trunk
from headstart.config import Precision, RecipeName, TuneConfig
from headstart.data.augment import find_policy
from headstart.errors import ConfigError, DivergedError, StorageError
from headstart.recipes.catalogue import freeze_first, learning_names, make_recipe, rules_of
from headstart.recipes.growth import growing_sizes, grows_unasked
from headstart.run.unfinished import Unfinished
from headstart.training.allocator import reusing_memory
from headstart.training.batch_size import SMALLEST
from headstart.training.events import to_json
from headstart.training.interpolate import try_blends
from headstart.training.phase import Phase

_CHANGEABLE = ("log",)
_RESUMED = ("recipe", "head", "head_init", "source_class", "balance", "seed")


@dataclass(frozen=True, eq=False)
class Start:
    """A training about to begin.

    Attributes:
        tuning: The settings, with what their `auto`s stand for.
        plan: Who learns and who judges.
        network: What learns.
        weights: The network's, to go back towards; empty unless that is wanted.
        phases: What learns when, how fast.
        job: The pictures, decoded.
    """

    tuning: TuneConfig
    plan: SplitPlan
    network: Network
    weights: Mapping[str, torch.Tensor]
    phases: tuple[Phase, ...]
    job: Job

    @classmethod
    def make(cls, prepared: Prepared, tuning: TuneConfig) -> "Start":
        """Split the data, make the network and its phases, decode the pictures.

        Raises:
            ConfigError: Settings that don't fit the recipe or the data; all such are told.
            FreezeRuleError: A rule of the user's is malformed, or decides nothing.
        """
        config, clock, problems = prepared.config, prepared.clock, Problems()
        pretrained = config.recipe != "scratch"
        tuning = resolve_norms(tuning, scratch=not pretrained)
        with clock.stage("head"):
            with problems.noted():
                find_policy(tuning.augment)
            with problems.noted():
                network = new_network(prepared, training_view(prepared, tuning))
                phases = _make_phases(config.recipe, tuning, network)
                sizes = _plan_sizes(prepared.trunk, tuning, network, phases, pretrained=pretrained)
            with problems.noted():
                plan = plan_training(prepared, tuning)
            problems.tell()
            tuning = tuning.settled(len(plan.rows("train")))
            start_head(network, prepared, plan)
        weights = {n: tensor.clone() for n, tensor in network.state_dict().items()} if tuning.wise_ft else {}
        if tuning.lora is not None:
            add_lora(network, tuning.lora, learning_names(phases, network), seed=config.seed)
            phases = freeze_first(phases, FROZEN, network)
        if sizes:
            unasked = "" if tuning.progressive else f"; --no-progressive keeps them at {sizes[-1]}"
            prepared.progress.note(
                f"The views grow: {', '.join(map(str, sizes))} pixels, epoch by epoch{unasked}."
            )
        with clock.stage("decoding"):
            job = Job.decode(prepared, plan, tuning, network.preprocessing)
        return cls(tuning, plan, network, weights, phases, replace(job, sizes=sizes))


@reusing_memory()
def tune(prepared: Prepared, tuning: TuneConfig, out: Path | None, *, resume: bool) -> TrainResult:
    """Train the backbone as the recipe says, choose the epoch by validation, measure once, save.

    Raises:
        ConfigError: Settings that don't fit the recipe or the data.
        DivergedError: The loss is not finite.
        ResumeError: There is nothing to go on with.
        StorageError: The disk is full, read-only or forbidden.
    """
    clock, progress, processes = prepared.clock, prepared.progress, prepared.processes
    with processes.in_turn():
        start = Start.make(prepared, tuning)
    tuning, plan, network, job = start.tuning, start.plan, start.network, start.job
    unfinished = _open_unfinished(prepared, facts_of(prepared, plan, tuning), out, resume=resume)
    with clock.stage("timing"), processes.in_turn():
        fitting = open_fitting(job, network, start.phases, unfinished.folder)
    processes.agree(fitting.describe())
    with clock.stage("training"):
        try:
            with processes.in_turn():
                batches = fitting.batches(unfinished.folder, tuning.views)
            history = fitting.run(batches, unfinished.folder)
        except (KeyboardInterrupt, StorageError):
            progress.note("The same command with --resume goes on from the last checkpoint.")
            raise
        except DivergedError:
            unfinished.remove()  # it would diverge again
            raise
        fitting.adopt()
        if tuning.lora is not None:
            merge_lora(network)
        if tuning.wise_ft:
            history += _go_back(network, start.weights, job, fitting.precision)
    with clock.stage("measuring"), processes.in_turn():
        trained = measure_network(prepared, plan, fitting.job.tuning, network, job.preprocessing, history)
    with clock.stage("saving"), progress.stage("Saving the run", None):
        saved = str(save_run(trained, out, clock.seconds())) if processes.is_first else ""
        unfinished.remove()
        run = Path(processes.tell(saved))
    return TrainResult.of(run, trained, clock.seconds())


def _open_unfinished(
    prepared: Prepared, facts: Mapping[str, str], out: Path | None, *, resume: bool
) -> Unfinished:
    """Where the training is kept until its run is saved: one folder, which the first process finds or makes.

    Raises:
        ResumeError: There is nothing to go on with.
        ProcessError: The processes see different data or settings.
        StorageError: The folder can't be made.
    """
    processes = prepared.processes
    if processes.is_first:
        note = prepared.progress.note
        unfinished = Unfinished.open(out, run_title(prepared), facts, resume=resume, note=note)
        processes.tell(str(unfinished.folder))
    else:
        unfinished = Unfinished.join(Path(processes.tell("")), facts)
    processes.agree(facts)
    return unfinished


def _make_phases(recipe: RecipeName, tuning: TuneConfig, network: Network) -> tuple[Phase, ...]:
    """The recipe's, with the user's settings and rules.

    Raises:
        ConfigError: A setting that the recipe doesn't know, or a stage that the network hasn't.
        FreezeRuleError: A rule of the user's is malformed, or decides nothing.
    """
    phases = make_recipe(recipe, tuning).phases(find_stages(network))
    return rules_of(phases, tuning.freeze_rules, network)


def _plan_sizes(
    trunk: Trunk, tuning: TuneConfig, network: Network, phases: Sequence[Phase], *, pretrained: bool
) -> tuple[int, ...]:
    """Side of the training views in each epoch; nothing where all are alike.

    Raises:
        ConfigError: They are to grow, and can't.
    """
    full_px, epochs = network.preprocessing.crop_px, sum(phase.epochs for phase in phases)
    grow = tuning.progressive
    if grow is None:
        suits = pretrained and not trunk.fixed_input and grows_unasked(full_px, epochs)
        grow = suits and _learns_at_once(network, phases)
    if not grow:
        return ()
    if trunk.fixed_input:
        raise ConfigError(
            f"{trunk.architecture} takes views of {trunk.preprocessing.crop_px} pixels only, so they can't "
            "grow as --progressive wants. Leave it out, or take a convolutional network."
        )
    return growing_sizes(full_px, epochs)


def _learns_at_once(network: Network, phases: Sequence[Phase]) -> bool:
    """Whether all that learns of the backbone does so from the first phase on, and something does."""
    first, *later = (
        {name for name in learning_names([phase], network) if name.startswith("backbone.")}
        for phase in phases
    )
    return bool(first) and all(names == first for names in later)


def resolve_norms(tuning: TuneConfig, *, scratch: bool) -> TuneConfig:
    """The settings with what `auto` stands for: statistics of random weights must be learnt."""
    if tuning.norm_statistics != "auto":
        return tuning
    return replace(tuning, norm_statistics="batch" if scratch else "frozen")


def _go_back(
    network: Network, start: Mapping[str, torch.Tensor], job: Job, precision: Precision
) -> list[dict[str, Any]]:
    """Give the network the weights between start and end that validation likes best; returns the history."""
    with job.prepared.progress.stage("Going back towards the start", None):
        blends = try_blends(network, start, job.validation(), precision)
    for blend in blends:
        if blend.chosen:
            job.prepared.progress.note(describe(blend))
    return [to_json(blend) for blend in blends]


def plan_training(prepared: Prepared, tuning: TuneConfig) -> SplitPlan:
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
    if isinstance(tuning.batch_size, int) and tuning.batch_size > n_train:
        raise ConfigError(
            f"--batch-size {tuning.batch_size} is larger than the {n_train:,} training images that are "
            f"left beside validation and test. Give at most {n_train}."
        )
    _check_shares(tuning.settled(n_train), n_train, prepared.processes.count)
    return plan


def _check_shares(tuning: TuneConfig, n_train: int, n_processes: int) -> None:
    """See that every process gets something of every batch.

    Raises:
        ConfigError: A batch has fewer images than there are processes.
    """
    size = tuning.batch_size if isinstance(tuning.batch_size, int) else SMALLEST
    least = n_train // -(-n_train // size)
    if least < n_processes:
        raise ConfigError(
            f"A batch of {least} images can't be shared by {n_processes} processes. Give a --batch-size of "
            f"at least {2 * n_processes}, or start fewer processes."
        )


def facts_of(prepared: Prepared, plan: SplitPlan, tuning: TuneConfig) -> dict[str, str]:
    """What must be the same for a training to go on."""
    from importlib.metadata import version

    dataset = prepared.dataset
    return {
        "images": f"{len(dataset.samples)} of digest {digest_split(dataset, plan)}",
        "classes": ", ".join(dataset.classes),
        "backbone": prepared.trunk.digest[:16],
        **{name: str(getattr(prepared.config, name)) for name in _RESUMED},
        **{name: text for name, text in describe_settings(tuning).items() if name not in _CHANGEABLE},
        "processes": str(prepared.processes.count),
        "headstart": version("headstart"),
        "torch": version("torch"),
    }
