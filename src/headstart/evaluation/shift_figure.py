"""What shifts do to a classifier, drawn: one small chart a shift."""

from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.shifts import SHIFTS, STRENGTHS, Kind
from headstart.evaluation.shift import Level, ShiftScores
from headstart.run.figures import GREY, INK, make_font, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
_COLUMNS = 5
_CELL_INCHES = (2.25, 2.2)
_BLUE, _ORANGE, _GREEN, _GRID = "#174a7c", "#d1603d", "#2f8560", "#e3e8ed"


def save_shift(path: Path, scores: ShiftScores, hardened: ShiftScores | None = None) -> None:
    """Draw accuracy, calibration error and flips by strength as a PNG, with 95 % bands.

    Args:
        path: Of the PNG.
        scores: What was measured.
        hardened: The same of a model trained against it, if there is one.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    from matplotlib.figure import Figure

    kinds = list(scores.kinds)
    columns = min(_COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    size = max(columns * _CELL_INCHES[0], 5.5), rows * _CELL_INCHES[1] + 0.75
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, kind in zip(grid, kinds, strict=False):
        _draw(axes, kind, scores, hardened)
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    whole = scores.robustness
    title = f"{scores.n:,} images; robustness {whole.value:.3f} ({whole.low:.3f} to {whole.high:.3f})"
    if hardened:
        title += f", hardened {hardened.robustness.value:.3f}"
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontproperties=make_font(10.5))
    _add_legend(figure, grid[0])
    write_png(figure, path, dpi=_DPI)


def _draw(axes: "Axes", kind: Kind, scores: ShiftScores, hardened: ShiftScores | None) -> None:
    shift = SHIFTS[kind]
    strengths = range(STRENGTHS + 1)
    curves = [("accuracy", scores, _BLUE)]
    if hardened and kind in hardened.kinds:
        curves.append(("accuracy, hardened", hardened, _GREEN))
    for name, one, colour in curves:
        levels = one.kinds[kind]
        values = [one.accuracy.value, *(level.accuracy for level in levels)]
        bounds = [(one.accuracy.low, one.accuracy.high), *(level.accuracy_interval for level in levels)]
        _line(axes, name, values, bounds, colour)
    levels = scores.kinds[kind]
    _line(axes, "calibration error", *_errors(scores, levels), _ORANGE)
    flips = [0.0, *(level.flips for level in levels)]
    bounds = [(0.0, 0.0), *(level.flips_interval for level in levels)]
    _line(axes, "answers flipped", flips, bounds, GREY)
    axes.set_ylim(0, 100)
    axes.set_xticks(list(strengths), ["as is", *(f"{level.level:g}" for level in levels)])
    axes.set_title(f"{kind}: {shift.title}", loc="left", color=INK, fontproperties=make_font(8.5))
    axes.set_xlabel(shift.unit, color=GREY, fontproperties=make_font(6.5), labelpad=2)
    axes.tick_params(length=0, colors=GREY, labelsize=6.5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _errors(scores: ShiftScores, levels: tuple[Level, ...]) -> tuple[list[float], list[tuple[float, float]]]:
    return (
        [scores.ece.value, *(level.ece for level in levels)],
        [(scores.ece.low, scores.ece.high), *(level.ece_interval for level in levels)],
    )


def _line(
    axes: "Axes", name: str, values: list[float], bounds: list[tuple[float, float]], colour: str
) -> None:
    places = range(len(values))
    dash = "--" if name == "answers flipped" else "-"
    axes.plot(places, [100 * v for v in values], dash, color=colour, linewidth=1.5, label=name)
    low, high = zip(*bounds, strict=True)
    axes.fill_between(
        places, [100 * v for v in low], [100 * v for v in high], color=colour, alpha=0.15, linewidth=0
    )


def _add_legend(figure: "Figure", axes: "Axes") -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower left",
        ncols=len(names),
        frameon=False,
        prop=make_font(8.0),
        labelcolor=INK,
    )
