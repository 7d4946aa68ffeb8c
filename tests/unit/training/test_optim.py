"""Schedules have the shapes that their names promise, and optimisers the groups that a plan asks for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headstart.training.optim import make_optimizer, make_schedule

NAMES = ("one-cycle", "cosine", "step", "constant")


@given(st.sampled_from(NAMES), st.floats(0, 1))
def test_a_factor_lies_between_nothing_and_all(name: str, progress: float) -> None:
    assert 0 <= make_schedule(name)(progress) <= 1


def test_cosine_warms_up_for_a_tenth_and_falls_to_nothing() -> None:
    cosine = make_schedule("cosine")
    assert [cosine(progress) for progress in (0, 0.05, 0.1)] == pytest.approx([1e-3, 0.5, 1])
    assert [cosine(progress) for progress in (0.55, 1)] == pytest.approx([0.5, 0])
    falling = [cosine(0.1 + 0.9 * k / 50) for k in range(51)]
    assert falling == sorted(falling, reverse=True)


def test_one_cycle_rises_for_a_quarter_and_falls_below_its_start() -> None:
    one_cycle = make_schedule("one-cycle")
    assert [one_cycle(progress) for progress in (0, 0.25, 1)] == pytest.approx([0.04, 1, 0.001])
    assert one_cycle(0.1) < one_cycle(0.2) < one_cycle(0.25) > one_cycle(0.5) > one_cycle(0.9)


def test_step_falls_tenfold_after_each_third() -> None:
    step = make_schedule("step")
    assert [step(progress) for progress in (0, 0.33, 1 / 3, 0.66, 2 / 3, 0.99)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert {make_schedule("constant")(progress) for progress in (0, 0.4, 1)} == {1.0}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_groups_follow_the_plan_and_spare_biases_from_decay(name: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    plan = {n: {"0": 0.0, "1": 0.1, "2": 1.0}[n[0]] for n, _ in module.named_parameters()}
    optimizer = make_optimizer(name, module.named_parameters(), plan, lr=0.5, weight_decay=0.01)
    groups = {(g["lr"], g["weight_decay"]): [p.shape for p in g["params"]] for g in optimizer.param_groups}
    assert groups == {
        (0.05, 0.0): [torch.Size([3]), torch.Size([3])],
        (0.5, 0.01): [torch.Size([2, 3])],
        (0.5, 0.0): [torch.Size([2])],
    }
