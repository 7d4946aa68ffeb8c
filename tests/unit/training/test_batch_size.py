"""The batch size that is chosen, by what, and that a resumed training keeps it."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from headstart.config import TuneConfig
from headstart.errors import ConfigError, ResumeError
from headstart.training.batch_size import (
    count_kept_bytes,
    double_while_it_pays,
    find_batch_size,
    limit_size,
)

_SPEEDS = {8: 20.0, 16: 30.0, 32: 32.0, 64: 33.0, 128: 60.0}


def test_it_doubles_while_that_pays() -> None:
    size, timed = double_while_it_pays(_SPEEDS.__getitem__, 128)
    assert size == 32
    assert timed == {8: 20.0, 16: 30.0, 32: 32.0, 64: 33.0}
    assert double_while_it_pays(_SPEEDS.__getitem__, 31)[0] == 16


@pytest.mark.parametrize(
    ("n_images", "image_mb", "free_mb", "most"),
    [(2000, 10, 1e4, 200), (10_000, 10, 1e5, 256), (2000, 10, 400, 20), (30, 1, 1e4, 8), (5, 1, 1e4, 5)],
)
def test_memory_and_images_limit_it(n_images: int, image_mb: int, free_mb: float, most: int) -> None:
    assert limit_size(n_images, image_mb, int(free_mb)) == most


def test_what_a_step_keeps_grows_with_its_images_but_not_by_the_weights() -> None:
    module = nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    kept = [count_kept_bytes(module, "fp32", torch.rand(n, 100)) for n in (8, 16)]
    assert 8 * 4 * (100 + 50) <= kept[0] < 8 * 4 * 400
    assert kept[1] == pytest.approx(2 * kept[0], rel=0.2)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) or name.endswith("num_batches_tracked")


def test_what_was_recorded_is_kept(tmp_path: Path) -> None:
    file, module, example = tmp_path / "batch-size.json", nn.Linear(4, 2), torch.rand(8, 4)
    found = find_batch_size(file, module, "fp32", example, 400)
    assert find_batch_size(file, module, "fp32", example, 400) == found
    assert found.size in found.images_per_s
    assert f"Batch size {found.size}: " in found.describe()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "size": 13}))
    assert find_batch_size(file, module, "fp32", example, 400).size == 13
    file.write_text("{}")
    with pytest.raises(ResumeError, match=r"batch-size\.json is damaged"):
        find_batch_size(file, module, "fp32", example, 400)


def test_what_does_not_go_with_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="--batch-size auto measures whole batches; give a number"):
        TuneConfig(batch_size="auto", accumulate=2)
