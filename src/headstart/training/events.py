"""What the training loop tells; the command line, loggers and pages only listen.

All are plain data and go to `history.jsonl` as they are, under the name of their class.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase begins; `parameters` of the `of` parameters learn."""

    phase: str
    epochs: int
    steps: int
    parameters: int
    of: int


@dataclass(frozen=True, slots=True)
class StepEnded:
    """One optimiser step.

    Attributes:
        phase: The phase's name.
        epoch: From 1, counted over all phases.
        step: Of the epoch, from 1.
        loss: In nats.
        images: Of the epoch so far.
        lr: What the rules' learning-rate scales multiply.
        total: Steps since the training's beginning, this one included.
    """

    phase: str
    epoch: int
    step: int
    loss: float
    images: int
    lr: float
    total: int


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """One pass over the training images.

    Attributes:
        phase: The phase's name.
        epoch: From 1, counted over all phases.
        epochs: Of all phases together.
        train_loss: Mean loss over the epoch's batches as they were trained on, in nats.
        train_accuracy: Likewise, on augmented views and while the weights moved.
        val_loss: Log loss on the validation images after the epoch, in nats, calibrated on them as the model
            that is saved will be: label smoothing and long training change how sure a network is, which says
            nothing of which epoch is best.
        val_accuracy: Likewise.
        images_per_s: Of the training, validation left out.
        seconds: Of the epoch, validation included.
        seconds_left: Estimated until the last phase ends.
    """

    phase: str
    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    images_per_s: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """Training can go on from here after a kill."""

    epoch: int
    step: int


@dataclass(frozen=True, slots=True)
class Advice:
    """Something looks wrong, and what the cause may be."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The loop is through; the network holds the weights of `best_epoch`."""

    best_epoch: int
    val_loss: float
    val_accuracy: float
    reason: str


@dataclass(frozen=True, slots=True)
class RungStarted:
    """A step of the ladder begins: what learns, for how long, by the estimate of measured steps."""

    rung: str
    about: str
    epochs: int
    views: int
    sizes: tuple[int, ...]
    lr: float
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class RungEnded:
    """A step of the ladder is kept or dropped, or not taken at all, and why."""

    rung: str
    kept: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Blended:
    """Weights part-way from the start of a training (0) to its end (1), as validation judges them."""

    alpha: float
    val_loss: float
    val_accuracy: float
    chosen: bool


Event = (
    PhaseStarted
    | StepEnded
    | EpochEnded
    | CheckpointSaved
    | Advice
    | Finished
    | Blended
    | RungStarted
    | RungEnded
)


def to_json(event: Event) -> dict[str, Any]:
    """The event as a flat object, its kind under `event`."""
    return {"event": type(event).__name__, **asdict(event)}
