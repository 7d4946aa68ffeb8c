"""What was asked of a run after its training, where it was: maps, shifts, the learning curve."""

from dataclasses import dataclass
from typing import Any

from headstart.reports.contents import RunContents


@dataclass(frozen=True, slots=True)
class Extras:
    """Sections of the page; None where there is nothing to show.

    Attributes:
        shift: Of `headstart shift`.
        curve: Of `headstart curve`.
        explain: Of `headstart explain`.
        notes: What could not be shown, and why.
    """

    shift: Any = None
    curve: Any = None
    explain: Any = None
    notes: tuple[str, ...] = ()


def read_extras(contents: RunContents) -> Extras:
    """Turn what other commands left in the run into sections."""
    del contents
    return Extras()
