import numpy as np
import pytest

from headstart.data.shifts import Kind
from headstart.evaluation.shift import score_shift

KINDS: tuple[Kind, ...] = ("noise", "crop")


def answers_of(n: int, wrong: dict[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right answers, but the first `wrong[column]` of a column."""
    labels = np.arange(n) % 3
    answers = np.repeat(labels[:, None], 11, 1)
    for column, count in wrong.items():
        answers[:count, column] = (answers[:count, column] + 1) % 3
    return answers, np.full((n, 11), 0.9), labels


def test_a_model_that_nothing_moves_is_robust_and_needs_no_augmentation() -> None:
    scores = score_shift(*answers_of(100, {}), KINDS)
    assert scores.accuracy == scores.robustness == 1
    assert scores.harmful == ()
    assert scores.policy == ""
    level = scores.kinds["crop"][4]
    assert (level.change, level.flips) == (0, 0)
    assert level.change_interval[0] < 0 < level.change_interval[1]
    assert level.ece == pytest.approx(0.1)


def test_what_harms_is_found_and_set_against_the_clean_pictures() -> None:
    wrong = {
        0: 10,
        **dict.fromkeys(range(1, 6), 10),
        **dict(zip(range(6, 11), (10, 20, 30, 40, 50), strict=True)),
    }
    scores = score_shift(*answers_of(100, wrong), KINDS)
    assert scores.accuracy == pytest.approx(0.9)
    assert [level.accuracy for level in scores.kinds["crop"]] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    worst = scores.kinds["crop"][4]
    assert worst.change == pytest.approx(-0.4)
    assert worst.change_interval[1] < -0.25
    assert worst.flips == pytest.approx(0.4)
    assert scores.robustness == pytest.approx((0.9 + 0.7) / 2 / 0.9)
    assert scores.robustness_interval[0] < scores.robustness < scores.robustness_interval[1]
    assert scores.harmful == ("crop",)
    assert scores.policy == "light,crop=0.2-1"


def test_scores_are_plain_json() -> None:
    plain = score_shift(*answers_of(20, {7: 3}), KINDS).to_json()
    assert list(plain["shifts"]) == ["noise", "crop"]
    assert plain["shifts"]["crop"]["levels"][1]["accuracy"] == pytest.approx(0.85)
    assert plain["shifts"]["crop"]["levels"][1]["level"] == 0.8
