"""Weights between two of the same network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from headstart.training.interpolate import interpolate


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
