"""What was asked of a run after its training, where it was: maps, shifts, the learning curve.

Other commands own these files, so each is read for what is needed here, and a file that lacks it is told
of instead of ending the page.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from headstart.data.decode import decode
from headstart.errors import UnreadableImageError
from headstart.reports.charts import Axes, Series, draw_chart
from headstart.reports.contents import RunContents
from headstart.reports.shift import ShiftSection, show_shift
from headstart.reports.thumbnails import make_sheet
from headstart.reports.training import Chart

_MAPS = 12
_MAP_PX = 960
_PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Shown:
    """A section: sentences and charts.

    Attributes:
        lines: Above.
        charts: Below.
    """

    lines: Sequence[str]
    charts: Sequence[Chart]


@dataclass(frozen=True, slots=True)
class Extras:
    """Sections of the page; None or empty where there is nothing to show.

    Attributes:
        shift: Of `headstart shift`.
        curve: Of `headstart curve`.
        maps: Of `headstart explain`: a data URI and its words each.
        notes: What could not be shown, and why.
    """

    shift: ShiftSection | None = None
    curve: Shown | None = None
    maps: Sequence[tuple[str, str]] = ()
    notes: tuple[str, ...] = ()


def read_extras(contents: RunContents, root: Path) -> Extras:
    """Turn what other commands left in the run into sections.

    Args:
        contents: The run, read.
        root: Its folder of explanations.
    """
    notes: list[str] = []

    def show(name: str, found: Any, make: Callable[[Any], _T], nothing: _T) -> _T:
        if found is None:
            return nothing
        try:
            return make(found)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            notes.append(f"{name} is of a form that this page can't show ({type(error).__name__}: {error}).")
            return nothing

    return Extras(
        shift=show("shift.json", contents.shift, show_shift, None),
        curve=show("curve.json", contents.curve, _show_curve, None),
        maps=show("explain.json", contents.explain, lambda found: list(_maps(found, root)), []),
        notes=tuple(notes),
    )


def _show_curve(found: Mapping[str, Any]) -> Shown:
    measured, forecast = found["points"], found.get("forecasts") or []
    series = [
        _points("measured", measured, colour=0),
        _points("forecast", [*measured[-1:], *forecast] if forecast else [], colour=1, dashed=True),
    ]
    title = "Accuracy by training images"
    chart = draw_chart(series, Axes("training images", title, log_x=True, percent=True))
    summary = found.get("summary") or []
    lines = [str(line) for line in ([summary] if isinstance(summary, str) else summary)]
    return Shown(lines, [(title, chart, [(one.name, one.colour) for one in series if len(one.x) > 1])])


def _points(name: str, points: Sequence[Mapping[str, Any]], *, colour: int, dashed: bool = False) -> Series:
    bounds = [one.get("interval") or (one["accuracy"], one["accuracy"]) for one in points]
    return Series(
        name,
        [float(one["n"]) for one in points],
        [float(one["accuracy"]) for one in points],
        [float(low) for low, _ in bounds],
        [float(high) for _, high in bounds],
        colour,
        dashed,
    )


def _maps(found: Any, root: Path) -> Iterator[tuple[str, str]]:
    """Pictures that `explain.json` names in its own folder, with what it says of them; a few."""
    shown: set[Path] = set()
    for name, words in _named_pictures(found):
        path = root / name
        inside = path.resolve().is_relative_to(root.resolve())
        if len(shown) < _MAPS and path not in shown and inside and path.is_file():
            try:
                uri = make_sheet(decode(path.read_bytes()), _MAP_PX)
            except (OSError, UnreadableImageError):
                continue
            shown.add(path)
            yield uri, words


def _named_pictures(found: Any) -> Iterator[tuple[str, str]]:
    if isinstance(found, Mapping):
        texts = {str(key): value for key, value in found.items() if isinstance(value, str)}
        for text in texts.values():
            if Path(text).suffix.lower() in _PICTURES and not Path(text).is_absolute():
                words = [texts[key] for key in ("predicted", "label", "explained", "class") if key in texts]
                yield text, ", ".join(dict.fromkeys(words))
        for value in found.values():
            yield from _named_pictures(value)
    elif isinstance(found, list):
        for value in found:
            yield from _named_pictures(value)
