"""A training that is killed again and again, at any moment, ends with the network it would have had."""

import os
from pathlib import Path

import pytest
import torch

from networks import run_python

_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np, torch
from torch import nn
from headstart.backbones.freeze import Rule
from headstart.config import TuneConfig
from headstart.training.checkpoint import Checkpoint
from headstart.training.loop import Trainer, Validation
from headstart.training.phase import Phase

torch.set_num_threads(1)
folder = Path(sys.argv[1])
x = torch.from_numpy(np.random.default_rng(0).normal(size=(24, 4))).float()
y = torch.arange(24) % 2

class Batches:
    def n_steps(self): return 6
    def epoch(self, epoch, start=0):
        order = np.random.default_rng([1, epoch]).permutation(24)
        for rows in np.array_split(order, 6)[start:]:
            time.sleep(0.01)
            yield x[rows], y[rows]

def train(name):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
    module = nn.Sequential(body, nn.Linear(8, 2))
    head, all_ = (Rule("1.*", 1.0), Rule(".*", 0.0)), (Rule(".*", 1.0),)
    phases = Phase("head", 2, 1e-2, head), Phase("all", 5, 1e-2, all_)
    checkpoint = Checkpoint(folder / name / "checkpoint.pt", every_s=0)
    validation = Validation(lambda: iter([x]), y.numpy())
    trainer = Trainer(module, Batches(), validation, phases, TuneConfig(ema=0.9, l2_sp=0.1), 2, checkpoint)
    finished = list(trainer.run())[-1]
    torch.save({"finished": str(finished), **module.state_dict()}, folder / f"{name}.pt")

def attempt(name, seconds):
    child = os.fork()
    if child == 0:
        try:
            train(name)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert attempt("whole", None) == 0
draw, ends = random.Random(0), []
while not ends or ends[-1] == -signal.SIGKILL:
    seconds = draw.uniform(0.0, 0.1 + 0.03 * len(ends))
    ends.append(attempt("killed", seconds if len(ends) < 15 else None))
print(len(ends) - 1, ends[-1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the trainings that it kills")
def test_many_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    done = run_python(_KILLED, tmp_path)
    assert done.returncode == 0, done.stderr
    kills, end = done.stdout.splitlines()[-1].split()
    assert (int(kills) >= 3, end) == (True, "0"), done.stdout
    whole, killed = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole.pop("finished") == killed.pop("finished")
    for name, tensor in whole.items():
        assert torch.equal(tensor, killed[name]), name
