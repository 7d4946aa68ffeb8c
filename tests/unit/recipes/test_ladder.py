"""What of a rung fits into the time left."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.recipes.effort import Effort, Pace, guess_tail_s, plan_effort, suited_px
from headstart.recipes.ladder import TAIL, WHOLE, Rung, with_epochs, with_rate_for

_SECONDS = st.floats(1, 1e5)
_SPEED = st.floats(1, 1e4)
_PACES = st.builds(
    Pace, st.integers(1, 100_000), _SPEED, _SPEED, st.floats(0, 100), st.sampled_from([None, 160, 224, 384])
)


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


def test_growing_views_let_more_epochs_fit() -> None:
    alike, growing = (Pace(2000, 40, 100, 20, px) for px in (None, 224))
    efforts = [plan_effort(pace, 280, 4, TAIL.epochs) for pace in (alike, growing)]
    assert [effort.epochs for effort in efforts if effort] == [4, 6]
    assert growing.sizes(6) == (128, 128, 160, 192, 224, 224)
    assert growing.views_s(6, 4) == pytest.approx(20 * (128**2 + 160**2 + 192**2 + 224**2) / 224**2)


def test_shorter_epochs_are_rounded_down_to_batches() -> None:
    assert Effort(3, 1).steps(1000, 32) is None
    assert Effort(3, 1, 0.9).steps(1000, 32) == 28
    assert Effort(2, 1, 0.51).steps(33, 32) == 1


@pytest.mark.parametrize("rung", [TAIL, WHOLE])
@settings(deadline=None)
@given(pace=_PACES, left=_SECONDS)
def test_what_is_planned_fits(rung: Rung, pace: Pace, left: float) -> None:
    effort = plan_effort(pace, left, 4, rung.epochs)
    if effort is not None:
        assert pace.seconds(effort) <= left * (1 + 1e-9)
        assert 1 <= effort.epochs <= rung.recipe.epochs
        assert 1 <= effort.views <= 4
        assert 0.5 <= effort.share <= 1
        assert with_epochs(rung, effort.epochs).recipe.epochs == effort.epochs


@pytest.mark.parametrize(
    ("error", "lr"), [(0.9, 1e-3), (1 / 3, 1e-3), (0.1, 3e-4), (0.01, 5e-5), (0.0, 5e-5)]
)
def test_the_less_there_is_to_learn_the_smaller_the_rate(error: float, lr: float) -> None:
    assert with_rate_for(TAIL, error).recipe.lr == pytest.approx(lr)


@pytest.mark.parametrize(("side", "px"), [(32, 128), (16, 96), (48, 192), (64, 224), (300, 224), (4000, 224)])
def test_small_pictures_are_trained_small(side: int, px: int) -> None:
    assert suited_px([side], 224) == px


def test_a_few_small_pictures_decide_nothing() -> None:
    assert suited_px([8, 300, 300, 300], 224) == 224


def test_a_guess_grows_with_the_images() -> None:
    few, many = (guess_tail_s(n, 400.0, 4, in_bfloat16=True) for n in (200, 2000))
    assert many > few > guess_tail_s(200, 800.0, 4, in_bfloat16=True) > 0


def test_float32_trains_more_steps_for_the_time_that_it_embeds_in() -> None:
    exact, rough = (guess_tail_s(2000, 100.0, 4, in_bfloat16=kind) for kind in (False, True))
    assert exact < rough
