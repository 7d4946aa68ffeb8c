"""Pictures of a run, drawn without a display and without global state."""

import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.errors import ConfigError
from headstart.run.atomic import replacing
from headstart.run.folder import check_writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

MAX_CLASSES = 50
"""With more classes, only the most confused are drawn."""
MOST_CONFUSED = 30
MAX_COUNTED = 20
"""With more classes, right answers have no number in their cell, only mistakes do."""

_DPI = 150
_LABEL_CHARS = 26
INK, GREY, _GRID = "#1f2933", "#66717d", "#ffffff"
_COLOURS = ("#f5f7f9", "#d6e4f0", "#8fb8da", "#3f7fb5", "#174a7c")
_FONTS = (  # the first is matplotlib's own; the others are used if installed, for scripts that it lacks
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans",
    "Arial Unicode MS",
)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The part of a confusion matrix that is drawn."""

    counts: NDArray[np.int64]
    shares: NDArray[np.float64]
    """Of each class's images, those not drawn included; 0 for a class without any."""
    names: tuple[str, ...]
    title: str

    @property
    def size(self) -> int:
        return len(self.names)


def save_confusion(path: Path, confusion: ArrayLike, classes: Sequence[str]) -> None:
    """Draw a confusion matrix as a PNG; the same counts give the same bytes.

    Colour is the share of a true class's images, so that small classes show as well as large ones;
    cells hold counts (with more than 20 classes, only the mistakes do). Of more than 50 classes,
    the 30 with the most mistakes are drawn.

    Args:
        path: Of the PNG.
        confusion: `(K, K)` counts, rows true and columns predicted.
        classes: K names, in any script.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
        ValueError: The matrix is not `(K, K)`.
    """
    matrix = _select(np.asarray(confusion, dtype=np.int64), classes)
    write_png(_draw(matrix), path, dpi=_DPI, pad_inches=0.2)


def write_png(figure: "Figure", path: Path, *, dpi: int, pad_inches: float | None = None) -> None:
    """Write a figure as a PNG, whole or not at all; the same figure gives the same bytes.

    Args:
        figure: What to write.
        path: Of the PNG.
        dpi: Pixels an inch.
        pad_inches: White around what is drawn, however large the figure; None keeps the figure's size.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with warnings.catch_warnings(), replacing(path) as temporary:
        # a script no installed font has is drawn as boxes, which is no fault of the run
        warnings.filterwarnings("ignore", message=".*[Gg]lyph|.*[Ff]ont")
        FigureCanvasAgg(figure).print_figure(
            temporary,
            format="png",
            dpi=dpi,
            bbox_inches=None if pad_inches is None else "tight",
            pad_inches=pad_inches,
            metadata={"Software": None},
        )


def check_png(path: Path) -> None:
    """Find out before the work whether a PNG can be written at `path`, numbered where that exists.

    Raises:
        ConfigError: It is a folder, or named like another kind of file.
        StorageError: The disk is read-only or forbidden.
    """
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it, such as {path / 'picture.png'}.")
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--out {path}: this becomes a PNG, so name it so, such as {path}.png.")
    check_writable(path)


def _select(confusion: NDArray[np.int64], classes: Sequence[str]) -> _Matrix:
    k = len(classes)
    if confusion.shape != (k, k):
        raise ValueError(f"the confusion matrix must be ({k}, {k}) for {k} classes; got {confusion.shape}")
    supports = confusion.sum(axis=1)
    shares = confusion / np.maximum(supports, 1)[:, None]
    right, n = int(np.trace(confusion)), int(supports.sum())
    title = f"{right:,} of {n:,} images right"
    chosen = np.arange(k)
    if k > MAX_CLASSES:
        mistakes = confusion.sum(axis=0) + supports - 2 * np.diag(confusion)
        chosen = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CONFUSED])
        title += f"; shown: the {MOST_CONFUSED} most confused of {k} classes"
    square = np.ix_(chosen, chosen)
    names = tuple(short_label(classes[int(index)]) for index in chosen)
    return _Matrix(confusion[square], shares[square], names, title)


def _draw(matrix: _Matrix) -> "Figure":
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure

    side_inches = float(np.clip(0.52 * matrix.size, 2.6, 11.0))
    figure = Figure(figsize=(side_inches, side_inches), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    colours = LinearSegmentedColormap.from_list("headstart", _COLOURS)
    norm = PowerNorm(0.7, vmin=0, vmax=1)  # a few mistakes in a hundred must not look like none
    image = axes.imshow(matrix.shares, cmap=colours, norm=norm, interpolation="nearest", aspect="equal")
    _label_axes(axes, matrix)
    _write_counts(axes, matrix)
    _add_colour_bar(figure, image, side_inches)
    return figure


def _label_axes(axes: "Axes", matrix: _Matrix) -> None:
    size_points = 9.5 if matrix.size <= MAX_COUNTED else 7.0
    ticks = range(matrix.size)
    slanted = matrix.size > 3 or max(len(name) for name in matrix.names) > 10
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticklabels(matrix.names, parse_math=False, fontproperties=make_font(size_points), **turned)
    axes.set_yticklabels(matrix.names, parse_math=False, fontproperties=make_font(size_points))
    axes.tick_params(length=0, pad=4, colors=INK)
    axes.set_xlabel("predicted", fontproperties=make_font(9.0), color=GREY, labelpad=8)
    axes.set_ylabel("true", fontproperties=make_font(9.0), color=GREY, labelpad=8)
    axes.set_title(matrix.title, fontproperties=make_font(10.5), color=INK, loc="left", pad=10)
    for spine in axes.spines.values():
        spine.set_visible(False)
    edges = np.arange(matrix.size + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color=_GRID, linewidth=1.5 if matrix.size <= MAX_COUNTED else 0.6)
    axes.tick_params(which="minor", length=0)


def _write_counts(axes: "Axes", matrix: _Matrix) -> None:
    full = matrix.size <= MAX_COUNTED
    font = make_font(9.5 if matrix.size <= 10 else 8.0 if full else 5.5)
    for row, column in np.argwhere(matrix.counts > 0):
        if full or row != column:
            colour = "white" if matrix.shares[row, column] > 0.55 else INK
            text = str(matrix.counts[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontproperties=font)


def _add_colour_bar(figure: "Figure", image: Any, side_inches: float) -> None:
    bar_axes = figure.add_axes((1.0 + 0.18 / side_inches, 0.0, 0.11 / side_inches, 1.0))
    bar = figure.colorbar(image, cax=bar_axes, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0 %", "50 %", "100 %"], fontproperties=make_font(8.0), color=GREY)
    bar.ax.tick_params(length=0, pad=4)
    bar.set_label("share of the true class", fontproperties=make_font(8.0), color=GREY)
    bar.outline.set_visible(False)


def make_font(size_points: float) -> "FontProperties":
    """Of all the scripts that this machine has fonts for."""
    from matplotlib.font_manager import FontProperties, fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return FontProperties(family=[name for name in _FONTS if name in installed], size=size_points)


def short_label(name: str, most: int = _LABEL_CHARS) -> str:
    """Return a name on one line, without characters that draw nothing, cut in the middle if long."""
    shown = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in name)
    shown = " ".join(shown.split())
    if len(shown) <= most:
        return shown
    head = (most - 1) * 2 // 3
    return f"{shown[:head]}…{shown[-(most - 1 - head) :]}"
