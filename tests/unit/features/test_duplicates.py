"""Copies are found though resized, re-encoded or cropped; pictures that are only alike are not."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import choose_runtime
from headstart.backbones.trunk import open_trunk
from headstart.data.dataset import Dataset
from headstart.features import duplicates as duplicates_module
from headstart.features import store as store_module
from headstart.features.duplicates import Ordinary, find_near_duplicates
from headstart.features.embed import read_sample
from headstart.features.extract import extract, open_store
from headstart.features.store import FeatureStore, FeatureTable
from headstart.features.thumbnails import Thumbnails

Ints = NDArray[np.int64]
N_COPIED = 40


def encode(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def resized(image: Image.Image) -> bytes:
    return encode(image.resize((round(0.7 * image.width), round(0.7 * image.height))), 90)


def reencoded(image: Image.Image) -> bytes:
    return encode(image, 50)


def cropped(image: Image.Image) -> bytes:
    dx, dy = round(0.025 * image.width), round(0.025 * image.height)
    return encode(image.crop((dx, dy, image.width - dx, image.height - dy)), 90)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "resized": resized,
    "reencoded": reencoded,
    "cropped": cropped,
}


@pytest.fixture(scope="module", params=["lite0", "thumbnails"])
def found(
    request: pytest.FixtureRequest, photo_sets: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Ints]:
    """Names of all photos, and the pairs found: 200 photos, 40 of them with three copies each."""
    root = tmp_path_factory.mktemp("copied")
    for name in ("cats", "dogs"):
        (root / name).mkdir()
        for number, path in enumerate(sorted((photo_sets / "cats_dogs" / "test" / name).iterdir())[:100]):
            (root / name / f"{path.stem}.jpg").symlink_to(path)
            if number >= N_COPIED // 2:
                continue
            image = Image.open(path).convert("RGB")
            for kind, make in COPIES.items():
                (root / name / f"{path.stem}@{kind}.jpg").write_bytes(make(image))
    dataset = Dataset.read(root)
    files = [sample.file for sample in dataset.samples]
    if request.param == "thumbnails":
        store = Thumbnails().open_store(root)
        assert extract(files, Thumbnails(), Thumbnails(), {"center": store}) == {}
    else:
        trunk = open_trunk(find_backbone("lite0"), cache)
        runtime = choose_runtime(trunk, read_sample([file.path for file in files], trunk.preprocessing, 16))
        store = open_store(cache, trunk, runtime.name)
        assert extract(files, trunk, runtime, {"center": store}) == {}
    keys = [file.key for file in files]
    pairs = find_near_duplicates(store.table(keys), store.difference_hashes(keys), dataset.class_indices())
    return [f"{sample.label}/{Path(sample.file.path).stem}" for sample in dataset.samples], pairs


def origin(name: str) -> str:
    return name.partition("@")[0]


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found(found: tuple[list[str], Ints], kind: str) -> None:
    names, pairs = found
    linked = {(names[a], names[b]) for a, b in pairs} | {(names[b], names[a]) for a, b in pairs}
    planted = [name for name in names if name.endswith(f"@{kind}")]
    assert len(planted) == N_COPIED
    hits = sum((origin(name), name) in linked for name in planted)
    assert hits >= 0.95 * N_COPIED, [name for name in planted if (origin(name), name) not in linked]


def test_no_unrelated_photos_are_linked(found: tuple[list[str], Ints]) -> None:
    names, pairs = found
    assert [(names[a], names[b]) for a, b in pairs if origin(names[a]) != origin(names[b])] == []


def test_pairs_are_ordered_and_unique(found: tuple[list[str], Ints]) -> None:
    _, pairs = found
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)


# ------------------------------------------------------------------ without photographs


def make_table(folder: Path, features: NDArray[np.float32]) -> FeatureTable:
    store = FeatureStore(folder, features.shape[1])
    keys = [f"{i:032x}" for i in range(len(features))]
    store.append(keys, features, np.zeros(len(features), np.uint64))
    return store.table(keys)


def random_set(
    n: int, n_copies: int
) -> tuple[NDArray[np.float32], NDArray[np.uint64], Ints, set[tuple[int, int]]]:
    """Unrelated rows, and behind them close copies of the first ones with two bits changed."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, 160)).astype(np.float32)
    hashes = rng.integers(0, 2**64, n, dtype=np.uint64, endpoint=False)
    copies = features[:n_copies] + 0.1 * rng.standard_normal((n_copies, 160)).astype(np.float32)
    features = np.concatenate([features, copies])
    hashes = np.concatenate([hashes, hashes[:n_copies] ^ np.uint64(0b101)])
    labels = rng.integers(0, 3, n + n_copies)
    return features, hashes, labels, {(i, n + i) for i in range(n_copies)}


def as_set(pairs: Ints) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in pairs}


def test_exactly_the_planted_pairs(tmp_path: Path) -> None:
    features, hashes, labels, planted = random_set(400, 25)
    assert as_set(find_near_duplicates(make_table(tmp_path, features), hashes, labels)) == planted


def test_blocks_and_streams_give_the_same_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, hashes, labels, planted = random_set(400, 25)
    table = make_table(tmp_path, features)
    monkeypatch.setattr(duplicates_module, "_BLOCK", 60)
    monkeypatch.setattr(store_module, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(store_module, "_BLOCK_ROWS", 70)
    assert as_set(find_near_duplicates(table, hashes, labels)) == planted


def test_both_signs_must_agree(tmp_path: Path) -> None:
    features, hashes, labels, _ = random_set(400, 25)
    rng = np.random.default_rng(1)
    other_hashes = rng.integers(0, 2**64, len(hashes), dtype=np.uint64, endpoint=False)
    table = make_table(tmp_path, features)
    assert len(find_near_duplicates(table, other_hashes, labels)) == 0
    alike = np.full_like(hashes, 0x0F0F_F0F0_3C3C_C3C3)
    assert as_set(find_near_duplicates(table, alike, labels)) == {(i, 400 + i) for i in range(25)}


@pytest.mark.parametrize("plain", [0, 2**64 - 1, 0b1111, 2**64 - 2])
def test_hash_of_a_plain_picture_says_nothing(tmp_path: Path, plain: int) -> None:
    features, hashes, labels, _ = random_set(400, 25)
    pairs = find_near_duplicates(make_table(tmp_path, features), np.full_like(hashes, plain), labels)
    assert len(pairs) == 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_sets(tmp_path: Path, n: int) -> None:
    features, hashes, labels, _ = random_set(n, 0)
    assert find_near_duplicates(make_table(tmp_path, features), hashes, labels).shape == (0, 2)


def test_equal_rows_are_finite_pairs(tmp_path: Path) -> None:
    features, hashes, labels, _ = random_set(50, 0)
    features, hashes = np.concatenate([features, features[:5]]), np.concatenate([hashes, hashes[:5]])
    pairs = find_near_duplicates(make_table(tmp_path, features), hashes, np.concatenate([labels, labels[:5]]))
    assert as_set(pairs) == {(i, 50 + i) for i in range(5)}


def test_closeness_counts_spreads_above_the_ordinary_pair() -> None:
    ordinary = Ordinary(median=0.2, spread=0.1)
    cosines = np.array([np.tanh(0.2), np.tanh(0.5), 1.0, -1.0], np.float32)
    closeness = ordinary.closeness(cosines)
    assert closeness[:2] == pytest.approx([0, 3], abs=1e-5)
    assert np.isfinite(closeness).all()
    assert ordinary.cosine(3.0) == pytest.approx(np.tanh(0.5))
