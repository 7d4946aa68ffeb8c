"""Weights between two of the same network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from headstart.training.interpolate import ALPHAS, interpolate, try_blends
from headstart.training.loop import Validation


def make_state(seed: int) -> dict[str, torch.Tensor]:
    """Of a small network after a few batches, so that its batch norm's statistics have moved."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for _ in range(seed + 1):
        network(torch.randn(8, 4) * (seed + 1))
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


START, END = make_state(0), make_state(1)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, START), (1.0, END)])
def test_the_ends_are_bit_equal(alpha: float, expected: dict[str, torch.Tensor]) -> None:
    found = interpolate(START, END, alpha)
    assert list(found) == list(END)
    for name, tensor in expected.items():
        if tensor.is_floating_point():
            assert torch.equal(found[name], tensor), name


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1, width=32))
def test_every_tensor_lies_on_the_line_running_statistics_included(alpha: float) -> None:
    found = interpolate(START, END, alpha)
    for name in ("0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var", "2.weight"):
        torch.testing.assert_close(found[name], (1 - alpha) * START[name] + alpha * END[name])
    assert (found["1.running_var"] > 0).all()


def test_counts_are_those_of_the_end() -> None:
    found = interpolate(START, END, 0.5)
    assert (int(START["1.num_batches_tracked"]), int(found["1.num_batches_tracked"])) == (1, 2)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_neither_end_is_touched_and_nothing_is_shared(alpha: float) -> None:
    before = [{name: tensor.clone() for name, tensor in state.items()} for state in (START, END)]
    for tensor in interpolate(START, END, alpha).values():
        tensor.add_(1)
    for state, kept in zip((START, END), before, strict=True):
        assert all(torch.equal(state[name], kept[name]) for name in kept)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_beyond_the_ends_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, not"):
        interpolate(START, END, alpha)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"only one of the two networks has 0\.bias, 9\.new"):
        interpolate({n: t for n, t in START.items() if n != "0.bias"}, {**END, "9.new": torch.ones(1)}, 0.5)
    with pytest.raises(ValueError, match=r"differ in the shape of 0\.bias"):
        interpolate(START, {**END, "0.bias": torch.ones(1)}, 0.5)  # lerp would spread the one value


class Slope(nn.Module):
    """Says `scale * x` of class 1 against 0 of class 0."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros_like(x), self.scale * x], dim=1)


def judge(turn: float) -> Validation:
    """Points of which those beyond `turn` are of class 0: no slope is right about all, some less wrong."""
    x = torch.linspace(-1, 1, 41)
    labels = ((x > 0) & (x < turn)).long().numpy().astype(np.int64)
    return Validation(lambda: iter([x]), labels)


def test_what_validation_likes_best_is_chosen_and_kept() -> None:
    module = Slope(-3.0)
    blends = try_blends(module, {"scale": torch.tensor(1.0)}, judge(2.0), "fp32")
    assert [blend.alpha for blend in blends] == list(ALPHAS)
    assert [blend.chosen for blend in blends] == [True, False, False, False, False]
    assert module.scale.item() == 1.0
    assert blends[0].val_accuracy > 0.9
    assert blends[0].val_loss < blends[4].val_loss
    module = Slope(1.0)
    assert try_blends(module, {"scale": torch.tensor(-3.0)}, judge(2.0), "fp32")[4].chosen
    assert module.scale.item() == 1.0


def test_of_equals_the_one_nearer_to_the_start_is_chosen() -> None:
    blends = try_blends(Slope(2.0), {"scale": torch.tensor(2.0)}, judge(0.5), "fp32")
    assert [blend.chosen for blend in blends] == [True, False, False, False, False]
