"""Where a training keeps what it needs to go on after a kill: a hidden folder beside its run to be.

`runs/.photos-finetune.training-1/` holds `facts.json`, `checkpoint.pt` and `history.jsonl`;
it is removed when the run is saved.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from headstart.errors import ResumeError
from headstart.run.atomic import converting_errors, write_json
from headstart.run.folder import safe_name

_FACTS = "facts.json"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A training that has not saved its run yet.

    Attributes:
        folder: Its own.
        facts: What must be the same for it to go on: data, classes, settings, versions.
    """

    folder: Path
    facts: Mapping[str, str]

    @property
    def history(self) -> Path:
        """Its events so far."""
        return self.folder / "history.jsonl"

    @classmethod
    def open(cls, out: Path | None, name: str, facts: Mapping[str, str], *, resume: bool) -> "Unfinished":
        """Find the latest training of these facts, or begin one.

        Args:
            out: The run folder asked for, or None.
            name: Of the data and the recipe, where no folder was asked for.
            facts: See the class.
            resume: Find, rather than begin.

        Raises:
            ResumeError: Nothing to resume, or only trainings of other facts; says what differs.
            StorageError: The folder can't be made.
        """
        parent = out.absolute().parent if out else Path("runs")
        stem = f".{safe_name(out.name if out else name)}.training-"
        if resume:
            return cls(_find(parent, stem, facts), facts)
        with converting_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            for number in count(1):
                folder = parent / f"{stem}{number}"
                try:
                    folder.mkdir()
                except FileExistsError:
                    continue
                write_json(folder / _FACTS, dict(facts))
                return cls(folder, facts)
        raise AssertionError("the numbers never end")

    @staticmethod
    def waits(out: Path) -> bool:
        """Whether a training towards the run folder `out` was cut short and can go on."""
        return any(out.absolute().parent.glob(f".{safe_name(out.name)}.training-*/{_FACTS}"))

    def remove(self) -> None:
        """Forget it: the run is saved."""
        shutil.rmtree(self.folder, ignore_errors=True)


def describe_differences(saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`seed was 0 and is 1; …`, empty where all is equal."""
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    return "; ".join(f"{name} was {saved.get(name)} and is {now.get(name)}" for name in names)


def _find(parent: Path, stem: str, facts: Mapping[str, str]) -> Path:
    found = {}
    for folder in parent.glob(f"{stem}*"):
        try:
            saved = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            found[folder] = (folder / _FACTS).stat().st_mtime, describe_differences(saved, facts)
        except (OSError, ValueError, AttributeError):
            continue
    if not found:
        raise ResumeError(
            f"No training in {parent} was cut short, so there is nothing to resume. Leave --resume out."
        )
    latest = sorted(found, key=lambda folder: found[folder][0], reverse=True)
    same = [folder for folder in latest if not found[folder][1]]
    if not same:
        raise ResumeError(
            f"{latest[0]} was trained otherwise, so it can't go on: {found[latest[0]][1]}. "
            "Give the same data and settings, or leave --resume out."
        )
    return same[0]
