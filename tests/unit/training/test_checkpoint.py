"""A checkpoint is there whole or not at all, also on a disk that fills while it is written."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from headstart.errors import StorageError
from headstart.training.checkpoint import Checkpoint, Progressed
from support import small_disk

DISK_BYTES = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of a megabyte."""
    with small_disk(tmp_path / "disk", f"size={DISK_BYTES}") as is_real:
        if not is_real:
            pytest.skip("no disk can be mounted here")
        yield tmp_path / "disk"


def make_module(value: float) -> nn.Linear:
    module = nn.Linear(100, 200)
    nn.init.constant_(module.weight, value)
    return module


def test_a_disk_that_fills_keeps_the_checkpoint_before(disk: Path) -> None:
    checkpoint = Checkpoint(disk / "run" / "checkpoint.pt")
    checkpoint.save(make_module(1.0), Progressed(epoch=1))
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(bytes(free - 40_000))
    with pytest.raises(StorageError, match=r"checkpoint\.pt: the disk is full: 0\.0 MB left.*Free some"):
        checkpoint.save(make_module(2.0), Progressed(epoch=2))
    assert [path.name for path in (disk / "run").iterdir()] == ["checkpoint.pt"]
    module = make_module(0.0)
    assert checkpoint.load(module).epoch == 1
    assert torch.equal(module.weight, make_module(1.0).weight)
    (disk / "filler").unlink()
    checkpoint.save(make_module(2.0), Progressed(epoch=2))
    assert checkpoint.load(module).epoch == 2
    assert torch.equal(module.weight, make_module(2.0).weight)
