"""What shifts do to a run: a section of its page, and a page of its own.

Made from what `shift.json` holds, so that both say the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.reports.charts import Axes, Series, draw_chart
from headstart.reports.layout import template
from headstart.reports.training import Chart

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One number of two runs.

    Attributes:
        name: What it is.
        before: Of the run.
        after: Of the one that was trained against the shifts.
        change: How far it lies higher, where that was measured.
    """

    name: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class KindRow:
    """One shift in the table.

    Attributes:
        name: Of the shift.
        title: In words.
        accuracies: From weak to strong.
        change: Averaged over the strengths, in points.
        flips: Of the strongest.
        ece: Of the strongest.
        harmful: Whether it harms for sure.
        gain: By training against it, in points; empty where none was.
    """

    name: str
    title: str
    accuracies: Sequence[str]
    change: str
    flips: str
    ece: str
    harmful: bool
    gain: str


@dataclass(frozen=True, slots=True)
class ShiftSection:
    """All that a page shows.

    Attributes:
        lines: What it means.
        runs: Names of the two runs that are set side by side; empty where there is one.
        sides: Their numbers.
        kinds: The table.
        charts: A chart a shift.
    """

    lines: Sequence[str]
    runs: Sequence[str]
    sides: Sequence[Side]
    kinds: Sequence[KindRow]
    charts: Sequence[Chart]


def render_shift(found: Found) -> str:
    """The page of `shift.json`'s content; every name is escaped."""
    html: str = template("shift.html.jinja").render(
        name=str(found["run"]), section=show_shift(found), findings=list(map(str, found["findings"]))
    )
    return html


def show_shift(found: Found) -> ShiftSection:
    """The section of `shift.json`'s content.

    Raises:
        KeyError: It lacks something; likewise TypeError, ValueError and AttributeError.
    """
    hardened: Found | None = found.get("hardened")
    gains: Found = ((hardened or {}).get("gain") or {}).get("shifts", {})
    return ShiftSection(
        lines=_lines(found, hardened),
        runs=[str(found["run"]), str(hardened["run"])] if hardened else [],
        sides=_sides(found, hardened) if hardened else [],
        kinds=[_row(kind, one, kind in found["harmful"], gains) for kind, one in found["shifts"].items()],
        charts=[_chart(kind, found, hardened) for kind in found["shifts"]],
    )


def _lines(found: Found, hardened: Found | None) -> list[str]:
    ways = f"{len(found['shifts'])} {'way' if len(found['shifts']) == 1 else 'ways'}"
    robustness = (
        f"Robustness {_number(found, 'robustness')}: the mean accuracy on pictures shifted in {ways}, each "
        f"at five strengths, divided by that on the same {found['n']:,} as they are, "
        f"{100 * found['accuracy']:.1f} %. 1 is unmoved."
    )
    lines = [robustness]
    if found["policy"]:
        lines.append(
            f"What harms for sure: {', '.join(found['harmful'])}. Augmentation against it: "
            f"--augment {found['policy']}"
        )
    else:
        lines.append(
            "Nothing harms both for sure and by two points on average, so no augmentation is advised."
        )
    if hardened:
        lines.append(
            f"{hardened['run']} was trained against it, on the first run's own images, by the recipe "
            f"{hardened['recipe']} with --augment {hardened['augment']}, and measured on the same pictures."
        )
        if hardened["gain"]:
            lines.append(str(hardened["gain"]["verdict"]))
        if hardened["replaced"]:
            lines.append(
                f"The first run's recipe, {hardened['replaced']}, learns nothing from augmentation, so a "
                "part of the difference may be the other recipe's."
            )
    return lines


def _sides(found: Found, hardened: Found) -> list[Side]:
    gain: Found = hardened.get("gain") or {}
    rows = [
        Side("right, as they are", *_both(_percent, found, hardened, "accuracy"), _points(gain, "accuracy")),
        Side("right, shifted", *_both(_percent, found, hardened, "shifted"), _points(gain, "shifted")),
        Side("robustness", *_both(_number, found, hardened, "robustness"), ""),
        Side("calibration error, as they are", *_both(_number, found, hardened, "ece"), ""),
    ]
    for name, key in (("calibration error, shifted", "ece"), ("answers flipped by shifts", "flips")):
        means = [_mean_of_levels(one, key) for one in (found, hardened)]
        texts = [f"{mean:.3f}" if key == "ece" else f"{100 * mean:.1f} %" for mean in means]
        rows.append(Side(name, texts[0], texts[1], ""))
    return rows


def _both(text: Callable[[Found, str], str], found: Found, hardened: Found, name: str) -> tuple[str, str]:
    return text(found, name), text(hardened, name)


def _mean_of_levels(scores: Found, key: str) -> float:
    values = [float(level[key]) for one in scores["shifts"].values() for level in one["levels"]]
    return sum(values) / len(values)


def _row(kind: str, shift: Found, harmful: bool, gains: Found) -> KindRow:
    strongest = shift["levels"][-1]
    return KindRow(
        name=kind,
        title=str(shift["title"]),
        accuracies=[f"{100 * level['accuracy']:.1f}" for level in shift["levels"]],
        change=_points(shift, "change"),
        flips=f"{100 * strongest['flips']:.1f} %",
        ece=f"{strongest['ece']:.3f}",
        harmful=harmful,
        gain=_points(gains[kind], "gain") if kind in gains else "",
    )


def _percent(scores: Found, name: str) -> str:
    low, high = scores[f"{name}_interval"]
    return f"{100 * scores[name]:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _number(scores: Found, name: str) -> str:
    low, high = scores[f"{name}_interval"]
    return f"{scores[name]:.3f} ({low:.3f} to {high:.3f})"


def _points(scores: Found, name: str) -> str:
    """A difference of shares in points; empty where it was not measured."""
    if name not in scores:
        return ""
    low, high = scores[f"{name}_interval"]
    return f"{100 * scores[name]:+z.1f} ({100 * low:+z.1f} to {100 * high:+z.1f})"


def _chart(kind: str, found: Found, hardened: Found | None) -> Chart:
    shift = found["shifts"][kind]
    levels = shift["levels"]
    series = [
        _line("right", found, levels, "accuracy", 0),
        *(
            [_line("right, hardened", hardened, hardened["shifts"][kind]["levels"], "accuracy", 4)]
            if hardened
            else []
        ),
        _line("calibration error", found, levels, "ece", 1),
        _line("answers flipped", {"flips": 0.0, "flips_interval": (0.0, 0.0)}, levels, "flips", 2),
    ]
    names = ["as is", *(f"{one['level']:g}" for one in levels)]
    axes = Axes(str(shift["unit"]), "share", x_names=names, y_range=(0.0, 1.0), percent=True)
    return f"{kind}: {shift['title']}", draw_chart(series, axes), [(one.name, one.colour) for one in series]


def _line(name: str, unchanged: Found, levels: Sequence[Found], key: str, colour: int) -> Series:
    """A number of the pictures as they are, and then by strength, with its intervals."""
    all_of_them = [unchanged, *levels]
    return Series(
        name,
        [float(place) for place in range(len(all_of_them))],
        [one[key] for one in all_of_them],
        [one[f"{key}_interval"][0] for one in all_of_them],
        [one[f"{key}_interval"][1] for one in all_of_them],
        colour,
        dashed=key == "flips",
    )
