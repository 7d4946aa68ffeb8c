"""Training a backbone by the command line: what it logs, and how it ends where it can't go on."""

import subprocess
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from networks import save_random
from support import Runner, refused, small_disk

QUICK = (
    "--recipe",
    "finetune",
    "--epochs",
    "2",
    "--input-px",
    "32",
    "--precision",
    "fp32",
    "--batch-size",
    "8",
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`--model` of a network that trains in a moment."""
    return f"test_resnet@{save_random(tmp_path_factory.mktemp('tiny'))}"


def test_tensorboard_is_written_beside_the_run(
    call: Runner, small_set: Path, tiny: str, tmp_path: Path
) -> None:
    done = call("train", small_set, "--model", tiny, *QUICK, "--log", "tensorboard")
    assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / "runs" / "tensorboard").iterdir()
    assert place.name == "pets-finetune-1"
    board = EventAccumulator(str(place)).Reload()
    steps = [point.step for point in board.Scalars("step/loss")]
    assert steps == list(range(1, len(steps) + 1))
    assert [point.step for point in board.Scalars("epoch/val_accuracy")] == [len(steps) // 2, len(steps)]


def test_an_unknown_logger_is_told_before_any_work(call: Runner, small_set: Path) -> None:
    done = call("train", small_set, "--recipe", "finetune", "--log", "tensorbord")
    message = refused(done, r"no logger is called 'tensorbord'\. Did you mean tensorboard\?")
    assert "Listing" not in message


def test_a_training_that_diverges_leaves_nothing_to_resume(
    call: Runner, small_set: Path, tiny: str, tmp_path: Path
) -> None:
    done = call("train", small_set, "--model", tiny, *QUICK, "--lr", "1e30", "--optimizer", "sgd")
    refused(
        done,
        r"loss is \w+ (at step \d+ of|after) epoch \d.*learning rate 1e\+30 is too high.*Try --lr 1e\+29",
    )
    assert not any((tmp_path / "runs").iterdir())


def test_a_disk_that_fills_during_a_checkpoint_and_is_enlarged(
    call: Runner, small_set: Path, tiny: str, tmp_path: Path
) -> None:
    words = ("train", small_set, "--model", tiny, *QUICK, "--out", "disk/run")
    with small_disk(tmp_path / "disk", "size=1m") as is_real:
        if not is_real:
            pytest.skip("no disk can be mounted here")
        message = refused(
            call(*words), r"Can't write \S+/checkpoint\.pt: the disk is full: .* Free some space"
        )
        assert "The same command with --resume goes on from the last checkpoint." in message
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "disk")], check=True, timeout=30)
        done = call(*words, "--resume")
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["run"]
