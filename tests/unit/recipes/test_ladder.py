"""What of a rung fits into the time left."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.recipes.effort import Effort, Pace, guess_tail_s, plan_effort, suited_px
from headstart.recipes.ladder import TAIL, WHOLE, Rung, with_epochs

_SECONDS = st.floats(1, 1e5)
_SPEED = st.floats(1, 1e4)


def test_without_a_limit_a_rung_is_done_in_full() -> None:
    pace = Pace(n_images=1000, images_per_s=10, views_per_s=100, closing_s=5)
    assert plan_effort(pace, math.inf, 4, TAIL.epochs) == Effort(TAIL.recipe.epochs, 4)
    assert plan_effort(pace, math.inf, 4, WHOLE.epochs) == Effort(WHOLE.recipe.epochs, 4)


def test_less_time_is_fewer_epochs_then_fewer_views_then_nothing() -> None:
    pace = Pace(n_images=1000, images_per_s=100, views_per_s=100, closing_s=5)
    efforts = [plan_effort(pace, left, 4, TAIL.epochs) for left in (190, 120, 60, 30)]
    assert efforts[0] == Effort(12, 4)
    assert efforts[3] is None
    assert [(effort.epochs, effort.views) for effort in efforts if effort] == [(12, 4), (7, 4), (4, 2)]


def test_the_time_that_whole_epochs_would_leave_is_used() -> None:
    pace = Pace(n_images=10_000, images_per_s=300, views_per_s=800, closing_s=12)
    for left in range(130, 500, 7):
        effort = plan_effort(pace, left, 4, TAIL.epochs)
        assert effort is not None
        if effort.epochs < TAIL.recipe.epochs:
            assert pace.seconds(effort) == pytest.approx(left)


def test_shorter_epochs_are_rounded_down_to_batches() -> None:
    assert Effort(3, 1).steps(1000, 32) is None
    assert Effort(3, 1, 0.9).steps(1000, 32) == 28
    assert Effort(2, 1, 0.51).steps(33, 32) == 1


@pytest.mark.parametrize("rung", [TAIL, WHOLE])
@settings(deadline=None)
@given(n=st.integers(1, 100_000), speed=_SPEED, views=_SPEED, closing=st.floats(0, 100), left=_SECONDS)
def test_what_is_planned_fits(
    rung: Rung, n: int, speed: float, views: float, closing: float, left: float
) -> None:
    pace = Pace(n, speed, views, closing)
    effort = plan_effort(pace, left, 4, rung.epochs)
    if effort is not None:
        assert pace.seconds(effort) <= left * (1 + 1e-9)
        assert 1 <= effort.epochs <= rung.recipe.epochs
        assert 1 <= effort.views <= 4
        assert 0.5 <= effort.share <= 1
        assert with_epochs(rung, effort.epochs).recipe.epochs == effort.epochs


@pytest.mark.parametrize(("side", "px"), [(32, 128), (16, 96), (48, 192), (64, 224), (300, 224), (4000, 224)])
def test_small_pictures_are_trained_small(side: int, px: int) -> None:
    assert suited_px([side], 224) == px


def test_a_few_small_pictures_decide_nothing() -> None:
    assert suited_px([8, 300, 300, 300], 224) == 224


def test_a_guess_grows_with_the_images() -> None:
    assert guess_tail_s(2000, 400.0, 4) > guess_tail_s(200, 400.0, 4) > guess_tail_s(200, 800.0, 4) > 0
