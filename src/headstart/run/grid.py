"""A grid of pictures as a PNG: rows with a name each, columns under headings, pixels as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.run.figures import GREY, INK, make_font, short_label, write_png

_DPI = 100
_MARGIN, _GAP, _NAME, _HEADING, _CAPTION = 16, 6, 24, 22, 30
_LEAST_CELL_PX = 128
_CHAR_PX = 7  # of the small font, on average

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Pictures in rows.

    Attributes:
        rows: A name and its pictures `(H, W, 3)`. Those that are `side_px` square, or an integer part
            of it, keep their pixels; others are fitted in, their aspect kept.
        headings: One a column.
        caption: Below all; broken at commas.
        side_px: Of a cell.
    """

    rows: Sequence[tuple[str, Sequence[Pixels]]]
    headings: Sequence[str]
    caption: str
    side_px: int

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Top and left of a cell, in pixels."""
        top = _MARGIN + _HEADING + row * (_NAME + self.side_px + _GAP) + _NAME
        return top, _MARGIN + column * (self.side_px + _GAP)

    def paint(self) -> Pixels:
        """All but the words."""
        bottom, right = self.place(len(self.rows), len(self.headings))
        height = bottom - _NAME + _CAPTION * len(self.lines()) + _MARGIN
        canvas = np.full((height, right - _GAP + _MARGIN, 3), 255, np.uint8)
        for row, (_, pictures) in enumerate(self.rows):
            for column, picture in enumerate(pictures):
                top, left = self.place(row, column)
                canvas[top : top + self.side_px, left : left + self.side_px] = _fit(picture, self.side_px)
        return canvas

    def lines(self) -> list[str]:
        """The caption, as wide as the grid."""
        most = max(len(self.headings) * (self.side_px + _GAP) // _CHAR_PX, 1)
        lines = [""]
        for word in self.caption.replace(",", ",\0").split("\0"):
            if lines[-1] and len(lines[-1]) + len(word) > most:
                lines.append("")
            lines[-1] += word
        return [line.strip() for line in lines]


def cell_px(size_px: int) -> int:
    """The side of a cell for square pictures: theirs, or for small ones a multiple of it."""
    return size_px * max(-(-_LEAST_CELL_PX // size_px), 1)


def save_grid(path: Path, grid: Grid) -> None:
    """Write a grid as a PNG; the same grid gives the same bytes.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    from matplotlib.figure import Figure

    canvas = grid.paint()
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.figimage(canvas, origin="upper")

    def write(text: str, top: int, left: int, size_points: float, colour: str) -> None:
        figure.text(
            left / width,
            1 - top / height,
            text,
            fontproperties=make_font(size_points),
            color=colour,
            va="center",
            parse_math=False,
        )

    for column, heading in enumerate(grid.headings):
        fitting = short_label(heading, most=grid.side_px // _CHAR_PX)
        write(fitting, _MARGIN + _HEADING // 2, grid.place(0, column)[1], 9, GREY)
    for row, (name, _) in enumerate(grid.rows):
        top, left = grid.place(row, 0)
        write(short_label(name), top - _NAME // 2, left, 10, INK)
    below = grid.place(len(grid.rows), 0)[0] - _NAME
    for number, line in enumerate(grid.lines()):
        write(line, below + _CAPTION * number + _CAPTION // 2, _MARGIN, 8, GREY)
    write_png(figure, path, dpi=_DPI)


def _fit(picture: Pixels, side_px: int) -> Pixels:
    """A cell: enlarged by a whole number if that fills it, else fitted in on white."""
    height, width = picture.shape[:2]
    if height == width and side_px % height == 0:
        return picture.repeat(side_px // height, 0).repeat(side_px // height, 1)
    scale = side_px / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    cell = Image.new("RGB", (side_px, side_px), "white")
    fitted = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    cell.paste(fitted, ((side_px - size[0]) // 2, (side_px - size[1]) // 2))
    return np.asarray(cell)
