"""Decoded pictures come back as they went in, whatever happened to the disk."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.api.cache import clear_cache, measure_cache
from headstart.backbones.catalogue import CATALOGUE
from headstart.data.dataset import Dataset
from headstart.data.decode import read_view
from headstart.data.files import ImageFile
from headstart.data.pixels import PixelStore, read_whole
from headstart.errors import StorageError, UnreadableImageError

PREPROCESSING = CATALOGUE["lite0"].preprocessing


@pytest.fixture
def files(tmp_path: Path) -> list[ImageFile]:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for n, (width, height) in enumerate([(300, 400), (40, 30), (900, 300)]):
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{n}.png")
    return [sample.file for sample in Dataset.read(tmp_path / "photos").samples]


def test_what_is_stored_is_what_would_be_decoded(files: list[ImageFile], tmp_path: Path) -> None:
    assert PREPROCESSING is not None
    views, whole = PixelStore.center(tmp_path, PREPROCESSING), PixelStore.whole(tmp_path, 256)
    assert views.fill(files) == {} == whole.fill(files)
    for store in (views, PixelStore.center(tmp_path, PREPROCESSING)):
        for file in files:
            np.testing.assert_array_equal(store[file.key], read_view(file.path, PREPROCESSING))
    for file in files:
        np.testing.assert_array_equal(whole[file.key], read_whole(file.path, 256))


def test_small_pictures_keep_their_size_and_long_ones_are_cut(files: list[ImageFile]) -> None:
    shapes = [read_whole(file.path, 256).shape for file in files[:3]]
    assert shapes == [(341, 256, 3), (30, 40, 3), (256, 512, 3)]


def test_filling_again_decodes_nothing(files: list[ImageFile], tmp_path: Path) -> None:
    PixelStore.whole(tmp_path, 256).fill(files)
    before = sorted(tmp_path.glob("pixels/*/*"))
    PixelStore.whole(tmp_path, 256).fill(files)
    assert sorted(tmp_path.glob("pixels/*/*")) == before


def test_the_cache_counts_and_clears_them(files: list[ImageFile], tmp_path: Path) -> None:
    PixelStore.whole(tmp_path, 256).fill(files)
    assert {size.part: size.files for size in measure_cache(tmp_path)}["pixels"] == 2
    clear_cache(tmp_path, ("pixels",))
    assert files[0].key not in PixelStore.whole(tmp_path, 256)
    assert not list(tmp_path.glob("pixels/*/*"))


@pytest.mark.parametrize("damage", ["short pixels", "no pixels", "broken index", "foreign index"])
def test_a_damaged_part_is_decoded_again(files: list[ImageFile], tmp_path: Path, damage: str) -> None:
    PixelStore.whole(tmp_path, 256).fill(files)
    (index,) = tmp_path.glob("pixels/*/*.json")
    pixels = index.with_suffix(".bin")
    if damage == "short pixels":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "no pixels":
        pixels.unlink()
    else:
        index.write_text("{" if damage == "broken index" else json.dumps({"pictures": 3}))
    store = PixelStore.whole(tmp_path, 256)
    assert files[0].key not in store
    assert not list(tmp_path.glob("pixels/*/*"))  # it takes no space either
    assert store.fill(files) == {}
    np.testing.assert_array_equal(store[files[0].key], read_whole(files[0].path, 256))


def test_pixels_whose_index_a_kill_prevented_are_deleted_once_none_can_come(
    files: list[ImageFile], tmp_path: Path
) -> None:
    PixelStore.whole(tmp_path, 256).fill(files)
    (index,) = tmp_path.glob("pixels/*/*.json")
    index.unlink()
    orphan = index.with_suffix(".bin")
    PixelStore.whole(tmp_path, 256)
    assert orphan.exists()  # its index may be on the way
    an_hour_ago = time.time() - 3700
    os.utime(orphan, (an_hour_ago, an_hour_ago))
    PixelStore.whole(tmp_path, 256)
    assert not orphan.exists()


def test_what_cannot_be_decoded_is_told_and_the_rest_is_kept(files: list[ImageFile], tmp_path: Path) -> None:
    Path(files[0].path).write_bytes(b"no picture")
    store = PixelStore.whole(tmp_path, 256)
    failures = store.fill(files)
    assert list(failures) == [files[0].key]
    assert all(file.key in store for file in files[1:])
    with pytest.raises(UnreadableImageError, match=r"0\.png"):
        read_whole(files[0].path, 256)


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(files: list[ImageFile], tmp_path: Path) -> None:
    (tmp_path / "pixels").write_text("no folder")
    with pytest.raises(StorageError, match="pixels"):
        PixelStore.whole(tmp_path, 256).fill(files)
