"""Where a training keeps what it needs to go on after a kill: a hidden folder beside its run to be.

`runs/.photos-finetune.training-1/` holds `facts.json`, `checkpoint.pt` and `history.jsonl`;
it is removed when the run is saved. One that a kill left behind stays while it can go on: until
it does, or a training of the same facts is saved.
"""

import contextlib
import glob
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from headstart.errors import ResumeError
from headstart.run.atomic import converting_errors, write_json
from headstart.run.folder import safe_name
from headstart.run.lock import LOCK_NAME, Lock, hold, is_left_behind

_FACTS = "facts.json"
_WORTHLESS = {_FACTS, LOCK_NAME}  # alone they are no training to go on with


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A training that has not saved its run yet.

    Attributes:
        folder: Its own.
        facts: What must be the same for it to go on: data, classes, settings, versions.
        lock: Shows others that it is under way.
        joined: Whether another process of the same training has opened it.
    """

    folder: Path
    facts: Mapping[str, str]
    lock: Lock
    joined: bool = False

    @property
    def history(self) -> Path:
        """Its events so far."""
        return self.folder / "history.jsonl"

    @classmethod
    def open(
        cls,
        out: Path | None,
        name: str,
        facts: Mapping[str, str],
        *,
        resume: bool,
        note: Callable[[str], None] = lambda _: None,
    ) -> "Unfinished":
        """Find the latest training of these facts, or begin one.

        Args:
            out: The run folder asked for, or None.
            name: Of the data and the recipe, where no folder was asked for.
            facts: See the class.
            resume: Find, rather than begin.
            note: Told of trainings of this name that were cut short and wait to go on.

        Raises:
            ResumeError: Nothing to resume, or only trainings of other facts or under way; says what differs.
            StorageError: The folder can't be made.
        """
        parent = out.absolute().parent if out else Path("runs")
        stem = f".{safe_name(out.name if out else name)}.training-"
        if resume:
            folder = _find(parent, stem, facts)
            return cls(folder, facts, _hold(folder))
        for left in _sweep(parent, stem):
            note(f"{left} was cut short. The same command with --resume goes on with it; else delete it.")
        with converting_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            for number in count(1):
                folder = parent / f"{stem}{number}"
                try:
                    folder.mkdir()
                except FileExistsError:
                    continue
                lock = hold(folder)
                write_json(folder / _FACTS, dict(facts))
                return cls(folder, facts, lock)
        raise AssertionError("the numbers never end")

    @classmethod
    def join(cls, folder: Path, facts: Mapping[str, str]) -> "Unfinished":
        """Take part in a training that another process of it has opened, and will remove.

        Raises:
            StorageError: The folder is not there, and can't be made.
        """
        with converting_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, facts, Lock(None), joined=True)

    @staticmethod
    def waits(out: Path) -> bool:
        """Whether a training towards the run folder `out` was cut short and can go on."""
        return any(out.absolute().parent.glob(f".{glob.escape(safe_name(out.name))}.training-*/{_FACTS}"))

    def remove(self) -> None:
        """Forget it, and others of the same facts that a kill left behind: the run is saved."""
        if self.joined:
            return
        self.lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)
        stem = self.folder.name.rstrip("0123456789")
        for folder in self.folder.parent.glob(f"{glob.escape(stem)}*"):
            if _read_facts(folder) == dict(self.facts) and is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)


def describe_differences(saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`seed was 0 and is 1; …`, empty where all is equal."""
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    return "; ".join(f"{name} was {saved.get(name)} and is {now.get(name)}" for name in names)


def _sweep(parent: Path, stem: str) -> list[Path]:
    """Remove what killed trainings of this name left that can't go on; return those that can."""
    waiting = []
    for folder in sorted(parent.glob(f"{glob.escape(stem)}*")):
        if not is_left_behind(folder):
            continue
        if _read_facts(folder) and any(path.name not in _WORTHLESS for path in folder.iterdir()):
            waiting.append(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return waiting


def _hold(folder: Path) -> Lock:
    """Lock a training that is to go on.

    Raises:
        ResumeError: It is under way.
    """
    with converting_errors(folder):
        try:
            return hold(folder)
        except BlockingIOError as error:
            raise ResumeError(
                f"{folder} is being trained by another process. Wait for it, or leave --resume out."
            ) from error


def _read_facts(folder: Path) -> dict[str, str] | None:
    """What a training was of; None where that can't be read."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _find(parent: Path, stem: str, facts: Mapping[str, str]) -> Path:
    found = {}
    for folder in parent.glob(f"{glob.escape(stem)}*"):
        saved = _read_facts(folder)
        with contextlib.suppress(OSError):
            if saved is not None:
                found[folder] = (folder / _FACTS).stat().st_mtime, describe_differences(saved, facts)
    if not found:
        raise ResumeError(
            f"No training in {parent} was cut short once it had begun to learn, so there is nothing to "
            "resume. Leave --resume out; what was embedded before is used again."
        )
    latest = sorted(found, key=lambda folder: found[folder][0], reverse=True)
    same = [folder for folder in latest if not found[folder][1]]
    if not same:
        raise ResumeError(
            f"{latest[0]} was trained otherwise, so it can't go on: {found[latest[0]][1]}. "
            "Give the same data and settings, or leave --resume out."
        )
    return same[0]
