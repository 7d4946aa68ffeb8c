"""Timing a few steps."""

from itertools import count

import pytest
import torch
from torch import nn

from headstart.training.precision import time_steps


@pytest.mark.parametrize(("least_s", "steps"), [(0.0, 3), (1.0, 5), (1.1, 6)])
def test_short_steps_are_timed_for_a_while(
    least_s: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = 0

    class Counting(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal ran
            ran += 1
            return super().forward(x)

    clock = count(step=0.25)  # each step looks at it when it begins and when it ends
    monkeypatch.setattr("headstart.training.precision.time.perf_counter", lambda: next(clock))
    assert time_steps(Counting(3, 2), "fp32", torch.ones(8, 3), 2, least_s=least_s) == 8 / 0.25
    assert ran == steps


def test_without_steps_the_warming_up_is_timed() -> None:
    assert time_steps(nn.Linear(3, 2), "fp32", torch.ones(8, 3), 0) > 0
