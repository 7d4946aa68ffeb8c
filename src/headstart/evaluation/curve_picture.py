"""A learning curve, drawn: what was measured, the law through it, and what it foretells."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.evaluation.curve import Forecast, Measured
from headstart.evaluation.power_law import PowerLaws
from headstart.metrics.paired import Estimate
from headstart.run.figures import GREY, INK, make_font, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_SIZE_INCHES = (7.2, 4.4)
_MEASURED, _FORETOLD, _GRID = "#174a7c", "#d1603d", "#e3e8ed"
_NAMES = {_MEASURED: "measured", _FORETOLD: "foretold"}


def save_curve(
    path: Path, title: str, measured: Measured, law: PowerLaws | None, forecasts: Sequence[Forecast]
) -> None:
    """Draw a learning curve as a PNG; the same curve gives the same bytes.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, facecolor="white")
    axes = figure.add_subplot()
    if law is not None:
        _draw_law(axes, measured, law, forecasts)
    _draw_draws(axes, measured)
    sizes = [int(n) for n in measured.sizes]
    _draw_estimates(axes, sizes, measured.accuracies(), _MEASURED)
    if forecasts:
        _draw_estimates(
            axes, [some.n for some in forecasts], [some.accuracy for some in forecasts], _FORETOLD
        )
    ticks = sizes[::-2][::-1] + [some.n for some in forecasts]
    _label(axes, title, ticks)
    write_png(figure, path, dpi=_DPI, pad_inches=0.2)


def _draw_law(axes: "Axes", measured: Measured, law: PowerLaws, forecasts: Sequence[Forecast]) -> None:
    first, whole = float(measured.sizes[0]), float(measured.sizes[-1])
    last = float(forecasts[-1].n) if forecasts else whole
    for start, stop, style, colour in ((first, whole, "-", _MEASURED), (whole, last, "--", _FORETOLD)):
        n = np.geomspace(start, stop, 100)
        axes.plot(n, 100 * (1 - law.errors(n)[0]), style, color=colour, linewidth=1.4, zorder=2)
    if forecasts:  # from all images' interval to the forecasts', straight between them
        at_whole = measured.accuracies()[-1]
        ends = [at_whole, *(some.accuracy for some in forecasts)]
        x = [whole, *(some.n for some in forecasts)]
        low, high = [100 * end.low for end in ends], [100 * end.high for end in ends]
        axes.fill_between(x, low, high, color=_FORETOLD, alpha=0.12, linewidth=0, zorder=1)


def _draw_draws(axes: "Axes", measured: Measured) -> None:
    for n, correct in zip(measured.sizes, measured.correct(), strict=True):
        shares = 100 * correct.mean(axis=1)
        axes.plot([n] * len(shares), shares, ".", color=_MEASURED, alpha=0.28, markersize=5, zorder=3)


def _draw_estimates(axes: "Axes", sizes: Sequence[int], estimates: Sequence[Estimate], colour: str) -> None:
    values = np.array([one.value for one in estimates])
    low, high = (np.array([getattr(one, end) for one in estimates]) for end in ("low", "high"))
    axes.errorbar(
        sizes,
        100 * values,
        100 * np.stack([values - low, high - values]),
        fmt="o",
        color=colour,
        markersize=5,
        elinewidth=1.2,
        capsize=2.5,
        zorder=4,
        label=f"{_NAMES[colour]}, 95 % interval",
    )


def _label(axes: "Axes", title: str, ticks: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("training images", fontproperties=make_font(9), color=GREY)
    axes.set_ylabel("test accuracy, %", fontproperties=make_font(9), color=GREY)
    axes.set_title(title, fontproperties=make_font(10.5), color=INK, loc="left", pad=10, parse_math=False)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 100.6))
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=INK)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(make_font(8.5))
    for spine in axes.spines.values():
        spine.set_visible(False)
    # Below the axes: inside, intervals may reach anywhere.
    legend = axes.legend(
        loc="upper right", bbox_to_anchor=(1, -0.1), ncols=2, frameon=False, prop=make_font(8.5)
    )
    for text in legend.get_texts():
        text.set_color(INK)
