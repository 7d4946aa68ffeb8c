"""The head with hidden layers, and the features that it learns from."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from headstart.config import TuneConfig
from headstart.heads.hidden import Floats, apply_hidden
from headstart.recipes.mlp import MlpHead
from headstart.training.loop import Trainer, Validation
from headstart.training.mlp import FeatureBatches, Mlp

Ints = NDArray[np.int64]


def make_rings(n: int = 200) -> tuple[Floats, Ints]:
    """One class inside the other, which no linear head can tell; scales far from 1, one feature constant."""
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int64) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, n), 1 + 2 * labels + 0.2 * rng.standard_normal(n)
    x = np.stack([100 + 30 * radius * np.cos(angle), 0.01 * radius * np.sin(angle), np.full(n, 7.0)], axis=1)
    return x.astype(np.float32), labels


def make_batches(views: int = 1, balance: bool = False) -> FeatureBatches:
    x, labels = make_rings()
    if balance:
        labels = (np.arange(len(labels)) < 20).astype(np.int64)
    return FeatureBatches([x + 1000 * view for view in range(views)], labels, 32, 0, balance=balance)


def test_arrays_answer_as_the_module_does() -> None:
    x, _ = make_rings()
    mlp = Mlp(x, 3, width=16, seed=1).eval()
    with torch.inference_mode():
        expected = mlp(torch.from_numpy(x)).numpy()
    hidden, weight, bias = mlp.layers()
    assert [layer.shape for layer, _ in hidden] == [(16, 3), (16, 16)]
    assert {array.dtype for layer in (*hidden, (weight, bias)) for array in layer} == {np.dtype(np.float32)}
    np.testing.assert_allclose(apply_hidden(x, hidden) @ weight.T + bias, expected, rtol=1e-3, atol=1e-3)
    kept = hidden[0][0].copy()
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(1)
    assert (hidden[0][0] == kept).all()


def test_only_the_head_learns_and_the_seed_decides_where_it_starts() -> None:
    x, _ = make_rings()
    assert {name.split(".")[0] for name, _ in Mlp(x, 2, width=8).named_parameters()} == {"head"}
    first, again, other = (next(Mlp(x, 2, width=8, seed=seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_it_learns_what_no_linear_head_can() -> None:
    x, labels = make_rings()
    mlp = Mlp(x, 2, width=64)
    torch.manual_seed(0)
    trainer = Trainer(
        mlp,
        make_batches(),
        Validation(lambda: iter([torch.from_numpy(x)]), labels),
        MlpHead(epochs=15, lr=1e-2).phases(),
        TuneConfig(),
        2,
    )
    assert list(trainer.run())[-1].val_accuracy > 0.95


@pytest.mark.parametrize("balance", [False, True])
def test_an_epoch_can_be_joined_at_any_batch(balance: bool) -> None:
    batches = make_batches(views=2, balance=balance)
    whole = list(batches.epoch(3))
    assert len(whole) == batches.n_steps() == 7
    for (x, y), (joined_x, joined_y) in zip(whole[4:], batches.epoch(3, 4), strict=True):
        assert torch.equal(x, joined_x)
        assert torch.equal(y, joined_y)


def test_each_image_comes_once_an_epoch_in_one_of_its_views() -> None:
    batches = make_batches(views=3)
    shown = [torch.cat([x for x, _ in batches.epoch(epoch)])[:, 2] for epoch in (0, 1)]
    assert {int(value) for value in torch.cat(shown)} == {7, 1007, 2007}
    assert not torch.equal(*shown)
    labels = torch.cat([y for _, y in batches.epoch(0)])
    assert labels.bincount().tolist() == [100, 100]


def test_balanced_classes_come_alike_often() -> None:
    labels = torch.cat([y for _, y in make_batches(balance=True).epoch(0)])
    assert labels.bincount().tolist() == [100, 100]
