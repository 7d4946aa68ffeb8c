"""The folder of a comparison: one run folder a training, and what came of them all.

`runs/photos-compare-1/` holds `facts.json` (what its trainings have in common), a run folder
named after each of them, and `compare.json`, `compare.csv` and `compare.png`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import ResumeError
from headstart.run.atomic import write_json
from headstart.run.folder import MAX_NAME_CHARS, named_run_folder, new_run_folder, run_name, safe_name
from headstart.run.unfinished import describe_differences

_RECIPE = "compare"


@dataclass(frozen=True, slots=True)
class ComparisonFolder:
    """The files of one comparison."""

    path: Path

    @property
    def facts_json(self) -> Path:
        """What must be the same for it to go on: data, split, settings, versions."""
        return self.path / "facts.json"

    @property
    def compare_json(self) -> Path:
        """All results, training by training and row by row."""
        return self.path / "compare.json"

    @property
    def compare_csv(self) -> Path:
        """The table."""
        return self.path / "compare.csv"

    @property
    def compare_png(self) -> Path:
        """Accuracy over time."""
        return self.path / "compare.png"

    def run(self, recipe: str, model: str, seed: int) -> Path:
        """The run folder of one training, named alike each time.

        Args:
            recipe: Its name.
            model: A name of the backbone that no other backbone has.
            seed: Of the training.
        """
        wanted, end = f"{recipe}-{model}", f"-seed{seed}"
        name = safe_name(wanted, MAX_NAME_CHARS)
        if name != wanted:  # two names that look alike as file names stay two
            digest = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            name = f"{safe_name(wanted, MAX_NAME_CHARS - len(digest) - 1)}-{digest}"
        return self.path / f"{name}{end}"

    @classmethod
    def begin(cls, out: Path | None, data: str, facts: Mapping[str, str]) -> "ComparisonFolder":
        """Make a new folder: at `out`, numbered where it exists, or under `runs/`.

        Raises:
            StorageError: It can't be made there.
        """
        name = run_name(data, _RECIPE)
        folder = cls(named_run_folder(out) if out else new_run_folder(Path("runs"), name))
        write_json(folder.facts_json, dict(facts))
        return folder

    @classmethod
    def check_any(cls, out: Path | None, data: str) -> None:
        """See, before any work, that there is a comparison to go on with, be it of other facts.

        Raises:
            ResumeError: There is none at `out`, or under `runs/`.
        """
        places = [out] if out else Path("runs").glob(f"*-{_RECIPE}-*")
        if not any(cls(place).facts_json.is_file() for place in places):
            raise _nothing_at(out, data)

    @classmethod
    def resume(cls, out: Path | None, data: str, facts: Mapping[str, str]) -> "ComparisonFolder":
        """Find the latest folder of these facts: at `out`, or under `runs/`.

        Raises:
            ResumeError: There is none, or only comparisons of other facts; says what differs.
        """
        places = [out] if out else Path("runs").glob(f"{run_name(data, _RECIPE)}-*")
        found = {}
        for place in places:
            folder = cls(place)
            try:
                saved = json.loads(folder.facts_json.read_text(encoding="utf-8"))
                found[folder] = folder.facts_json.stat().st_mtime, describe_differences(saved, facts)
            except (OSError, ValueError, AttributeError):
                continue
        if not found:
            raise _nothing_at(out, data)
        latest = sorted(found, key=lambda folder: found[folder][0], reverse=True)
        for folder in latest:
            if not found[folder][1]:
                return folder
        raise ResumeError(
            f"{latest[0].path} compares other data or settings, so it can't go on: {found[latest[0]][1]}. "
            "Give the same, or leave --resume out."
        )


def _nothing_at(out: Path | None, data: str) -> ResumeError:
    place = out or Path("runs") / f"{run_name(data, _RECIPE)}-*"
    return ResumeError(f"There is no comparison at {place} to go on with. Leave --resume out.")
