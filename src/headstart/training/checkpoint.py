"""Where a training stands, on disk: enough that going on equals never having stopped."""

import io
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstart.errors import ResumeError
from headstart.run.atomic import write_bytes
from headstart.training.processes import Processes

_FORMAT = 2
_ALONE = Processes()


@dataclass(eq=False)
class Progressed:
    """How far a training has come.

    Order and augmentation follow from seed, epoch and step, so no sampler state is needed.

    Attributes:
        epoch: The one under way, from 0, over all phases.
        step: Steps of it that are done.
        in_phase: Whether the phase under way has begun, so that the optimiser's state belongs to it.
        loss_sum: Over the epoch's images so far, in nats.
        right: Images of the epoch predicted rightly so far.
        images: Images of the epoch so far.
        seconds: That the epoch took so far.
        parts: That a batch is computed in; more of them where memory ran out.
        best_epoch: The epoch of least validation loss, from 1; 0 before the first.
        best_loss: Its validation loss.
        best_accuracy: Its validation accuracy.
        best: Its weights.
        optimizer: State of the optimiser.
        ema: State of the averaged weights.
        origin: What L2-SP pulls towards.
    """

    epoch: int = 0
    step: int = 0
    in_phase: bool = False
    loss_sum: float = 0.0
    right: int = 0
    images: int = 0
    seconds: float = 0.0
    parts: int = 1
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_accuracy: float = 0.0
    best: dict[str, torch.Tensor] | None = None
    optimizer: dict[str, Any] | None = None
    ema: dict[str, Any] | None = None
    origin: list[torch.Tensor] | None = None

    def count(self, loss: float, right: int, images: int) -> None:
        """Add a step."""
        self.step += 1
        self.in_phase = True
        self.loss_sum += loss * images
        self.right += right
        self.images += images

    def end_epoch(self, *, in_phase: bool) -> None:
        """Turn to the next epoch."""
        self.epoch, self.step, self.in_phase = self.epoch + 1, 0, in_phase
        self.loss_sum, self.right, self.images, self.seconds = 0.0, 0, 0, 0.0

    def keep_best(self, epoch: int, loss: float, accuracy: float, module: nn.Module) -> None:
        """Remember the weights if validation says that they are the best so far."""
        if loss < self.best_loss:
            self.best_epoch, self.best_loss, self.best_accuracy = epoch, loss, accuracy
            self.best = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@dataclass(eq=False)
class Checkpoint:
    """One file, replaced as a whole.

    Attributes:
        path: The file.
        every_s: Seconds between two saves within an epoch.
    """

    path: Path
    every_s: float = 60.0

    def is_due(self, last: float) -> bool:
        """Whether so much time has passed since `last` (`time.monotonic()`)."""
        return time.monotonic() - last >= self.every_s

    def save(self, module: nn.Module, progressed: Progressed, processes: Processes = _ALONE) -> None:
        """Write weights, optimiser, the processes' random states and position; the first writes, all call.

        Raises:
            StorageError: The disk is full or read-only; the file before stays whole.
        """
        random = processes.gather(random_state())
        if not processes.is_first:
            return
        state = {field.name: getattr(progressed, field.name) for field in fields(progressed)}
        buffer = io.BytesIO()
        content = {
            "format": _FORMAT,
            "module": module.state_dict(),
            "random": random,
            "progressed": state,
        }
        torch.save(content, buffer)
        write_bytes(self.path, buffer.getvalue())

    def load(self, module: nn.Module, processes: Processes = _ALONE) -> Progressed | None:
        """Restore module and this process's random state in place; None where nothing was saved.

        Raises:
            ResumeError: The file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, weights_only=True, map_location="cpu")
            state, random = Progressed(**content["progressed"]), content["random"][processes.rank]
        except Exception as error:  # whatever an unpickler makes of a damaged file
            raise ResumeError(f"{self.path} is damaged, so this training can't go on: {error}") from error
        module.load_state_dict(content["module"])
        set_random_state(random)
        return state


def random_state() -> torch.Tensor:
    """Of this process's generators, the processor's and then the device's, as bytes `(n,)`."""
    states = [torch.get_rng_state()]
    if torch.accelerator.is_available():
        states.append(torch.get_device_module().get_rng_state())
    return torch.cat(states)


def set_random_state(state: torch.Tensor) -> None:
    """Go back to a state that `random_state` gave."""
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].clone())  # a part of a larger tensor would crash it (seen with 2.14)
    if torch.accelerator.is_available() and len(state) > size:
        torch.get_device_module().set_rng_state(state[size:].clone())
