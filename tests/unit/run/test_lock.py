"""What a kill left behind is told from what a living process is at."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headstart.errors import ResumeError
from headstart.run import lock
from headstart.run.folder import building_run, new_run_folder, remove_half_saved
from headstart.run.lock import LOCK_NAME, hold, is_left_behind
from headstart.run.unfinished import Unfinished

_HOLD = """
import sys, time
from pathlib import Path
from headstart.run.lock import hold
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
lock = hold(folder)
print("held", flush=True)
time.sleep(100)
"""


@contextmanager
def another_process_at(folder: Path) -> Iterator[None]:
    """A process that holds the folder; killed at the end."""
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def end_of_process(training: Unfinished) -> None:
    """What the system does with a lock when its process is killed."""
    assert training.lock.path is not None
    os.close(lock._held.pop(training.lock.path))


def test_a_living_process_keeps_its_folder_and_a_dead_one_leaves_it_behind(tmp_path: Path) -> None:
    with another_process_at(tmp_path / "x"):
        assert not is_left_behind(tmp_path / "x")
        with pytest.raises(BlockingIOError, match="unavailable"):
            hold(tmp_path / "x")
    assert is_left_behind(tmp_path / "x")
    ours = hold(tmp_path / "x")
    assert not is_left_behind(tmp_path / "x")
    ours.release()
    assert list((tmp_path / "x").iterdir()) == []


def test_a_folder_that_nobody_locked_is_nobodys_to_remove(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert not is_left_behind(tmp_path / "mine")
    assert not is_left_behind(tmp_path / "none")


def test_this_process_may_take_its_own_folder_again(tmp_path: Path) -> None:
    hold(tmp_path)
    again = hold(tmp_path)
    assert not is_left_behind(tmp_path)
    again.release()
    assert not list(tmp_path.iterdir())


def test_half_saved_runs_of_killed_processes_are_removed_with_their_reservation(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with another_process_at(runs / ".pets-probe-1.partial-11"):
        pass
    for name in ("pets-probe-1", "pets-probe-2", "pets-probe-3"):
        (runs / name).mkdir()
    (runs / "pets-probe-3" / "config.json").write_text("{}")
    with another_process_at(runs / ".pets-probe-3.partial-33-2"):
        pass
    (runs / ".pets-probe-4.partial-44").mkdir()  # of unknown origin
    with another_process_at(runs / ".pets-probe-2.partial-22"):
        remove_half_saved(runs)
        left = {path.name for path in runs.iterdir()}
    assert left == {
        "pets-probe-2",
        ".pets-probe-2.partial-22",
        "pets-probe-3",
        ".pets-probe-4.partial-44",
    }
    assert (runs / "pets-probe-3" / "config.json").exists()


def test_a_name_that_two_are_saving_under_stays_reserved_while_one_lives(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with another_process_at(tmp_path / ".x.partial-11"):
        pass
    with another_process_at(tmp_path / ".x.partial-22"):
        remove_half_saved(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".x.partial-22", "x"]


def test_a_saved_run_holds_no_lock(tmp_path: Path) -> None:
    final = new_run_folder(tmp_path, "x")
    with building_run(final) as run:
        run.config_json.write_text("{}")
        assert not is_left_behind(run.path)
        remove_half_saved(tmp_path)
        assert run.config_json.exists()
    assert [path.name for path in final.iterdir()] == ["config.json"]


def test_trainings_that_can_go_on_are_told_and_kept_until_one_of_the_same_facts_is_saved(
    tmp_path: Path,
) -> None:
    facts, out = {"seed": "0"}, tmp_path / "pets"
    notes: list[str] = []
    for number, kept in ((1, True), (2, False)):
        killed = Unfinished.open(out, "", facts, resume=False)
        assert killed.folder.name == f".pets.training-{number}"
        if kept:
            (killed.folder / "checkpoint.pt").write_bytes(b"weights")
        end_of_process(killed)
    other = Unfinished.open(tmp_path / "pets-other", "", facts, resume=False)
    begun = Unfinished.open(out, "", facts, resume=False, note=notes.append)
    assert begun.folder.name == ".pets.training-2"  # the one that was worth nothing made room
    (told,) = notes
    assert told.startswith(
        f"{tmp_path}/.pets.training-1 was cut short. The same command with --resume goes on"
    )
    begun.remove()
    assert [path.name for path in tmp_path.iterdir()] == [other.folder.name]
    other.remove()


def test_trainings_of_other_facts_stay(tmp_path: Path) -> None:
    killed = Unfinished.open(tmp_path / "pets", "", {"seed": "0"}, resume=False)
    (killed.folder / "checkpoint.pt").write_bytes(b"weights")
    end_of_process(killed)
    Unfinished.open(tmp_path / "pets", "", {"seed": "1"}, resume=False).remove()
    assert [path.name for path in tmp_path.iterdir()] == [killed.folder.name]


def test_a_training_under_way_is_neither_swept_nor_resumed(tmp_path: Path) -> None:
    facts, out = {"seed": "0"}, tmp_path / "pets"
    folder = Unfinished.open(out, "", facts, resume=False).folder
    (folder / LOCK_NAME).unlink()
    with another_process_at(folder):
        with pytest.raises(
            ResumeError, match=r"\.pets\.training-1 is being trained by another process\. Wait"
        ):
            Unfinished.open(out, "", facts, resume=True)
        begun = Unfinished.open(out, "", facts, resume=False)
        assert begun.folder.name == ".pets.training-2"
        begun.remove()
        assert folder.exists()
    resumed = Unfinished.open(out, "", facts, resume=True)
    assert resumed.folder == folder
    resumed.remove()
