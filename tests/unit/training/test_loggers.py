"""What loggers write is read back by the packages' own readers; a logger never stops a training."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from headstart.errors import ConfigError
from headstart.training.events import (
    Advice,
    CheckpointSaved,
    EpochEnded,
    Event,
    Finished,
    PhaseStarted,
    StepEnded,
)
from headstart.training.loggers import LOGGERS, logged, parse_loggers

FACTS = {"lr": "0.01", "augment": "strong,hue=0.1", "classes": "x" * 900}


def steps_of(epoch: int, first: int = 1, loss: float = 1.0) -> list[Event]:
    return [
        StepEnded("all", epoch, k, loss / k, 4 * k, 0.01 * k, 3 * (epoch - 1) + k) for k in range(first, 4)
    ]


def ended(epoch: int) -> EpochEnded:
    return EpochEnded("all", epoch, 2, 0.5 / epoch, 0.8, 0.4 / epoch, 0.9, 30.0, 2.0, 2.0)


BEGINNING: list[Event] = [PhaseStarted("all", 2, 3, 10, 20), *steps_of(1), ended(1), CheckpointSaved(1, 0)]
END: list[Event] = [Advice("A high rate."), *steps_of(2), ended(2), Finished(2, 0.2, 0.9, "all epochs done")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs" / ".photos.training-1").mkdir(parents=True)
    return tmp_path / "runs" / ".photos.training-1"


def listen(names: tuple[str, ...], folder: Path, events: list[Event]) -> list[Event]:
    return list(logged(iter(events), names, folder, FACTS, "photos-finetune"))


def read_board(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    board.Reload()
    return board


def scalars(board: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value)) for point in board.Scalars(name)]


def test_tensorboard_shows_steps_epochs_and_words(folder: Path) -> None:
    assert listen(("tensorboard",), folder, BEGINNING + END) == BEGINNING + END
    (place,) = (folder.parent / "tensorboard").iterdir()
    assert place.name == "photos-finetune-1"
    board = read_board(place)
    assert scalars(board, "step/loss") == [(k + 3 * e, 1 / k) for e in (0, 1) for k in (1, 2, 3)]
    assert scalars(board, "step/learning_rate")[:3] == [(1, 0.01), (2, 0.02), (3, 0.03)]
    assert scalars(board, "epoch/val_loss") == [(3, 0.4), (6, 0.2)]
    assert scalars(board, "epoch/images_per_s") == [(3, 30), (6, 30)]
    words = {
        tag.removesuffix("/text_summary"): board.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in board.Tags()["tensors"]
    }
    assert words["advice"] == "A high rate."
    assert words["finished"] == "Best epoch 2; all epochs done."
    assert "| augment | strong,hue=0.1 |" in words["settings"]


@pytest.mark.parametrize("first", [2, 3])
def test_tensorboard_after_a_kill_tells_no_step_twice(folder: Path, first: int) -> None:
    listen(("tensorboard",), folder, [*BEGINNING, *steps_of(2)[:2]])
    again: list[Event] = [Advice("Going on."), *steps_of(2, first, loss=3.0), ended(2)]
    listen(("tensorboard",), folder, again)
    (place,) = (folder.parent / "tensorboard").iterdir()
    points = scalars(read_board(place), "step/loss")
    kept = [(k, 1 / k) for k in (1, 2, 3)] + [(3 + k, 1 / k) for k in range(1, first)]
    assert points == kept + [(3 + k, 3 / k) for k in range(first, 4)]


def test_tensorboard_keeps_all_where_only_the_end_was_left(folder: Path) -> None:
    listen(("tensorboard",), folder, BEGINNING)
    listen(("tensorboard",), folder, END[-1:])
    (place,) = (folder.parent / "tensorboard").iterdir()
    assert len(scalars(read_board(place), "step/loss")) == 3


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_holds_one_run_of_a_training_that_was_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    listen(("mlflow",), folder, BEGINNING)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("headstart")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    listen(("mlflow",), folder, END)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "photos-finetune")
    assert run.data.params == {**FACTS, "classes": "x" * 500}
    assert run.data.metrics["best_epoch"] == 2
    assert run.data.tags["advice_0"] == "A high rate."
    history = client.get_metric_history(run.info.run_id, "step_loss")
    assert [(point.step, point.value) for point in history] == [
        (k + 3 * e, 1 / k) for e in (0, 1) for k in (1, 2, 3)
    ]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")] == [3, 6]
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"mlflow.db", "mlflow-photos-finetune.txt"}


def test_mlflow_goes_where_the_user_says_and_tells_if_it_cannot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://x")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with pytest.raises(ConfigError, match=r"--log mlflow: .*nowhere.*See to that, or leave it out"):
        listen(("mlflow",), folder, BEGINNING)


def test_a_logger_that_fails_is_told_and_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Frail:
        def __init__(self, *_: object) -> None:
            self.heard = 0

        def log(self, event: Event, step: int) -> None:
            self.heard += 1
            if self.heard > 2:
                raise OSError("no route to host\nand more")

        def close(self) -> None:
            raise AssertionError("it is left out")

    monkeypatch.setitem(LOGGERS, "frail", Frail)
    told = listen(("frail",), folder, BEGINNING)
    assert [event for event in told if event not in BEGINNING] == [
        Advice("frail can't be written any more, and training goes on without: no route to host")
    ]
    assert [event for event in told if event in BEGINNING] == BEGINNING


def test_loggers_are_closed_when_nobody_listens_any_more(folder: Path) -> None:
    listening = logged(iter(BEGINNING), ("tensorboard",), folder, FACTS, "photos")
    for event in listening:
        if isinstance(event, StepEnded):
            break
    listening.close()
    (place,) = (folder.parent / "tensorboard").iterdir()
    assert scalars(read_board(place), "step/loss") == [(1, 1.0)]


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("mlflow", ("mlflow",)), ("tensorboard,mlflow,mlflow", ("tensorboard", "mlflow"))],
)
def test_names_are_read(text: str, names: tuple[str, ...]) -> None:
    assert parse_loggers(text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tensorbord",
            r"no logger is called 'tensorbord'\. Did you mean tensorboard\? Known: tens",
        ),
        ("mlflow,", r"--log mlflow,: no logger is called ''"),
    ],
)
def test_unknown_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_loggers(text)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.training.loggers.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"tensorboard, which is not installed\. .*pip install 'headstart\[log\]'"
    ):
        parse_loggers("tensorboard")
