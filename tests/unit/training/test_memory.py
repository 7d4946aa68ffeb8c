"""Running out of memory halves what is computed at once, and changes nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from headstart.backbones.freeze import Rule
from headstart.config import TuneConfig
from headstart.errors import OutOfMemoryError
from headstart.training.checkpoint import Checkpoint
from headstart.training.events import Advice, CheckpointSaved, Event, StepEnded
from headstart.training.loop import Trainer, Validation
from headstart.training.memory import available_bytes, is_out_of_memory
from headstart.training.phase import Phase
from networks import run_python

ON_A_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 301989888 bytes. Error code 12 (Cannot allocate memory)\nmore"
)
SIGNS = [
    ON_A_CPU,
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried"
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("could not create a primitive"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
]


class Hungry(nn.Module):
    """Runs out of memory beyond so many images at a time, after batch norm and dropout have run."""

    def __init__(self, most: int = 99, error: BaseException = ON_A_CPU) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)
        self.most, self.error = most, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.body(x))
        if self.training and len(x) > self.most:
            raise self.error
        return logits


class Points:
    def __init__(self, n: int = 40) -> None:
        rng = np.random.default_rng(0)
        self.y = torch.from_numpy(np.arange(n) % 2)
        self.x = torch.from_numpy(rng.normal(size=(n, 4))).float() + 2 * self.y[:, None]

    def n_steps(self) -> int:
        return len(self.y) // 8

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = np.random.default_rng([1, epoch]).permutation(len(self.y))
        for rows in np.array_split(order, self.n_steps())[start:]:
            yield self.x[rows], self.y[rows]


def make_trainer(
    module: nn.Module, tuning: TuneConfig | None = None, checkpoint: Checkpoint | None = None
) -> Trainer:
    points = Points()
    phases = (Phase("all", 2, 1e-2, (Rule(".*", 1.0),)),)
    validation = Validation(lambda: iter([points.x]), points.y.numpy())
    return Trainer(module, points, validation, phases, tuning or TuneConfig(), 2, checkpoint)


def run(trainer: Trainer) -> list[Event]:
    torch.manual_seed(3)
    return list(trainer.run())


def assert_equal(left: nn.Module, right: nn.Module) -> None:
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name


@pytest.mark.parametrize("error", SIGNS, ids=range(len(SIGNS)))
@pytest.mark.parametrize(("most", "parts"), [(4, [2]), (2, [2, 4])])
def test_smaller_parts_give_the_training_that_began_with_them(
    error: BaseException, most: int, parts: list[int]
) -> None:
    asked, ran_out = (
        make_trainer(Hungry(), TuneConfig(accumulate=parts[-1])),
        make_trainer(Hungry(most, error)),
    )
    expected, events = run(asked), run(ran_out)
    advice = [event.message for event in events if isinstance(event, Advice)]
    assert [f"computed in {n} parts" in text for n, text in zip(parts, advice, strict=True)] == [True] * len(
        parts
    )
    assert all("Memory ran out at step 1 of epoch 1" in text for text in advice)
    assert [e for e in events if isinstance(e, StepEnded)] == [
        e for e in expected if isinstance(e, StepEnded)
    ]
    assert_equal(asked.module, ran_out.module)


def test_a_resumed_training_keeps_its_parts(tmp_path: Path) -> None:
    whole = make_trainer(Hungry(4))
    finished = run(whole)[-1]
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", every_s=0)
    killed = make_trainer(Hungry(4), None, checkpoint)
    torch.manual_seed(3)
    for event in killed.run():
        if isinstance(event, CheckpointSaved) and event.step == 3:
            break
    resumed = make_trainer(Hungry(), None, checkpoint)  # memory is free again, the rest goes on as it was
    events = run(resumed)
    assert events[-1] == finished
    assert not any(isinstance(event, Advice) for event in events)
    assert_equal(whole.module, resumed.module)


def test_where_two_images_are_too_many_the_user_must_help() -> None:
    with pytest.raises(
        OutOfMemoryError, match=r"batch of 8 in 4 parts \(\[enforce fail.*12 \(Cannot.*--batch-size"
    ):
        run(make_trainer(Hungry(1)))


def test_other_errors_stay_what_they_are() -> None:
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(make_trainer(Hungry(2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))))


def test_validation_that_does_not_fit_is_explained() -> None:
    class Blind(Hungry):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training:
                raise MemoryError
            return super().forward(x)

    with pytest.raises(OutOfMemoryError, match=r"while validating \(MemoryError\)"):
        run(make_trainer(Blind()))


def test_some_memory_is_left() -> None:
    assert available_bytes() > 2**20


_LIMITED = """
import resource, torch
from torch import nn
from headstart.backbones.freeze import Rule
from headstart.config import TuneConfig
from headstart.training.events import Advice, EpochEnded
from headstart.training.loop import Trainer, Validation
from headstart.training.phase import Phase

torch.set_num_threads(1)
torch.manual_seed(0)
x, y = torch.rand(32, 3, 128, 128), torch.arange(32) % 2

class Batches:
    def n_steps(self): return 2
    def epoch(self, epoch, start=0):
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 160 * 2**20,) * 2)
        for rows in (slice(0, 16), slice(16, 32)): yield x[rows], y[rows]

wide = [nn.Sigmoid() for _ in range(16)]  # each keeps 32 MB of a batch
module = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), *wide, nn.AdaptiveAvgPool2d(1), nn.Flatten())
module.append(nn.Linear(32, 2))
module(x[:1]).sum().backward()
trainer = Trainer(module, Batches(), Validation(lambda: iter([x[:2]]), y[:2].numpy()),
                  (Phase("all", 1, 1e-3, (Rule(".*", 1.0),)),), TuneConfig(optimizer="sgd"), 2)
for event in trainer.run():
    if isinstance(event, EpochEnded) or isinstance(event, Advice) and 'Memory' in event.message: print(event)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process's size from /proc")
def test_a_process_whose_memory_is_limited_trains_in_parts() -> None:
    done = run_python(_LIMITED)
    assert done.returncode == 0, done.stderr
    *advice, ended = done.stdout.splitlines()
    assert "each batch is computed in 2 parts" in advice[0]
    assert ended.startswith("EpochEnded(")
