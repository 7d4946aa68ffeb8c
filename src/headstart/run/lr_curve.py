"""The loss of a learning-rate range test, drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.run.figures import GREY, INK, make_font, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_SIZE_INCHES = (7.5, 4.2)
_LOSSES, _SMOOTHED, _CHOSEN, _GRID = "#b9c6d3", "#174a7c", "#d1603d", "#e3e8ed"
_DASHES = ("-", ":", "--")


@dataclass(frozen=True, slots=True)
class LrCurve:
    """What is drawn.

    Attributes:
        lrs: Rate of each of n steps, rising.
        losses: Of each step's batch, in nats.
        smoothed: Likewise, smoothed.
        marks: Up to three rates of interest and what they are; the first is the one suggested.
        title: Above the picture.
    """

    lrs: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    marks: Sequence[tuple[str, float]]
    title: str


def save_lr_curve(path: Path, curve: LrCurve) -> None:
    """Draw it as a PNG, rates on a logarithmic scale; the same curve gives the same bytes.

    The axis ends a little above the loss at the beginning: how far it explodes says nothing.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, facecolor="white")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    low, high = min(curve.smoothed), max(curve.smoothed[0], curve.losses[0])
    reach = max(high - low, 0.1 * abs(high), 1e-3)
    axes.set_ylim(max(low - 0.3 * reach, 0), high + 0.8 * reach)
    axes.scatter(curve.lrs, curve.losses, s=9, color=_LOSSES, label="each batch")
    axes.plot(curve.lrs, curve.smoothed, color=_SMOOTHED, linewidth=1.8, label="smoothed")
    for number, (name, lr) in enumerate(curve.marks):
        colour, dashes = GREY if number else _CHOSEN, _DASHES[number]
        axes.axvline(lr, linewidth=1.4, label=f"{name}: {lr:.1e}", color=colour, linestyle=dashes)
    _label_axes(axes, curve.title)
    write_png(figure, path, dpi=_DPI, pad_inches=0.2)


def _label_axes(axes: "Axes", title: str) -> None:
    axes.set_xlabel("learning rate of the head", fontproperties=make_font(9), color=GREY)
    axes.set_ylabel("training loss, nats", fontproperties=make_font(9), color=GREY)
    axes.set_title(title, fontproperties=make_font(10.5), color=INK, loc="left", pad=10, parse_math=False)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=INK)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(make_font(8.5))
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, prop=make_font(9))
    for text in legend.get_texts():
        text.set_color(INK)
