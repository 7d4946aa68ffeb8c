"""A grid shows pictures pixel by pixel, and names them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.run.grid import Grid, cell_px, save_grid
from support import digest


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def make_grid(size_px: int, rows: int = 2, views: int = 3) -> Grid:
    pictures = [
        (f"class {row}", [noise(50, 90, row), *(noise(size_px, size_px, 9 * row + n) for n in range(views))])
        for row in range(rows)
    ]
    headings = ["original", *(f"epoch {n + 1}" for n in range(views))]
    return Grid(pictures, headings, "crop=0.2-1,flip=0.5; seed 0", cell_px(size_px))


@pytest.mark.parametrize("size_px", [32, 100, 224])
def test_views_keep_their_pixels(size_px: int, tmp_path: Path) -> None:
    grid = make_grid(size_px)
    save_grid(tmp_path / "grid.png", grid)
    with Image.open(tmp_path / "grid.png") as image:
        shown = np.asarray(image.convert("RGB"))
    assert grid.side_px >= 128
    times = grid.side_px // size_px
    for row, (_, pictures) in enumerate(grid.rows):
        for column, picture in enumerate(pictures[1:], 1):
            top, left = grid.place(row, column)
            cell = shown[top : top + grid.side_px, left : left + grid.side_px]
            np.testing.assert_array_equal(cell[::times, ::times], picture)


def test_other_pictures_are_fitted_in_whole() -> None:
    canvas = Grid([("x", [np.zeros((50, 100, 3), np.uint8)])], ["original"], "", 200).paint()
    top, left = Grid([], [""], "", 200).place(0, 0)
    cell = canvas[top : top + 200, left : left + 200]
    assert (cell[:50] == 255).all()
    assert (cell[50:150] == 0).all()
    assert (cell[150:] == 255).all()


def test_words_are_drawn_in_any_script_and_the_same_each_time(tmp_path: Path) -> None:
    grid = make_grid(64)
    named = Grid([("猫 $x_1 " * 9, grid.rows[0][1])], grid.headings, grid.caption * 9, grid.side_px)
    for name in ("a.png", "b.png"):
        save_grid(tmp_path / name, named)
    assert digest(tmp_path / "a.png") == digest(tmp_path / "b.png")
    assert len(named.lines()) > 1
    assert "".join(named.lines()) == named.caption
    with Image.open(tmp_path / "a.png") as image:
        assert (np.asarray(image.convert("L")) != named.paint().mean(-1)).any()
