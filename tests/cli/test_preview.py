"""`headstart preview` shows just what training sees, and refuses what makes no preview."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.augment import find_policy
from headstart.data.dataset import Dataset
from headstart.data.pixels import PixelStore
from headstart.run.grid import Grid, cell_px
from headstart.training.batches import ImageBatches
from support import Runner, digest

SMALL = ("--input-px", "64")


@pytest.fixture
def split(small_set: Path, tmp_path: Path) -> Path:
    """Training and test pictures; one of the former is broken."""
    for part, some in (("train", slice(0, 3)), ("test", slice(3, 9))):
        for name in ("cats", "dogs"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for path in sorted((small_set / name).iterdir())[some]:
                shutil.copy(path, tmp_path / "photos" / part / name)
    broken = min((tmp_path / "photos" / "train" / "cats").iterdir())
    broken.write_bytes(broken.read_bytes()[:5000])
    return tmp_path / "photos"


def test_the_grid_shows_the_views_of_the_first_epochs(
    call: Runner, split: Path, cache: Path, tmp_path: Path
) -> None:
    done = call(
        "preview", "photos", "--augment", "strong,hue=0.2", "--views", "3", "--seed", "4", *SMALL, "--json"
    )
    report = json.loads(done.stdout)
    assert report["file"] == "photos-preview.png"
    assert report["policy"].endswith("saturation=0.4,hue=0.2,rotation=15")
    names = [str(Path(path).relative_to(split)) for path in report["images"]]
    assert [name.split("/")[:2] for name in names] == [["train", "cats"]] * 2 + [["train", "dogs"]] * 3
    assert "Left out:" in done.stderr
    samples = Dataset.read(split).part("train").samples
    store = PixelStore.whole(cache, 73)
    keys = [sample.file.key for sample in samples if sample.file.key in store]
    batches = ImageBatches(store, keys, np.arange(len(keys)), find_policy("strong,hue=0.2"), 64, 2, 4)
    with Image.open(tmp_path / "photos-preview.png") as image:
        shown = np.asarray(image.convert("RGB"))
    grid = Grid([], [""] * 4, "", cell_px(64))
    paths = {sample.file.key: sample.file.path for sample in samples}
    for epoch in range(3):
        views = {}
        for pictures, rows in batches.epoch(epoch):
            views |= {paths[keys[row]]: picture for row, picture in zip(rows, pictures.numpy(), strict=True)}
        for row, path in enumerate(report["images"]):
            top, left = grid.place(row, epoch + 1)
            cell = shown[top : top + 128, left : left + 128]
            np.testing.assert_array_equal(cell[::2, ::2], views[path])


def test_the_same_words_draw_the_same_and_number_the_file(
    call: Runner, small_set: Path, tmp_path: Path
) -> None:
    words = ("preview", small_set, "--images", "3", "--views", "2", *SMALL, "--out", "grid.png")
    for _ in range(2):
        done = call(*words)
        assert done.returncode == 0
    assert done.stdout.startswith(
        "Saved grid-2.png: 3 pictures and 2 views of each, as training would see them."
    )
    assert "Augmentation: none,crop=0.35-1," in done.stdout
    call(*words, "--seed", "1")
    first, second, third = (digest(tmp_path / f"grid{n}.png") for n in ("", "-2", "-3"))
    assert first == second != third


def test_a_policy_of_nothing_shows_the_same_in_every_epoch(
    call: Runner, small_set: Path, tmp_path: Path
) -> None:
    call(
        "preview", small_set, "--augment", "none", "--images", "1", "--views", "2", *SMALL, "--out", "one.png"
    )
    with Image.open(tmp_path / "one.png") as image:
        shown = np.asarray(image)
    grid = Grid([], [""] * 3, "", 128)
    cells = [shown[top : top + 128, left : left + 128] for top, left in (grid.place(0, 1), grid.place(0, 2))]
    np.testing.assert_array_equal(*cells)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--augment", "stronk"],
            "No augmentation is called 'stronk'. Did you mean strong? Known: none, flip",
        ),
        (["--augment", "light,flp=1"], "No part of an augmentation is called 'flp'. Did you mean flip?"),
        (["--images", "0", "--views", "99"], "--images must lie between 1 and 100, not 0; --views must lie"),
        (["--out", "."], "--out . is a folder; name a file in it, such as picture.png"),
        (["--out", "grid.jpg"], "--out grid.jpg: this becomes a PNG, so name it so, such as grid.jpg.png"),
        (["--model", ""], "An empty model name"),
    ],
)
def test_what_makes_no_preview_is_refused(
    words: list[str], message: str, call: Runner, small_set: Path, tmp_path: Path
) -> None:
    done = call("preview", small_set, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not list(tmp_path.glob("*.png"))


def test_data_without_training_pictures_is_refused(call: Runner, split: Path) -> None:
    shutil.rmtree(split / "train" / "dogs")
    for path in (split / "train" / "cats").iterdir():
        path.write_bytes(b"")
    done = call("preview", "photos")
    assert done.returncode == 2
    assert "photos has no training images to show" in done.stderr


def test_pictures_of_which_none_can_be_decoded_are_refused(call: Runner, split: Path) -> None:
    for path in (split / "train").rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:4000])
    done = call("preview", "photos")
    assert done.returncode == 2
    assert "None of the training images can be decoded, such as" in done.stderr
    assert "truncated" in done.stderr


def test_small_pictures_are_shown_at_the_size_that_they_are_trained_at(call: Runner, split: Path) -> None:
    min((split / "train" / "cats").iterdir()).unlink()  # the broken one
    for path in split.rglob("*.jpg"):
        with Image.open(path) as image:
            small = image.resize((30, 40))
        small.save(path)
    done = call("preview", "photos", "--views", "1", "--json")
    with Image.open(split.parent / json.loads(done.stdout)["file"]) as image:
        assert image.width < 2 * cell_px(224)
