"""Validation accuracy over the seconds that trainings took, drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.run.figures import GREY, INK, make_font, short_label, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_SIZE_INCHES = (7.5, 4.2)
_COLOURS = ("#174a7c", "#d1603d", "#3a8a5f", "#8a5aa8", "#c79a1e", "#4fa3c7", "#a33b5e", "#66717d")
_DASHES = ("-", "--", ":", "-.")
_SHAPES = ("D", "s", "^", "v")
_GRID = "#e3e8ed"
_LEAST_S = 0.01  # a logarithm needs more than 0


@dataclass(frozen=True, slots=True)
class Curve:
    """One training.

    Attributes:
        recipe: Decides the colour.
        model: Decides the dashes.
        points: Seconds and validation accuracy after each epoch.
        solved: Whether there were no epochs, so that the one point stands for a head.
    """

    recipe: str
    model: str
    points: Sequence[tuple[float, float]]
    solved: bool = False


def save_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Draw curves as a PNG, seconds on a logarithmic scale; the same curves give the same bytes.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, facecolor="white")
    axes = figure.add_subplot()
    recipes = list(dict.fromkeys(curve.recipe for curve in curves))
    models = list(dict.fromkeys(curve.model for curve in curves))
    for curve in curves:
        name = f"{curve.recipe}, {curve.model}" if len(models) > 1 else curve.recipe
        axes.plot(
            [max(seconds, _LEAST_S) for seconds, _ in curve.points],
            [100 * accuracy for _, accuracy in curve.points],
            color=_COLOURS[recipes.index(curve.recipe) % len(_COLOURS)],
            linestyle="none" if curve.solved else _DASHES[models.index(curve.model) % len(_DASHES)],
            marker=_SHAPES[models.index(curve.model) % len(_SHAPES)] if curve.solved else "o",
            markersize=7 if curve.solved else 4,
            linewidth=1.6,
            label=short_label(name),
        )
    _label_axes(axes)
    write_png(figure, path, dpi=_DPI, pad_inches=0.2)


def _label_axes(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(
        "seconds of training, without embedding and decoding", fontproperties=make_font(9), color=GREY
    )
    axes.set_ylabel("validation accuracy, %", fontproperties=make_font(9), color=GREY)
    axes.set_title(
        "Validation accuracy after each epoch; a single mark is a solved head",
        fontproperties=make_font(10.5),
        color=INK,
        loc="left",
        pad=10,
    )
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=INK)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(make_font(8.5))
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, prop=make_font(9))
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_color(INK)
