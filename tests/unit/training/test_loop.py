"""The loop learns, stops where it must, and goes on as if it had never stopped."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from headstart.backbones.freeze import Rule
from headstart.config import TuneConfig
from headstart.errors import ConfigError, DivergedError, ResumeError, StorageError
from headstart.training.checkpoint import Checkpoint
from headstart.training.events import Advice, CheckpointSaved, EpochEnded, Finished, PhaseStarted, StepEnded
from headstart.training.loop import Trainer, Validation
from headstart.training.phase import Phase

ALL = (Rule(".*", 1.0),)
HEAD_ONLY = (Rule(r"head\..*", 1.0), Rule(".*", 0.0))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x.flatten(1).float()))


@dataclass
class Points:
    """Two clouds, shown as `(B, 2, 2, 1)` so that they can be mixed like pictures."""

    n: int = 40
    batch: int = 8
    broken: bool = False

    def all(self) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(0)
        labels = np.arange(self.n) % 2
        x = rng.normal(size=(self.n, 4)) + 2 * labels[:, None]
        if self.broken:
            x[7] = np.nan
        return torch.from_numpy(x).float().reshape(-1, 2, 2, 1), torch.from_numpy(labels)

    def n_steps(self) -> int:
        return self.n // self.batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        x, y = self.all()
        order = np.random.default_rng([1, epoch]).permutation(self.n)
        for rows in np.array_split(order, self.n_steps())[start:]:
            yield x[rows], y[rows]


def make_trainer(
    tuning: TuneConfig | None = None,
    phases: tuple[Phase, ...] = (Phase("all", 3, 1e-2, ALL),),
    checkpoint: Checkpoint | None = None,
    points: Points | None = None,
) -> Trainer:
    points = points or Points()
    x, y = Points().all()
    return Trainer(
        Small(),
        points,
        Validation(lambda: iter([x]), y.numpy()),
        phases,
        tuning or TuneConfig(),
        2,
        checkpoint,
    )


def test_events_come_in_order_and_the_network_learns() -> None:
    events = list(make_trainer(phases=(Phase("all", 8, 3e-2, ALL),)).run())
    kinds = [type(event) for event in events if not isinstance(event, StepEnded)]
    assert kinds == [PhaseStarted, *[EpochEnded] * 8, Finished]
    assert sum(isinstance(event, StepEnded) for event in events) == 8 * 5
    assert events[-1].val_accuracy > 0.9


def test_frozen_tensors_stay_bit_equal_batch_norm_included() -> None:
    trainer = make_trainer(phases=(Phase("head", 2, 1e-1, HEAD_ONLY),))
    before = {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}
    list(trainer.run())
    after = trainer.module.state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("backbone."), name


@pytest.mark.parametrize(
    "tuning",
    [
        TuneConfig(),
        TuneConfig(optimizer="sgd", schedule="cosine", clip_grad=1.0, label_smoothing=0.1),
        TuneConfig(ema=0.9, l2_sp=0.1, schedule="step"),
        TuneConfig(mixup=0.4, cutmix=1.0, accumulate=2, schedule="constant"),
    ],
    ids=["default", "sgd", "ema-l2sp", "mixed"],
)
@pytest.mark.parametrize("killed_after", [0, 3, 5, 6, 9, 17])
def test_resumed_equals_uninterrupted(tuning: TuneConfig, killed_after: int, tmp_path: Path) -> None:
    phases = (Phase("head", 1, 1e-2, HEAD_ONLY), Phase("all", 3, 1e-2, ALL))
    whole = make_trainer(tuning, phases)
    torch.manual_seed(5)
    finished = list(whole.run())[-1]
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", every_s=0)
    killed, steps = make_trainer(tuning, phases, checkpoint), 0
    torch.manual_seed(5)
    for event in killed.run():
        steps += isinstance(event, StepEnded)
        if steps > killed_after and isinstance(event, CheckpointSaved):
            break
    resumed = make_trainer(tuning, phases, checkpoint)
    torch.manual_seed(99)
    assert list(resumed.run())[-1] == finished
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name


def test_seconds_of_an_epoch_count_from_its_beginning_after_a_resume_too(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", every_s=0)
    for event in make_trainer(checkpoint=checkpoint).run():
        if isinstance(event, StepEnded) and event.step == 2:
            time.sleep(0.5)
        if isinstance(event, CheckpointSaved) and event.step == 3:
            break
    before = checkpoint.load(Small()).seconds
    started = time.perf_counter()
    resumed = [event for event in make_trainer(checkpoint=checkpoint).run() if isinstance(event, EpochEnded)]
    assert resumed[0].seconds > before > 0.5
    assert resumed[0].images_per_s < 40 / before
    assert sum(event.seconds for event in resumed) < time.perf_counter() - started + before


def test_one_process_may_train_in_one_precision_after_another() -> None:
    for precision in ("bf16", "fp32", "bf16"):
        trainer = make_trainer(phases=(Phase("all", 4, 3e-2, ALL),))
        trainer.precision = precision
        assert list(trainer.run())[-1].val_accuracy > 0.8


def test_a_loss_that_is_no_number_stops_and_names_the_step() -> None:
    with pytest.raises(DivergedError, match=r"loss is nan at step \d of epoch 1 \(all\).*--lr 0\.001"):
        list(make_trainer(points=Points(broken=True)).run())


def test_a_validation_loss_that_is_no_number_stops_and_names_the_epoch() -> None:
    trainer = make_trainer()
    x, y = Points(broken=True).all()
    trainer.validation = Validation(lambda: iter([x]), y.numpy())
    with pytest.raises(DivergedError, match=r"validation loss is nan after epoch 1 \(all\).*--lr 0\.001"):
        list(trainer.run())


def test_more_parts_than_images_are_one_each() -> None:
    phases = (Phase("all", 1, 1e-2, ALL),)
    events = list(make_trainer(TuneConfig(accumulate=99, norm_statistics="frozen"), phases).run())
    assert isinstance(events[-1], Finished)


def test_a_loss_that_stays_at_guessing_is_told() -> None:
    trainer = make_trainer(phases=(Phase("all", 1, 1e-9, ALL),))
    nn.init.zeros_(trainer.module.head.weight)
    nn.init.zeros_(trainer.module.head.bias)
    advice = [event for event in trainer.run() if isinstance(event, Advice)]
    assert "ln 2 = 0.6931" in advice[0].message


def test_a_loss_at_guessing_is_no_alarm_where_validation_tells_otherwise() -> None:
    trainer = make_trainer(phases=(Phase("all", 1, 1e-9, ALL),))
    with torch.no_grad():
        for parameter in trainer.module.head.parameters():
            parameter.zero_()
    x, y = Points().all()
    trainer.validation = Validation(lambda: iter([x]), np.zeros(len(y), np.int64))
    trainer.module.head.bias.data = torch.tensor([0.02, 0.0])
    assert not [event for event in trainer.run() if isinstance(event, Advice)]


def test_patience_ends_a_training_that_gets_no_better() -> None:
    trainer = make_trainer(TuneConfig(patience=2, schedule="constant"), (Phase("all", 50, 1.0, ALL),))
    finished = list(trainer.run())[-1]
    assert "has not fallen for 2 epochs" in finished.reason
    assert finished.best_epoch < 50


def test_a_training_that_patience_has_ended_stays_ended_after_a_kill(tmp_path: Path) -> None:
    tuning, phases = TuneConfig(patience=1, schedule="constant"), (Phase("all", 30, 0.3, ALL),)
    events = list(make_trainer(tuning, phases).run())
    n_epochs = sum(isinstance(event, EpochEnded) for event in events)
    assert n_epochs < 30
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", every_s=1e9)
    saved = 0
    for event in make_trainer(tuning, phases, checkpoint).run():
        saved += isinstance(event, CheckpointSaved)
        if saved == n_epochs:
            break
    assert list(make_trainer(tuning, phases, checkpoint).run()) == [events[-1]]


def test_averaged_weights_leave_the_start_soon() -> None:
    events = list(make_trainer(TuneConfig(ema=0.999), (Phase("all", 8, 3e-2, ALL),)).run())
    assert events[-1].val_accuracy > 0.9


def rates_on_a_clock(trainer: Trainer, step_s: float, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Learning rates of the steps, each of which takes so many seconds; the deadline is at 10."""
    now, rates = 0.0, []
    monkeypatch.setattr("headstart.training.loop.time.monotonic", lambda: now)
    trainer.deadline = 10.0
    for event in trainer.run():
        if isinstance(event, StepEnded):
            rates.append(event.lr)
            now += step_s
    return rates


@pytest.mark.parametrize("killed_after", [0, 4], ids=["whole", "resumed"])
def test_slow_steps_have_the_rate_fall_by_the_deadline(
    killed_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = rates_on_a_clock(make_trainer(), 0.6, monkeypatch)
    assert planned == [event.lr for event in make_trainer().run() if isinstance(event, StepEnded)]
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", every_s=0)
    if killed_after:
        for event in make_trainer(checkpoint=checkpoint).run():
            if isinstance(event, CheckpointSaved) and event.step == killed_after:
                break
    slow = rates_on_a_clock(make_trainer(checkpoint=checkpoint), 1.25, monkeypatch)
    assert len(slow) == 8
    assert slow[0] == planned[killed_after]
    assert slow[-1] < 0.1 * max(slow)


def test_the_best_epoch_is_told_after_calibration() -> None:
    """One that is unsure of itself and always right beats one that is sure and sometimes wrong."""

    class Fading(Small):
        judged = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                return super().forward(x)
            self.judged += 1
            right = torch.nn.functional.one_hot(torch.arange(len(x)) % 2).float()
            if self.judged == 1:
                return 3 * torch.cat([right[:-2], right[-2:].flip(1)])
            return right / 2

    trainer = make_trainer(phases=(Phase("all", 2, 1e-9, ALL),))
    trainer.module = Fading()
    *events, finished = trainer.run()
    losses = [event.val_loss for event in events if isinstance(event, EpochEnded)]
    assert finished.best_epoch == 2
    assert losses[1] < 0.05 < losses[0] < 0.25


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ResumeError, match=r"checkpoint\.pt is damaged"):
        list(make_trainer(checkpoint=Checkpoint(tmp_path / "checkpoint.pt")).run())


def test_a_checkpoint_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="file"):
        list(make_trainer(checkpoint=Checkpoint(tmp_path / "file" / "checkpoint.pt")).run())


def test_phases_check_themselves() -> None:
    with pytest.raises(ConfigError, match=r"--epochs must be at least 1, not 0; --lr must be above 0, not 0"):
        Phase("none", 0, 0, ALL)
