import numpy as np
import pytest

from headstart.data.shifts import Kind
from headstart.evaluation.shift import compare_shifts, score_shift

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
    assert scores.accuracy.value == scores.robustness.value == 1
    assert scores.changes["crop"].low < scores.changes["crop"].value == 0 < scores.changes["crop"].high
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
    assert scores.accuracy.value == pytest.approx(0.9)
    assert [level.accuracy for level in scores.kinds["crop"]] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    worst = scores.kinds["crop"][4]
    assert worst.change == pytest.approx(-0.4)
    assert worst.change_interval[1] < -0.25
    assert worst.flips == pytest.approx(0.4)
    change = scores.changes["crop"]
    assert change.value == pytest.approx(-0.2)
    assert -0.32 < change.low < change.value < change.high < -0.08
    assert scores.shifted.value == pytest.approx((0.9 + 0.7) / 2)
    robustness = scores.robustness
    assert robustness.value == pytest.approx((0.9 + 0.7) / 2 / 0.9)
    assert robustness.low < robustness.value < robustness.high
    assert scores.harmful == ("crop",)
    assert scores.policy == "light,crop=0.2-1"


def test_scores_are_plain_json() -> None:
    plain = score_shift(*answers_of(20, {7: 3}), KINDS).to_json()
    assert list(plain["shifts"]) == ["noise", "crop"]
    assert plain["shifts"]["crop"]["levels"][1]["accuracy"] == pytest.approx(0.85)
    assert plain["shifts"]["crop"]["levels"][1]["level"] == 0.8


def test_gains_are_paired_and_those_of_the_scores() -> None:
    before = score_shift(*answers_of(100, {0: 10, **dict.fromkeys(range(6, 11), 40)}), KINDS)
    after = score_shift(*answers_of(100, {0: 12, **dict.fromkeys(range(6, 11), 20)}), KINDS)
    gain = compare_shifts(before, after)
    assert gain.accuracy.value == pytest.approx(-0.02)
    assert gain.accuracy.low < -0.02 < gain.accuracy.high
    assert gain.shifted.value == pytest.approx(0.1)
    assert gain.kinds["crop"].value == pytest.approx(0.2)
    assert gain.kinds["crop"].low > 0
    assert gain.kinds["noise"].value == 0
    assert compare_shifts(before, before).shifted.value == 0
    assert gain.verdict == "Training against the shifts helped."
    assert "did harm: keep the first run" in compare_shifts(after, before).verdict
    assert "can't be told" in compare_shifts(before, before).verdict
    with pytest.raises(ValueError, match="both must judge the same"):
        compare_shifts(before, score_shift(*answers_of(99, {}), KINDS))


def test_an_interval_holds_its_number_even_where_resampling_only_raises_it() -> None:
    answers, confidence, labels = answers_of(50, {0: 5})
    ece = score_shift(answers, confidence, labels, KINDS).ece
    assert ece.value == pytest.approx(0, abs=1e-12)
    assert ece.low <= ece.value <= ece.high
    assert ece.high > 0.02
