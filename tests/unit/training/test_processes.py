"""What several processes share, as arithmetic; real ones are started by tests/cli/test_torchrun.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import ConfigError
from headstart.training.processes import Processes


@settings(deadline=None)
@given(n=st.integers(0, 40), count=st.integers(1, 7))
def test_shares_are_a_partition_of_like_sizes(n: int, count: int) -> None:
    rows = np.random.default_rng(0).permutation(n)
    shares = [Processes(rank, count).share(rows) for rank in range(count)]
    np.testing.assert_array_equal(np.concatenate(shares), rows)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_alone_nothing_changes() -> None:
    alone, tensor = Processes(), torch.arange(3.0)
    assert alone.is_first
    assert alone.total(1.5, 2) == (1.5, 2)
    assert alone.first_says(True)
    assert not alone.first_says(False)
    alone.add_up([tensor], 0.5)
    assert alone.gather(tensor) == [tensor]
    assert alone.join_rows(tensor, np.arange(3), 3) is tensor
    assert tensor.tolist() == [0, 1, 2]
    assert (alone.tell("text"), alone.own("history.jsonl"), alone.place) == ("text", "history.jsonl", ())
    with alone.in_turn():
        alone.wait()


def test_each_of_several_has_names_and_seeds_of_its_own() -> None:
    assert Processes(2, 3).own("history.jsonl") == "history-2.jsonl"
    assert [Processes(rank, 3).place for rank in range(3)] == [(), (1,), (2,)]


_TOGETHER = """
import sys, time
from pathlib import Path
import numpy as np, torch
from torch import nn
from headstart.backbones.freeze import Rule
from headstart.config import TuneConfig
from headstart.errors import ProcessError
from headstart.training.checkpoint import Checkpoint
from headstart.training.events import CheckpointSaved, EpochEnded, StepEnded
from headstart.training.loop import Trainer, Validation
from headstart.training.phase import Phase
from headstart.training.processes import Processes

torch.set_num_threads(1)
folder, processes = Path(sys.argv[1]), Processes.join()
rng = np.random.default_rng(0)
y = torch.arange(42) % 2
x = torch.from_numpy(rng.normal(size=(42, 4))).float() + y[:, None]

class Batches:
    def __init__(self, processes): self.processes = processes
    def n_steps(self): return 6
    def epoch(self, epoch, start=0):
        order = np.random.default_rng([1, epoch]).permutation(42)
        for rows in np.array_split(order, 6)[start:]:
            own = self.processes.share(rows)
            yield x[own], y[own]

def module(dropout, norm):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))

class Greedy(nn.Module):  # finds no memory for more than three images at once
    refused = 0
    def forward(self, x):
        if self.training and len(x) > 3:
            Greedy.refused += 1
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return x

def train(processes, tuning, checkpoint=None, dropout=0.0, norm=False, stop=None, greedy=False):
    network = module(dropout, norm)
    if greedy and processes.is_first:
        network.append(Greedy())
    head, everything = (Rule("[34].*", 1.0), Rule(".*", 0.0)), (Rule(".*", 1.0),)
    phases = Phase("head", 1, 0.1, head), Phase("all", 2, 0.1, everything)
    torch.manual_seed(3 + processes.rank)
    held = Validation(lambda: iter([x[:32], x[32:33]]), y[:33].numpy())
    trainer = Trainer(network, Batches(processes), held, phases, tuning, 2, checkpoint, processes=processes)
    told = []
    for event in trainer.run():
        told += [event.loss] if isinstance(event, StepEnded) else []
        told += [event.val_loss, event.train_accuracy] if isinstance(event, EpochEnded) else []
        if stop is not None and isinstance(event, CheckpointSaved) and (event.epoch, event.step) == stop:
            break
    return torch.cat([p.detach().flatten() for p in network.state_dict().values()]), torch.tensor(told)

# The step of the whole batch, whatever of it each sees, and however many parts it takes.
for tuning in (
    TuneConfig(optimizer="sgd", l2_sp=0.1, ema=0.9, clip_grad=0.5, label_smoothing=0.1),
    TuneConfig(optimizer="sgd", accumulate=2),
):
    for mine, whole in zip(train(processes, tuning), train(Processes(), tuning), strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-6)

# One of them runs out of memory, and takes its share in parts; the step stays that of the whole batch.
tuning = TuneConfig(optimizer="sgd", clip_grad=0.5)
for mine, whole in zip(train(processes, tuning, greedy=True), train(Processes(), tuning), strict=True):
    torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-6)

assert Greedy.refused == processes.is_first

# Dropout and what batch norms count differ between shares; yet all hold the same in the end, stopped or not.
tuning = TuneConfig(optimizer="sgd", norm_statistics="batch", mixup=0.2)
whole, _ = train(processes, tuning, dropout=0.3, norm=True)
assert all(torch.equal(whole, other) for other in processes.gather(whole))
kept = Checkpoint(folder / "checkpoint.pt", every_s=0)
train(processes, tuning, kept, 0.3, True, stop=(1, 4))
processes.wait()
resumed, _ = train(processes, tuning, kept, 0.3, True)
assert torch.equal(whole, resumed)

processes.agree({"images": "same"})
assert processes.tell("the first's" if processes.is_first else "another's") == "the first's"
assert processes.first_says(processes.is_first) and not processes.first_says(not processes.is_first)
for length in (0, 5):  # texts of other lengths
    assert processes.tell("x" * length if processes.is_first else "") == "x" * length
with processes.in_turn():
    if processes.is_first:
        time.sleep(0.5)
        (folder / "made").write_text("by the first")
    assert (folder / "made").exists()
try:
    processes.agree({"images": str(processes.rank)})
except ProcessError as error:
    (folder / "error").write_text(f"{processes.rank} {error}")
processes.wait()
"""


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(_TOGETHER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    error = (tmp_path / "error").read_text()
    assert error.startswith("1 Process 1 would train otherwise than the first")
    assert "images was 0 and is 1" in error


def test_a_lost_process_is_told(tmp_path: Path) -> None:
    script = tmp_path / "lost.py"
    script.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from headstart.errors import ProcessError\n"
        "from headstart.training.processes import Processes\n"
        "processes = Processes.join()\n"
        "processes.total(1.0)\n"
        "if processes.rank: os._exit(0)\n"
        "try:\n"
        "    while True: processes.total(1.0)\n"
        "except ProcessError as error:\n"
        "    Path(sys.argv[1], 'told').write_text(str(error))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "The connection to the other processes broke" in (tmp_path / "told").read_text()


def test_processes_that_cannot_meet(tmp_path: Path) -> None:
    code = "from headstart.training.processes import Processes; Processes.join()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASTER_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "RANK": "0", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert re.search(r"ProcessError: RANK and WORLD_SIZE say that 2 .* Start them with torch", done.stderr)


def test_nothing_is_joined_where_nothing_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # some clusters set it for whoever may want it
    assert Processes.join() == Processes()


@pytest.mark.parametrize(
    ("rank", "count"), [("0", "many"), ("first", "2"), ("2", "2"), ("0", ""), ("-1", "1")]
)
def test_variables_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, rank: str, count: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(ConfigError, match=rf"RANK is '{rank}' and WORLD_SIZE '{count}'.* unset both"):
        Processes.join()
