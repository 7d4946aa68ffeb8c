"""What a run's history says of its seconds and of the parameters that learnt."""

from typing import Any

import pytest

from headstart.api.outcome import _curve, _learning


def epoch(seconds: float, accuracy: float) -> dict[str, Any]:
    return {"event": "EpochEnded", "seconds": seconds, "val_accuracy": accuracy}


def phase(name: str, parameters: int) -> dict[str, Any]:
    return {"event": "PhaseStarted", "phase": name, "parameters": parameters}


def rung(name: str, kept: bool) -> dict[str, Any]:
    return {"event": "RungEnded", "rung": name, "kept": kept}


def test_the_head_and_what_lies_before_the_first_epoch_count() -> None:
    curve = _curve([epoch(10, 0.5), epoch(8, 0.75)], {"head": 2.0, "training": 25.0})
    assert curve == ((2 + 7 + 10, 0.5), (2 + 25, 0.75))


def test_of_a_resumed_training_all_epochs_count() -> None:
    curve = _curve([epoch(10, 0.5), epoch(8, 0.75)], {"head": 2.0, "training": 9.0})
    assert curve == ((12, 0.5), (20, 0.75))


def test_a_solved_head_has_no_epochs() -> None:
    assert _curve([], {"head": 2.0}) == ()


@pytest.mark.parametrize(
    ("events", "learning"),
    [
        ([phase("head", 5), phase("full", 900)], [5, 900]),
        ([phase("tail", 50), rung("tail", True), phase("whole", 900), rung("whole", False)], [50]),
        ([phase("tail", 50), rung("tail", False)], []),
        ([rung("tail", False)], []),
        ([], []),
    ],
)
def test_parameters_count_in_phases_of_what_was_kept(
    events: list[dict[str, Any]], learning: list[int]
) -> None:
    assert _learning(events) == learning
