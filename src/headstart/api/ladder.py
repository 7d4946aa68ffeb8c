"""The recipe auto: climb while time is left and validation says that it pays."""

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.api.finish import measure_network
from headstart.api.fitting import (
    Fitting,
    Job,
    new_network,
    open_fitting,
    run_title,
    start_head,
    training_view,
)
from headstart.api.follow import describe, keep, read_history
from headstart.api.plan import SplitPlan
from headstart.api.prepare import Prepared
from headstart.api.probe import fit_on_features, solve_probe
from headstart.api.save import complete_run, save_run
from headstart.api.trained import Trained, TrainResult
from headstart.api.tune import facts_of, plan_training, resolve_norms
from headstart.backbones.choice import read_speeds
from headstart.backbones.network import Network, set_head
from headstart.backbones.stages import find_stages
from headstart.config import Preprocessing, TuneConfig, parse_duration
from headstart.errors import ConfigError
from headstart.heads.probe import Probe
from headstart.metrics.gain import measure_gain
from headstart.recipes.effort import Effort, Pace, plan_effort
from headstart.recipes.growth import suits_growing
from headstart.recipes.ladder import RUNGS, Rung, with_epochs, with_rate_for
from headstart.run.atomic import write_json
from headstart.run.unfinished import Unfinished
from headstart.training.allocator import reusing_memory
from headstart.training.events import Event, RungEnded, RungStarted
from headstart.training.interpolate import try_blends
from headstart.training.loop import predict_logits

_ALPHAS = (0.25, 0.5, 0.75, 1.0)
_CONVERT_S = 8.0
_SMOOTHING = 0.1


@reusing_memory()
def climb(prepared: Prepared, tuning: TuneConfig, out: Path | None, *, resume: bool) -> TrainResult:
    """Save the probe, then try rung after rung; what is better takes its place.

    Raises:
        ConfigError: Settings that don't fit the data.
        DivergedError: The loss is not finite.
        ResumeError: There is nothing to go on with.
        StorageError: The disk is full, read-only or forbidden.
    """
    clock, progress = prepared.clock, prepared.progress
    rungs = _rungs(tuning)
    with clock.stage("head"):
        plan = plan_training(prepared, tuning)
    tuning = tuning.settled(len(plan.rows("train")))
    facts = facts_of(prepared, plan, tuning)
    unfinished = Unfinished.open(out, run_title(prepared), facts, resume=resume, note=progress.note)
    log = _Log.open(unfinished.folder)
    best: Trained = solve_probe(prepared)
    if log.run is None or not log.run.is_dir():
        with clock.stage("saving"), progress.stage("Saving the probe", None):
            log.run = save_run(best, out, clock.seconds())
        log.write()
    progress.note(f"The probe is saved in {log.run}; what is better will take its place.")
    climber = _Climber(prepared, plan, _settings(tuning), log)
    try:
        for rung in rungs:
            better = climber.try_rung(rung)
            if better is not None:
                best = better
                with clock.stage("saving"), progress.stage("Saving the run", None):
                    save_run(best, out, clock.seconds(), replacing=log.run)
            if climber.is_out_of_time:
                break
    except KeyboardInterrupt:
        progress.note(
            f"The best so far is in {log.run}. The same command with --resume goes on from the last "
            "checkpoint."
        )
        raise
    complete_run(log.run, read_history(unfinished.history), clock.seconds())
    unfinished.remove()
    return TrainResult.of(log.run, best, clock.seconds())


def _rungs(tuning: TuneConfig) -> list[Rung]:
    """Those of the ladder, no longer than asked for.

    Raises:
        ConfigError: Settings that every rung decides for itself.
    """
    own = ("lr", "backbone_lr", "cut", "steps_per_epoch")
    chosen = [name for name in own if getattr(tuning, name) is not None]
    if flags := [f"--{name.replace('_', '-')}" for name in chosen] + ["--freeze-rules"] * bool(
        tuning.freeze_rules
    ):
        raise ConfigError(
            f"{', '.join(flags)}: each rung of the recipe auto has its own. Name a recipe that takes it, "
            "such as --recipe finetune."
        )
    if tuning.epochs is None:
        return list(RUNGS)
    return [with_epochs(rung, min(tuning.epochs, rung.recipe.epochs)) for rung in RUNGS]


def _settings(tuning: TuneConfig) -> TuneConfig:
    """The user's, with what helps the rungs where the user said nothing."""
    settled = resolve_norms(tuning, scratch=False)
    return settled if tuning.label_smoothing else replace(settled, label_smoothing=_SMOOTHING)


@dataclass(eq=False)
class _Log:
    """What a resumed climb must know, kept in `ladder.json`.

    Attributes:
        file: Where.
        run: The saved run.
        spent_s: Seconds that earlier sittings took.
        efforts: What each rung set out to do.
    """

    file: Path
    run: Path | None
    spent_s: float
    efforts: dict[str, Effort]

    @classmethod
    def open(cls, folder: Path) -> "_Log":
        file = folder / "ladder.json"
        if not file.is_file():
            return cls(file, None, 0.0, {})
        kept = json.loads(file.read_text(encoding="utf-8"))
        latest = max((path.stat().st_mtime for path in folder.iterdir()), default=kept["at"])
        efforts = {name: Effort(**effort) for name, effort in kept["efforts"].items()}
        return cls(file, Path(kept["run"]), kept["spent_s"] + max(latest - kept["at"], 0.0), efforts)

    def write(self) -> None:
        efforts = {name: asdict(effort) for name, effort in self.efforts.items()}
        write_json(
            self.file,
            {"run": str(self.run), "spent_s": self.spent_s, "at": time.time(), "efforts": efforts},
        )


class _Climber:
    """The rungs above the probe, from its head on."""

    def __init__(self, prepared: Prepared, plan: SplitPlan, tuning: TuneConfig, log: _Log) -> None:
        self.prepared, self.plan, self.tuning, self.log = prepared, plan, tuning, log
        budget = prepared.config.budget
        self._budget_s = parse_duration(budget) if budget else None
        self.is_out_of_time = False
        self._network: Network | None = None
        self._standing: NDArray[np.float64] | None = None

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left; infinite without one."""
        if self._budget_s is None:
            return float("inf")
        return self._budget_s - self.log.spent_s - self.prepared.clock.elapsed_s

    @property
    def _folder(self) -> Path:
        return self.log.file.parent

    def try_rung(self, rung: Rung) -> Trained | None:
        """Train a rung if time allows; what it gave, measured, if validation says that it is better."""
        clock = self.prepared.clock
        if self.left_s <= self._closing_s:
            self._give_up(rung, self._closing_s)
            return None
        with clock.stage("head"):
            job = self._open_job()
            network = self._network or self._start(job.preprocessing)
            self._network = network
        rung = with_rate_for(rung, self._error(job))
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with clock.stage("timing"):
            phases = rung.recipe.phases(find_stages(network))
            fitting = open_fitting(job, network, phases, self._folder)
            pace = self._pace(fitting, job)
        effort = self._plan_effort(rung, pace, job)
        if effort is None:
            return None
        with clock.stage("training"):
            self._train(rung, fitting, effort, pace.sizes(effort.epochs))
            alpha, logits = self._choose_alpha(fitting, before)
        gain = measure_gain(self._standing_logits(), logits, job.val_labels)
        start = "" if alpha == 1 else f"; weights {alpha:.0%} of the way"
        self._tell(RungEnded(rung.name, gain.is_real, gain.describe() + start))
        if not gain.is_real:
            network.load_state_dict(before)
            return None
        fitting.adopt()
        self._standing = logits
        with clock.stage("measuring"):
            history = read_history(self._folder / "history.jsonl")
            return measure_network(self.prepared, self.plan, self.tuning, network, job.preprocessing, history)

    def _open_job(self) -> Job:
        return Job.decode(self.prepared, self.plan, self.tuning, self._view)

    def _start(self, preprocessing: Preprocessing) -> Network:
        """The pretrained network under the probe's head.

        It was solved at the backbone's own size; to solve it anew at that of the training takes as long as
        half an epoch, which is worth more: the first steps move it far in any case.
        """
        network = new_network(self.prepared, preprocessing)
        if self.prepared.config.head_init == "probe":
            set_head(network, self._probe.weight, self._probe.bias)
        else:
            start_head(network, self.prepared, self.plan)
        return network

    @cached_property
    def _probe(self) -> Probe:
        """Solved without the validation images."""
        return fit_on_features(self.prepared, self.plan, nested=False)

    def _plan_effort(self, rung: Rung, pace: Pace, job: Job) -> Effort | None:
        """How much of a rung to do: as planned before a kill, or what fits into the time left."""
        planned = self.log.efforts.get(rung.name)
        effort = planned or plan_effort(pace, self.left_s, job.tuning.views, rung.epochs)
        if effort is None:
            self._give_up(rung, pace.seconds(Effort(rung.epochs[0], 1)))
            return None
        seconds, limit = pace.seconds(effort), None if self._budget_s is None else self.left_s
        work = (effort.epochs, effort.views, pace.sizes(effort.epochs), rung.recipe.lr)
        self._tell(RungStarted(rung.name, rung.about, *work, seconds, limit))
        self.log.efforts[rung.name] = effort
        self.log.write()
        return effort

    def _give_up(self, rung: Rung, least_s: float) -> None:
        """Say that a rung takes longer than what is left."""
        self.is_out_of_time = True
        reason = f"{rung.about} would take at least {least_s:.0f} s, and {max(self.left_s, 0):.0f} s are left"
        self._tell(RungEnded(rung.name, False, reason))

    def _pace(self, fitting: Fitting, job: Job) -> Pace:
        """What a rung costs, as the machine is now; photographs' views grow, so that an epoch costs less."""
        full_px, trunk = job.preprocessing.crop_px, self.prepared.trunk
        suits = suits_growing(full_px) and not trunk.fixed_input
        grows_to = full_px if suits and self.tuning.progressive is not False else None
        speed = fitting.time_steps()
        return Pace(job.n_train, speed, fitting.views_per_s, self._closing_s, grows_to)

    @cached_property
    def _view(self) -> Preprocessing:
        """What is trained on."""
        return training_view(self.prepared, self.tuning)

    @cached_property
    def _closing_s(self) -> float:
        """Seconds that converting, measuring and saving take after a training."""
        trunk = self.prepared.trunk
        speed = (read_speeds(trunk) or {}).get(self.prepared.runtime.name, 100.0)
        smaller = (trunk.preprocessing.crop_px / self._view.crop_px) ** 2
        n_measured = len(self.plan.rows("val")) + len(self.plan.rows("test"))
        return _CONVERT_S + n_measured / (speed * smaller / 2)

    def _train(self, rung: Rung, fitting: Fitting, effort: Effort, sizes: tuple[int, ...]) -> None:
        deadline = None
        if self._budget_s is not None:
            deadline = time.monotonic() + self.left_s - self._closing_s
        phases = tuple(replace(phase, epochs=effort.epochs, name=rung.name) for phase in fitting.phases)
        job = fitting.job
        steps = effort.steps(job.n_train, job.batches.batch_size)
        job = replace(job, tuning=replace(job.tuning, steps_per_epoch=steps), sizes=sizes)
        fitting = replace(fitting, phases=phases, job=job)
        batches = fitting.batches(self._folder, effort.views)
        fitting.run(batches, self._folder, name=rung.name, deadline=deadline)

    def _choose_alpha(
        self, fitting: Fitting, before: dict[str, torch.Tensor]
    ) -> tuple[float, NDArray[np.float64]]:
        """Go back towards the start as far as validation likes it (WiSE-FT), and leave it there."""
        module, precision = fitting.module, fitting.precision
        start = {name: before[name] for name in module.state_dict()}
        blends = try_blends(module, start, fitting.validation, precision, _ALPHAS)
        alpha = next(blend.alpha for blend in blends if blend.chosen)
        device = next(module.parameters()).device
        return alpha, predict_logits(module, fitting.validation, device, precision)

    def _error(self, job: Job) -> float:
        """Of the best so far, on the validation images."""
        return float((self._standing_logits().argmax(1) != job.val_labels).mean())

    def _standing_logits(self) -> NDArray[np.float64]:
        """What the best so far says of the validation images; at first, the probe's."""
        if self._standing is None:
            dataset, rows = self.prepared.dataset, self.plan.rows("val")
            table = self.prepared.stores["center"].table([dataset.samples[row].file.key for row in rows])
            features = np.concatenate([block for _, block in table.blocks()])
            self._standing = (features @ self._probe.weight.T + self._probe.bias).astype(np.float64)
        return self._standing

    def _tell(self, *events: Event) -> None:
        for event in events:
            self.prepared.progress.note(describe(event))
            keep(event, self._folder / "history.jsonl")
