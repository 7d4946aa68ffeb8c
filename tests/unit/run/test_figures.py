"""The confusion matrix is drawn for any number of classes, in any script, the same each time."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.run.figures import MOST_CONFUSED, _select, save_confusion, short_label
from support import digest


def confusion(k: int, seed: int = 0) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, size=(k, k)) + np.diag(rng.integers(5, 30, size=k))


@pytest.mark.parametrize("k", [2, 10, 60])
def test_it_draws_a_png(tmp_path: Path, k: int) -> None:
    save_confusion(tmp_path / "c.png", confusion(k), [f"class {index}" for index in range(k)])
    with Image.open(tmp_path / "c.png") as image:
        image.load()
        assert image.format == "PNG"
        assert 400 < min(image.size) <= max(image.size) < 2600
    assert list(tmp_path.iterdir()) == [tmp_path / "c.png"]


def test_the_same_counts_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_confusion(tmp_path / name, confusion(3), ["x", "y", "z"])
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_names_of_any_script_warn_of_nothing(tmp_path: Path) -> None:
    names = ["猫", "कुत्ता", "🐈 $x_1", "a\x00\tb\n", "\ue000", "x" * 300]
    save_confusion(tmp_path / "c.png", confusion(6), names)


def test_classes_without_images_are_drawn_empty(tmp_path: Path) -> None:
    save_confusion(tmp_path / "c.png", [[0, 0], [0, 0]], ["a", "b"])
    assert _select(np.zeros((2, 2), np.int64), ["a", "b"]).shares.tolist() == [[0, 0], [0, 0]]


def test_of_many_classes_the_most_confused_are_drawn() -> None:
    counts = np.diag(np.full(60, 10))
    counts[7, 55] = 9
    counts[50, 3] = 8
    matrix = _select(counts, [str(index) for index in range(60)])
    assert matrix.size == MOST_CONFUSED
    assert {"3", "7", "50", "55"} <= set(matrix.names)
    assert [int(name) for name in matrix.names] == sorted(int(name) for name in matrix.names)
    assert matrix.title == "600 of 617 images right; shown: the 30 most confused of 60 classes"


def test_shares_are_of_all_images_of_a_class() -> None:
    assert _select(np.array([[3, 1], [0, 0]]), ["a", "b"]).shares.tolist() == [[0.75, 0.25], [0, 0]]


def test_longshort_labels_are_cut_in_the_middle() -> None:
    assert short_label("short name") == "short name"
    cut = short_label("Hymenoptera, the first and longest of them, no. 17")
    assert len(cut) == 26
    assert cut.startswith("Hymenoptera")
    assert cut.endswith("no. 17")


def test_a_matrix_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be \(2, 2\) for 2 classes; got \(3, 3\)"):
        save_confusion(tmp_path / "c.png", confusion(3), ["a", "b"])
