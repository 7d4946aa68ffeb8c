"""Rows of a comparison: the best is chosen by validation, gains and tests are paired."""

from pathlib import Path

import numpy as np
import pytest

from headstart.api.compared import Cell, make_rows
from headstart.api.outcome import Outcome
from headstart.errors import DamagedRunError
from headstart.metrics.intervals import mcnemar_exact
from headstart.metrics.scores import score

N = 100


def outcome(right: int, val_right: int, n: int = N) -> Outcome:
    """Right on the first images, and as sure as it is right."""

    def scores(right: int):
        p = np.full((n, 2), 0.5)
        p[:, 0] = np.where(np.arange(n) < right, 0.8, 0.2)
        p[:, 1] = 1 - p[:, 0]
        return score(p, np.zeros(n, int), ["a", "b"])

    correct = np.arange(n) < right
    images = tuple(f"{k}.png" for k in range(n))
    return Outcome(
        Path(f"r{right}"), scores(right), scores(val_right), images, correct, 2.0, 9.0, 5, ((2.0, 0.5),)
    )


def cell(recipe: str, seed: int, result: Outcome | None, model: str = "lite0") -> Cell:
    return Cell(recipe, model, seed, result, "" if result else "it diverged")


def test_the_best_is_chosen_by_validation_whatever_the_test_split_says() -> None:
    cells = [cell("scratch", 0, outcome(99, 60)), cell("probe", 0, outcome(80, 90))]
    rows, best = make_rows(cells)
    assert best is rows[1]
    assert best.recipe == "probe"
    assert best.p_value is None
    assert rows[0].p_value == pytest.approx(mcnemar_exact(np.arange(N) < 99, np.arange(N) < 80))


def test_a_row_joins_seeds_and_its_lowest_validation_loss_stands_for_it_in_the_test() -> None:
    cells = [
        cell("scratch", 0, outcome(50, 50)),
        cell("finetune", 0, outcome(90, 70)),
        cell("scratch", 1, outcome(60, 50)),
        cell("finetune", 1, outcome(70, 80)),
        cell("probe", 0, outcome(80, 95)),
    ]
    rows, best = make_rows(cells)
    assert [(row.recipe, len(row.outcomes)) for row in rows] == [
        ("scratch", 2),
        ("finetune", 2),
        ("probe", 1),
    ]
    finetune = rows[1]
    assert finetune.accuracy.value == pytest.approx(0.8)
    assert finetune.gain.value == pytest.approx(0.25)
    assert finetune.chosen.run == Path("r70")
    assert finetune.p_value == pytest.approx(mcnemar_exact(np.arange(N) < 70, np.arange(N) < 80))
    assert rows[0].gain is None
    assert best is rows[2]


def test_gain_is_over_scratch_of_the_same_model_only() -> None:
    rows, _ = make_rows([cell("scratch", 0, outcome(50, 50)), cell("probe", 0, outcome(60, 60), "lite1")])
    assert rows[1].gain is None


def test_failed_trainings_leave_a_row_that_says_why() -> None:
    cells = [cell("probe", 0, None), cell("probe", 1, None), cell("finetune", 0, outcome(5, 5))]
    rows, best = make_rows([*cells, cell("finetune", 1, None)])
    assert rows[0].failures == rows[1].failures == ("it diverged",)
    assert rows[0].flat()["failure"] == "it diverged"
    assert rows[0].flat()["test_accuracy"] is rows[0].seconds is rows[0].parameters is None
    assert rows[1].accuracy.value == 0.05
    assert best is rows[1]
    assert make_rows(cells[:2])[1] is None


def test_runs_measured_on_other_images_are_refused() -> None:
    with pytest.raises(DamagedRunError, match="r7 and r5 were measured on different images"):
        make_rows([cell("probe", 0, outcome(5, 5)), cell("finetune", 0, outcome(7, 5, n=99))])
