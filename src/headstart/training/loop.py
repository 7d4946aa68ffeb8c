"""The only training loop: phases in, events out.

Device and processes are accelerate's; what learns is the phases'; what is shown is the batches'. Nobody is
called back: whoever iterates sees each event as it happens.

Several processes each compute the gradients of their share of a batch, in as few parts as their memory
allows, and sum them once before the step: a wrapper around the network would count on equally many backward
passes in all of them.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from headstart.backbones.freeze import apply_plan, make_plan, moving_statistics, train_mode
from headstart.config import Precision, TuneConfig
from headstart.errors import DivergedError, OutOfMemoryError
from headstart.metrics.gain import calibrated_losses
from headstart.training.batches import Batches
from headstart.training.checkpoint import Checkpoint, Progressed, random_state, set_random_state
from headstart.training.events import (
    Advice,
    CheckpointSaved,
    EpochEnded,
    Event,
    Finished,
    PhaseStarted,
    StepEnded,
)
from headstart.training.memory import explaining_memory, first_line, is_out_of_memory, release_memory
from headstart.training.mix import mix
from headstart.training.optim import make_optimizer, make_schedule
from headstart.training.phase import Phase
from headstart.training.processes import Processes

_STUCK = 0.02  # of ln(classes): a loss so near to it after an epoch tells of a head that only guesses
_ALONE = Processes()
_LAG = 0.05  # of the time that steps may lag behind it at first: a training that is on time stays repeatable
_LEAST_PART = 2  # images: of one alone, batch norms have no variance where it has shrunk to one pixel


@dataclass(frozen=True, eq=False)
class Validation:
    """What each epoch is judged on, and never learns from.

    Attributes:
        inputs: Makes batches of inputs, in order.
        labels: Class indices, `(N,)`.
    """

    inputs: Callable[[], Iterator[torch.Tensor]]
    labels: NDArray[np.int64]


@dataclass(eq=False)
class Trainer:
    """Trains a module through phases.

    Attributes:
        module: What learns; after `Finished` it holds the best epoch's weights.
        batches: What it learns from.
        validation: What it is judged on.
        phases: In order.
        config: Optimiser, schedule, regularisation.
        n_classes: K.
        checkpoint: Where to save, and what to resume from; None keeps nothing on disk.
        precision: Of the arithmetic; weights stay float32.
        seed: Decides what is mixed with what.
        schedule: The learning rate's factor at each fraction of a phase; None takes the config's.
        deadline: When to stop, on the clock of `time.monotonic`; the epoch under way is judged. Where steps
            are slower than planned, the schedule goes by the clock, so that it still comes to its end. For a
            process that is alone.
        processes: Those that train together; their batches are their shares of the same batches.
        costs: Of each epoch, by any measure; empty where all are alike.
    """

    module: nn.Module
    batches: Batches
    validation: Validation
    phases: Sequence[Phase]
    config: TuneConfig
    n_classes: int
    checkpoint: Checkpoint | None = None
    precision: Precision = "fp32"
    seed: int = 0
    schedule: Callable[[float], float] | None = None
    deadline: float | None = None
    processes: Processes = field(default_factory=Processes)
    costs: Sequence[float] = ()
    _at: Progressed = field(default_factory=Progressed, init=False)

    def run(self) -> Generator[Event, None, None]:
        """Train, telling each event.

        Raises:
            DivergedError: A loss is not finite; names the step, or the epoch for a validation loss.
            OutOfMemoryError: Not even two images at a time fit.
            ProcessError: One of several processes is lost.
            StorageError: A checkpoint can't be written.
        """
        accelerator = Accelerator(mixed_precision="no")  # one state a process: precision is autocast's
        self.module.to(accelerator.device).to(memory_format=torch.channels_last)
        resumed = self.checkpoint.load(self.module, self.processes) if self.checkpoint else None
        self._at = resumed or Progressed()
        reason = "all epochs done"
        first = 0
        for phase in self.phases:
            if self._at.epoch < first + phase.epochs:
                stretch = _Stretch(self, accelerator, phase, first)
                if not self._at.in_phase:
                    yield stretch.describe()
                stop = yield from stretch.run()
                if stop:
                    reason = stop
                    break
            first += phase.epochs
        if self._at.best is not None:
            self.module.load_state_dict(self._at.best)
        yield Finished(self._at.best_epoch, self._at.best_loss, self._at.best_accuracy, reason)

    @property
    def n_epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)


class _Stretch:
    """One phase under way."""

    def __init__(self, trainer: Trainer, accelerator: Accelerator, phase: Phase, first: int) -> None:
        self.trainer, self.accelerator, self.phase, self.first = trainer, accelerator, phase, first
        self.config, self.at, self.processes = trainer.config, trainer._at, trainer.processes
        module = trainer.module
        self.plan = make_plan([name for name, _ in module.named_parameters()], phase.rules)
        apply_plan(module, self.plan)
        optimizer = make_optimizer(
            self.config.optimizer,
            module.named_parameters(),
            self.plan,
            lr=phase.lr,
            weight_decay=self.config.weight_decay,
        )
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.schedule = trainer.schedule or make_schedule(self.config.schedule)
        self.ema = (
            AveragedModel(module, multi_avg_fn=_averaging(self.config.ema), use_buffers=True)
            if self.config.ema
            else None
        )
        self.at.parts = max(self.at.parts, self.config.accumulate)
        if self.at.in_phase:
            optimizer.load_state_dict(self.at.optimizer or {})
            if self.ema is not None and self.at.ema is not None:
                self.ema.load_state_dict(self.at.ema)
        self.optimizer = accelerator.prepare(optimizer)
        self.learning: list[torch.Tensor] = [p for p in module.parameters() if p.requires_grad]
        self.origin = [p.detach().clone() for p in self.learning] if self.config.l2_sp else []
        if self.at.in_phase and self.at.origin is not None:
            self.origin = [origin.to(accelerator.device) for origin in self.at.origin]
        self.n_steps = trainer.batches.n_steps()
        self.began = time.monotonic(), self._share_done(self.at.epoch, self.at.step)

    def describe(self) -> PhaseStarted:
        sizes = {name: p.numel() for name, p in self.trainer.module.named_parameters()}
        learning = sum(size for name, size in sizes.items() if self.plan[name] > 0)
        return PhaseStarted(self.phase.name, self.phase.epochs, self.n_steps, learning, sum(sizes.values()))

    def run(self) -> Generator[Event, None, str]:
        """Train the phase's epochs; returns why to stop early, or an empty string."""
        for epoch in range(self.at.epoch, self.first + self.phase.epochs):
            if epoch and not self.at.step and (why := self._why_stop(epoch)):  # decided before a kill
                return why
            started = time.perf_counter() - self.at.seconds
            yield from self._train_epoch(epoch, started)
            trained_s = time.perf_counter() - started
            ended = self._judge(epoch, started, trained_s)
            yield ended
            if epoch == 0 and (advice := self._advice(ended)):
                yield advice
            self.at.end_epoch(in_phase=epoch + 1 < self.first + self.phase.epochs)
            yield from self._save()
            if why := self._why_stop(epoch + 1):
                return why
        return ""

    def _why_stop(self, epochs: int) -> str:
        """Why no further epoch is to begin after so many; empty where one is."""
        if self._time_is_up:
            return "the time is up"
        if self.config.patience and epochs - self.at.best_epoch >= self.config.patience:
            return f"validation loss has not fallen for {self.config.patience} epochs"
        return ""

    def _train_epoch(self, epoch: int, started: float) -> Iterator[Event]:
        train_mode(self.trainer.module, freeze_statistics=self.config.norm_statistics == "frozen")
        start, saved = self.at.step, time.monotonic()
        for step, (inputs, labels) in enumerate(self.trainer.batches.epoch(epoch, start), start):
            loss, right, images, lr = yield from self._step(epoch, step, inputs, labels)
            self.at.count(loss, right, images)
            total = epoch * self.n_steps + step + 1
            yield StepEnded(self.phase.name, epoch + 1, step + 1, loss, self.at.images, lr, total)
            checkpoint = self.trainer.checkpoint
            if checkpoint and self.processes.first_says(checkpoint.is_due(saved)):
                self.at.seconds = time.perf_counter() - started
                yield from self._save()
                saved = time.monotonic()
            if self._time_is_up:
                return

    @property
    def _time_is_up(self) -> bool:
        return self.trainer.deadline is not None and time.monotonic() >= self.trainer.deadline

    def _share_done(self, epoch: int, step: int) -> float:
        """Of the phase's steps, in [0, 1]."""
        return (step + (epoch - self.first) * self.n_steps) / (self.n_steps * self.phase.epochs)

    def _progress(self, epoch: int, step: int) -> float:
        """How far the phase has come, in [0, 1]: by its steps, or by the clock where they lag."""
        by_steps = self._share_done(epoch, step)
        if self.trainer.deadline is None:
            return by_steps
        then, done = self.began
        passed = (time.monotonic() - then) / max(self.trainer.deadline - then, 1e-9)
        by_time = done + (1 - done) * min((passed - _LAG) / (1 - _LAG), 1.0)
        return max(by_steps, by_time)

    def _step(
        self, epoch: int, step: int, inputs: torch.Tensor, labels: torch.Tensor
    ) -> Generator[Event, None, tuple[float, int, int, float]]:
        """One optimiser step: loss in nats, how many were right, of how many, and the base learning rate."""
        config, device = self.config, self.accelerator.device
        factor = self.schedule(self._progress(epoch, step))
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        inputs, labels = inputs.to(device), labels.to(device)
        targets: torch.Tensor = labels
        if config.mixup or config.cutmix:
            rng = np.random.default_rng([self.trainer.seed, epoch, step, 1, *self.processes.place])
            inputs, targets = mix(inputs, labels, self.trainer.n_classes, config.mixup, config.cutmix, rng)
        images = int(self.processes.total(len(inputs))[0])
        while (sums := self._backward(inputs, labels, targets, images)) is None:
            self.at.parts = min(2 * self.at.parts, len(inputs) // _LEAST_PART)
            yield Advice(
                f"Memory ran out at step {step + 1} of epoch {epoch + 1}, so from here on each batch is "
                f"computed in {self.at.parts} parts. Its gradient is the same, but for batch norms and "
                f"dropout, which see the parts. --accumulate {self.at.parts} begins so."
            )
        loss, right = self.processes.total(*sums)
        if not math.isfinite(loss):
            raise DivergedError(
                f"The loss is {loss} at step {step + 1} of epoch {epoch + 1} ({self.phase.name}). The "
                f"learning rate {self.phase.lr:g} is too high, or the data hold values that are no numbers. "
                f"Try --lr {self.phase.lr / 10:g} or --clip-grad 1."
            )
        self.processes.add_up([p.grad for p in self.learning if p.grad is not None])
        if config.clip_grad:
            self.accelerator.clip_grad_norm_(self.learning, config.clip_grad)
        with explaining_memory("updating the weights", "Close other programs, or train fewer stages."):
            self.optimizer.step()
        if self.origin:
            with torch.no_grad():
                torch._foreach_lerp_(
                    self.learning, self.origin, min(config.l2_sp * self.phase.lr * factor, 1)
                )
        self.processes.add_up(moving_statistics(self.trainer.module), 1 / self.processes.count)
        if self.ema is not None:
            self.ema.update_parameters(self.trainer.module)
        return loss, int(right), images, self.phase.lr * factor

    def _backward(
        self, inputs: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, images: int
    ) -> tuple[float, int] | None:
        """Gradients of this process's share of a batch of so many images: its loss, how many were right.

        Returns None where memory ran out and smaller parts may help; all is then as it was before.
        """
        random, buffers = random_state(), [b.clone() for b in self.trainer.module.buffers()]
        try:
            return self._sum_parts(inputs, labels, targets, images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.at.parts >= len(inputs) // _LEAST_PART:
                raise OutOfMemoryError(
                    f"Memory ran out at a batch of {len(inputs)} in {self.at.parts} parts "
                    f"({first_line(error)}). Try a smaller --batch-size or --input-px, or a recipe that "
                    "trains fewer stages."
                ) from error
        set_random_state(random)
        for buffer, before in zip(self.trainer.module.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.optimizer.zero_grad(set_to_none=True)
        release_memory()
        return None

    def _sum_parts(
        self, inputs: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, images: int
    ) -> tuple[float, int]:
        loss, right, parts = 0.0, 0, min(self.at.parts, len(inputs))
        self.optimizer.zero_grad(set_to_none=True)
        chunks = (tensor.tensor_split(parts) for tensor in (inputs, labels, targets))
        for x, y, t in zip(*chunks, strict=True):
            with autocast(self.accelerator.device, self.trainer.precision):
                logits = self.trainer.module(x)
            part = cross_entropy(logits.float(), t, label_smoothing=self.config.label_smoothing)
            share = len(x) / images
            self.accelerator.backward(part * share)
            loss += float(part.detach()) * share
            right += int((logits.detach().argmax(1) == y).sum())
        return loss, right

    def _judge(self, epoch: int, started: float, trained_s: float) -> EpochEnded:
        module = self.ema.module if self.ema is not None else self.trainer.module
        labels = self.trainer.validation.labels
        with explaining_memory("validating", "Try a smaller --input-px, or close other programs."):
            logits = predict_logits(
                module,
                self.trainer.validation,
                self.accelerator.device,
                self.trainer.precision,
                self.processes,
            )
        if not np.isfinite(logits).all():
            raise DivergedError(
                f"The validation loss is nan after epoch {epoch + 1} ({self.phase.name}). The "
                f"learning rate {self.phase.lr:g} is too high, or the data hold values that are no "
                f"numbers. Try --lr {self.phase.lr / 10:g}."
            )
        val_loss = float(calibrated_losses(logits, labels).mean()) + 0.0  # never -0.0
        val_accuracy = float((logits.argmax(1) == labels).mean())
        self.at.keep_best(epoch + 1, val_loss, val_accuracy, module)
        seconds = time.perf_counter() - started
        costs = self.trainer.costs or [1.0] * self.trainer.n_epochs
        return EpochEnded(
            phase=self.phase.name,
            epoch=epoch + 1,
            epochs=self.trainer.n_epochs,
            train_loss=self.at.loss_sum / self.at.images,
            train_accuracy=self.at.right / self.at.images,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            images_per_s=self.at.images / trained_s,
            seconds=seconds,
            seconds_left=seconds * sum(costs[epoch + 1 :]) / costs[epoch],
        )

    def _advice(self, ended: EpochEnded) -> Advice | None:
        chance = math.log(self.trainer.n_classes)
        if abs(ended.train_loss - chance) > _STUCK * chance or ended.val_loss < (1 - _STUCK) * chance:
            return None
        return Advice(
            f"After an epoch the loss is {ended.train_loss:.4f}, still that of guessing (ln "
            f"{self.trainer.n_classes} = {chance:.4f}). Likely causes: a learning rate that is too high "
            "or too low, a frozen head, or pictures prepared otherwise than the weights were trained with."
        )

    def _save(self) -> Iterator[Event]:
        if self.trainer.checkpoint is None:
            return
        self.at.optimizer = self.optimizer.state_dict()
        self.at.ema = self.ema.state_dict() if self.ema is not None else None
        self.at.origin = self.origin or None
        self.trainer.checkpoint.save(self.trainer.module, self.at, self.processes)
        yield CheckpointSaved(self.at.epoch, self.at.step)


def _averaging(decay: float) -> Callable[..., None]:
    """An exponential average that begins short (as TensorFlow's does), and so soon forgets the start."""

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], n_averaged: torch.Tensor) -> None:
        n = int(n_averaged)
        short = min(decay, (1 + n) / (10 + n))
        get_ema_multi_avg_fn(short)(averaged, current, n_averaged)  # type: ignore[no-untyped-call]

    return update


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Compute in bfloat16 where asked to; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.inference_mode()
def predict_logits(
    module: nn.Module,
    validation: Validation,
    device: torch.device,
    precision: Precision,
    processes: Processes = _ALONE,
) -> NDArray[np.float64]:
    """Logits `(N, K)` in eval mode, nothing random; several processes compute a share each, and have all."""
    module.eval()
    rows, places, n_rows = [], [], 0
    for inputs in validation.inputs():
        own = processes.share(np.arange(len(inputs)))
        shown = inputs if len(own) == len(inputs) else inputs[own if len(own) else [0]]
        with autocast(device, precision):
            rows.append(module(shown.to(device)).double()[: len(own)])
        places.append(n_rows + own)
        n_rows += len(inputs)
    whole = processes.join_rows(torch.cat(rows), np.concatenate(places), n_rows)
    return whole.cpu().numpy()
