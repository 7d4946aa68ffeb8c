"""Accuracy over time is drawn for any recipes and models, the same each time."""

from pathlib import Path

import pytest
from PIL import Image

from headstart.run.curves import Curve, save_curves

CURVES = [
    Curve("probe", "lite0", [(0.8, 0.95)], solved=True),
    Curve("finetune", "lite0", [(20.0, 0.9), (41.0, 0.94), (60.0, 0.95)]),
    Curve("finetune", "wholly $x_1 猫", [(35.0, 0.7)]),
]


@pytest.mark.parametrize("curves", [CURVES, CURVES[:1], [Curve("probe", "lite0", [(0.0, 0.0)], solved=True)]])
def test_it_draws_a_png(tmp_path: Path, curves: list[Curve]) -> None:
    save_curves(tmp_path / "a.png", curves)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.format == "PNG"
        assert 400 < min(image.size) <= max(image.size) < 2600


def test_the_same_curves_give_the_same_bytes_and_others_don_t(tmp_path: Path) -> None:
    for name, curves in (("a", CURVES), ("b", CURVES), ("c", CURVES[:2])):
        save_curves(tmp_path / name, curves)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_many_recipes_and_models_find_colours(tmp_path: Path) -> None:
    curves = [Curve(f"recipe {n}", f"model {n % 5}", [(n + 1.0, 0.5), (n + 2.0, 0.6)]) for n in range(20)]
    save_curves(tmp_path / "many.png", curves)
    assert (tmp_path / "many.png").stat().st_size > 10_000
