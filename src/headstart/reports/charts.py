"""Charts as inline SVG: they take the page's colours, light or dark, and need no script and no file.

Matplotlib would draw them in one theme, and its import costs more than a whole report.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 420, 262
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 18, 10, 40
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICKS = 5
_LETTER_PX = 6
_SHORT = 4  # times the least is the largest


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or dots, with intervals where they are known.

    Attributes:
        name: In the legend.
        x: Places.
        y: Heights.
        low: Lower limits of `y`; empty where there are none.
        high: Upper ones.
        colour: Number of the colour.
        dashed: Whether the line is.
        line: Whether there is one, and not only dots.
        dots: Whether there are dots.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int = 0
    dashed: bool = False
    line: bool = True
    dots: bool = True


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart's axes say.

    Attributes:
        x_label: Below.
        y_label: Above, in the title.
        x_range: Fixed, or None to fit.
        y_range: Fixed, or None to fit.
        x_names: Words at 0, 1, 2, ... in place of numbers.
        log_x: Whether x is logarithmic.
        whole_x: Whether x is counted, so that only whole numbers are written.
        percent: Whether y is a share, written in percent.
        marks: Places on x where something begins, and its name.
    """

    x_label: str
    y_label: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_names: Sequence[str] = ()
    log_x: bool = False
    whole_x: bool = False
    percent: bool = False
    marks: Sequence[tuple[float, str]] = ()


def draw_chart(series: Sequence[Series], axes: Axes) -> Markup:
    """Draw series as SVG; all words are escaped."""
    shown = [one for one in series if len(one.x)]
    if not shown:
        return Markup("")
    scale = _Scale.of(shown, axes)
    label = f"{axes.y_label} by {axes.x_label}: {', '.join(one.name for one in shown if one.name)}"
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _HEIGHT, label
        )
    ]
    parts += _grid(scale, axes)
    parts += _marks_on_x(scale, axes.marks)
    parts += [_band(one, scale) for one in shown if one.low and one.line]
    for one in shown:
        parts += _marks(one, scale, axes)
    return Markup("").join([*parts, Markup("</svg>")])


def draw_ruler(value: float, interval: tuple[float, float], marks: Sequence[tuple[str, float]]) -> Markup:
    """A scale from 0 to 100 % with a measured share, its interval, and marks to compare it with."""
    low, high = interval
    parts = [
        Markup(
            '<div class="ruler" aria-hidden="true"><i class="band" style="left:{}%;width:{}%"></i>'
        ).format(_place(low), _place(high - low)),
        Markup('<i class="value" style="left:{}%"></i>').format(_place(value)),
        *(
            Markup('<i class="mark" style="left:{}%" title="{}"></i>').format(_place(x), name)
            for name, x in marks
        ),
        Markup("</div>"),
    ]
    return Markup("").join(parts)


def _place(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where values stand in the picture."""

    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    log_x: bool

    @classmethod
    def of(cls, series: Sequence[Series], axes: Axes) -> "_Scale":
        xs = [x for one in series for x in one.x]
        ys = [y for one in series for y in (*one.y, *one.low, *one.high)]
        x_ends = axes.x_range or (min(xs), max(xs))
        if x_ends[0] == x_ends[1]:
            x_ends = (x_ends[0] - 0.5, x_ends[1] + 0.5) if not axes.log_x else (x_ends[0] / 2, x_ends[1] * 2)
        y_ends = axes.y_range or _widen(min(ys), max(ys), top=1.0 if axes.percent else math.inf)
        return cls(x_ends, y_ends, axes.log_x)

    def x(self, value: float) -> float:
        low, high = self.x_ends
        if self.log_x:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_ends
        share = (min(max(value, low), high) - low) / (high - low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _widen(low: float, high: float, top: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or max(abs(high), 0.1) * 0.1
    return max(low - room, 0.0) if low >= 0 else low - room, min(high + room, top)


def find_ticks(low: float, high: float, most: int = _TICKS) -> list[float]:
    """Round numbers within an interval, at most about `most`."""
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic scale; on a short one, those of a plain scale."""
    if high < _SHORT * low:
        return find_ticks(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(ticks) <= _TICKS + 1:
            return ticks
    return ticks[:: max(len(ticks) // _TICKS, 1)]


def _grid(scale: _Scale, axes: Axes) -> list[Markup]:
    parts = []
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for tick in find_ticks(*scale.y_ends):
        y, text = scale.y(tick), f"{100 * tick:.4g} %" if axes.percent else f"{tick:.4g}"
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, y, right))
        parts.append(Markup('<text class="end" x="{}" y="{}">{}</text>').format(_LEFT - 6, y + 4, text))
    if axes.x_names:
        ticks = [(float(k), name) for k, name in enumerate(axes.x_names)]
    else:
        values = _log_ticks(*scale.x_ends) if scale.log_x else find_ticks(*scale.x_ends)
        values = [value for value in values if not axes.whole_x or value == round(value)]
        ticks = [(value, f"{value:,.4g}") for value in values]
    for value, name in ticks:
        x = scale.x(value)
        parts.append(Markup('<path class="tick" d="M{} {}v4"/>').format(x, bottom))
        parts.append(Markup('<text class="mid" x="{}" y="{}">{}</text>').format(x, bottom + 17, name))
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(_LEFT, bottom, right))
    middle = (_LEFT + right) / 2
    label = '<text class="mid label" x="{}" y="{}">{}</text>'
    parts.append(Markup(label).format(middle, _HEIGHT - 6, axes.x_label))  # noqa: S704 - a literal
    return parts


def _marks_on_x(scale: _Scale, marks: Sequence[tuple[float, str]]) -> list[Markup]:
    """Where something begins: a line and its name, a row lower where the name before is in the way."""
    parts, row, end = [], 0, -math.inf
    for x, name in marks:
        place = scale.x(x)
        row = row + 1 if place < end else 0
        end = place + _LETTER_PX * len(name)
        mark = Markup('<path class="mark" d="M{} {}V{}"/><text class="small" x="{}" y="{}">{}</text>')
        parts.append(mark.format(place, _TOP, _HEIGHT - _BOTTOM, place + 4, _TOP + 9 + 12 * row, name))
    return parts


def _band(one: Series, scale: _Scale) -> Markup:
    up = [f"{scale.x(x)},{scale.y(y)}" for x, y in zip(one.x, one.high, strict=True)]
    down = [f"{scale.x(x)},{scale.y(y)}" for x, y in zip(one.x, one.low, strict=True)]
    return Markup('<polygon class="band c{}" points="{}"/>').format(one.colour, " ".join(up + down[::-1]))


def _marks(one: Series, scale: _Scale, axes: Axes) -> list[Markup]:
    parts = []
    points = [(scale.x(x), scale.y(y)) for x, y in zip(one.x, one.y, strict=True)]
    if one.line and len(points) > 1:
        dashes = Markup(' stroke-dasharray="5 4"') if one.dashed else Markup("")
        text = " ".join(f"{x},{y}" for x, y in points)
        parts.append(Markup('<polyline class="line c{}"{} points="{}"/>').format(one.colour, dashes, text))
    if one.low and not one.line:
        for (x, _), low, high in zip(points, one.low, one.high, strict=True):
            whisker = Markup('<path class="line c{}" d="M{} {}V{}"/>')
            parts.append(whisker.format(one.colour, x, scale.y(low), scale.y(high)))
    if one.dots:
        for (x, y), value, place in zip(points, one.y, one.x, strict=True):
            number = f"{100 * value:.1f} %" if axes.percent else f"{value:.4g}"
            at = axes.x_names[int(place)] if axes.x_names else f"{place:,.4g}"
            dot = Markup(
                '<circle class="dot c{}" cx="{}" cy="{}" r="3.2"><title>{}: {} at {}</title></circle>'
            )
            parts.append(dot.format(one.colour, x, y, one.name, number, at))
    return parts
