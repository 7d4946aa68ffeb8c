"""Copies are found though resized, re-encoded or cropped; pictures that are only alike are not."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import choose_runtime
from headstart.backbones.trunk import open_trunk
from headstart.data.dataset import Dataset
from headstart.data.splits import make_groups
from headstart.features import duplicates as duplicates_module
from headstart.features import store as store_module
from headstart.features.duplicates import Ordinary, find_near_duplicates
from headstart.features.embed import read_sample
from headstart.features.extract import extract, open_store
from headstart.features.store import FeatureStore, FeatureTable
from headstart.features.thumbnails import Thumbnails

Ints = NDArray[np.int64]
N_A_CLASS, N_COPIED = 80, 20
SIDE = 32


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


def off_centre(image: Image.Image) -> bytes:
    return encode(image.crop((0, round(0.03 * image.height), round(0.95 * image.width), image.height)), 85)


def brighter(image: Image.Image) -> bytes:
    return encode(ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.2)).enhance(0.9), 80)


def enlarged(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC).save(file, "WEBP", quality=70)
    return file.getvalue()


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "resized": resized,
    "reencoded": reencoded,
    "cropped": cropped,
    "off-centre": off_centre,
    "brighter": brighter,
    "enlarged": enlarged,
}
SETS = {"cats_dogs": ("cats", "dogs"), "cifar10": ("cat", "ship")}
"""Photographs of some 400 pixels, and of 32."""


@dataclass(frozen=True)
class Found:
    """Names of all photos, `class/stem` or `class/stem@kind` of copies, and the pairs found."""

    names: list[str]
    pairs: Ints


@pytest.fixture(
    scope="module", params=[(name, kind) for name in SETS for kind in ("lite0", "thumbnails")], ids="-".join
)
def found(
    request: pytest.FixtureRequest, photo_sets: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Found:
    """160 photos, 20 of them with a copy of each kind."""
    root = tmp_path_factory.mktemp("copied")
    photos, seen_by = request.param
    for name in SETS[photos]:
        (root / name).mkdir()
        for number, path in enumerate(sorted((photo_sets / photos / "test" / name).iterdir())[:N_A_CLASS]):
            (root / name / f"{path.stem}.jpg").symlink_to(path)
            if number >= N_COPIED // 2:
                continue
            image = Image.open(path).convert("RGB")
            for kind, make in COPIES.items():
                (root / name / f"{path.stem}@{kind}.jpg").write_bytes(make(image))
    dataset = Dataset.read(root)
    files = [sample.file for sample in dataset.samples]
    if seen_by == "thumbnails":
        store = Thumbnails().open_store(root)
        assert extract(files, Thumbnails(), Thumbnails(), {"center": store}) == {}
    else:
        trunk = open_trunk(find_backbone("lite0"), cache)
        runtime = choose_runtime(trunk, read_sample([file.path for file in files], trunk.preprocessing, 16))
        store = open_store(cache, trunk, runtime.name)
        assert extract(files, trunk, runtime, {"center": store}) == {}
    keys = [file.key for file in files]
    pairs = find_near_duplicates(store.table(keys), store.difference_hashes(keys), dataset.class_indices())
    return Found([f"{sample.label}/{Path(sample.file.path).stem}" for sample in dataset.samples], pairs)


def origin(name: str) -> str:
    return name.partition("@")[0]


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found(found: Found, kind: str) -> None:
    names = found.names
    groups = make_groups(names, [None] * len(names), found.pairs)
    group_of = dict(zip(names, groups.tolist(), strict=True))
    planted = [name for name in names if name.endswith(f"@{kind}")]
    assert len(planted) == N_COPIED
    missed = [name for name in planted if group_of[name] != group_of[origin(name)]]
    assert len(missed) <= 0.05 * N_COPIED, missed


def test_no_unrelated_photos_are_linked(found: Found) -> None:
    names = found.names
    assert [(names[a], names[b]) for a, b in found.pairs if origin(names[a]) != origin(names[b])] == []


def test_pairs_are_ordered_and_unique(found: Found) -> None:
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()
    assert len(np.unique(found.pairs, axis=0)) == len(found.pairs)


def test_of_digits_that_all_look_alike_hardly_any_are_linked(tmp_path: Path) -> None:
    """Two zeros agree wholly once they are laid onto each other: so do most, in a set of digits."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:600], digits.target, strict=False)):
        path = tmp_path / "digits" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(path)
    dataset, store = Dataset.read(tmp_path / "digits"), Thumbnails().open_store(tmp_path)
    extract([sample.file for sample in dataset.samples], Thumbnails(), Thumbnails(), {"center": store})
    keys = [sample.file.key for sample in dataset.samples]
    pairs = find_near_duplicates(store.table(keys), store.difference_hashes(keys), dataset.class_indices())
    assert len(pairs) <= 3


# ------------------------------------------------------------------ without photographs


def make_table(folder: Path, features: NDArray[np.float32], scenes: Ints) -> FeatureTable:
    """A store's table; pictures of one scene look the same, but for noise."""
    rng = np.random.default_rng(7)
    drawn = rng.normal(128, 50, (int(scenes.max()) + 1, SIDE, SIDE))
    looks = np.clip(drawn[scenes] + rng.normal(0, 4, (len(scenes), SIDE, SIDE)), 0, 255)
    store = FeatureStore(folder, features.shape[1], thumbnail_px=SIDE)
    keys = [f"{i:032x}" for i in range(len(features))]
    store.append(keys, features, np.zeros(len(features), np.uint64), looks.astype(np.uint8))
    return store.table(keys)


@dataclass(frozen=True)
class Set:
    """Unrelated rows, and behind them close copies of the first ones with two bits changed."""

    features: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    labels: Ints
    scenes: Ints
    planted: set[tuple[int, int]]

    @classmethod
    def draw(cls, n: int, n_copies: int) -> "Set":
        rng = np.random.default_rng(0)
        features = rng.standard_normal((n, 160)).astype(np.float32)
        hashes = rng.integers(0, 2**64, n, dtype=np.uint64, endpoint=False)
        copies = features[:n_copies] + 0.1 * rng.standard_normal((n_copies, 160)).astype(np.float32)
        return cls(
            features=np.concatenate([features, copies]),
            hashes=np.concatenate([hashes, hashes[:n_copies] ^ np.uint64(0b101)]),
            labels=rng.integers(0, 3, n + n_copies),
            scenes=np.concatenate([np.arange(n), np.arange(n_copies)]),
            planted={(i, n + i) for i in range(n_copies)},
        )

    def table(self, folder: Path) -> FeatureTable:
        return make_table(folder, self.features, self.scenes)


def as_set(pairs: Ints) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in pairs}


def test_exactly_the_planted_pairs(tmp_path: Path) -> None:
    drawn = Set.draw(400, 25)
    assert as_set(find_near_duplicates(drawn.table(tmp_path), drawn.hashes, drawn.labels)) == drawn.planted


def test_blocks_and_streams_give_the_same_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Set.draw(400, 25)
    table = drawn.table(tmp_path)
    monkeypatch.setattr(duplicates_module, "_BLOCK", 60)
    monkeypatch.setattr(store_module, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(store_module, "_BLOCK_ROWS", 70)
    assert as_set(find_near_duplicates(table, drawn.hashes, drawn.labels)) == drawn.planted


def test_all_signs_must_agree(tmp_path: Path) -> None:
    drawn = Set.draw(400, 25)
    other_hashes = np.random.default_rng(1).integers(
        0, 2**64, len(drawn.hashes), dtype=np.uint64, endpoint=False
    )
    table = drawn.table(tmp_path / "one")
    assert len(find_near_duplicates(table, other_hashes, drawn.labels)) == 0
    alike = np.full_like(drawn.hashes, 0x0F0F_F0F0_3C3C_C3C3)
    assert as_set(find_near_duplicates(table, alike, drawn.labels)) == drawn.planted
    other_scenes = make_table(tmp_path / "two", drawn.features, np.arange(len(drawn.scenes)))
    assert len(find_near_duplicates(other_scenes, drawn.hashes, drawn.labels)) == 0
    far_apart = np.where(np.arange(425)[:, None] < 400, drawn.features, -drawn.features)
    strangers = make_table(tmp_path / "three", far_apart, drawn.scenes)
    assert len(find_near_duplicates(strangers, drawn.hashes, drawn.labels)) == 0


def test_the_same_layout_with_other_detail_is_no_copy(tmp_path: Path) -> None:
    """From afar, in hash and in features two pictures are one; laid onto each other they are not."""
    drawn = Set.draw(400, 25)
    rng = np.random.default_rng(5)
    layouts = rng.normal(128, 40, (400, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)[drawn.scenes]
    tables = []
    for name, noise in (("other", 40), ("same", 4)):
        looks = np.clip(layouts + rng.normal(0, noise, layouts.shape), 0, 255).astype(np.uint8)
        store = FeatureStore(tmp_path / name, 160, thumbnail_px=SIDE)
        keys = [f"{row:032x}" for row in range(425)]
        store.append(keys, drawn.features, drawn.hashes, looks)
        tables.append(store.table(keys))
    other, same = tables
    assert len(find_near_duplicates(other, drawn.hashes, drawn.labels)) == 0
    assert as_set(find_near_duplicates(same, drawn.hashes, drawn.labels)) == drawn.planted


@pytest.mark.parametrize("plain", [0, 2**64 - 1, 0b1111, 2**64 - 2])
def test_hash_of_a_plain_picture_says_nothing(tmp_path: Path, plain: int) -> None:
    drawn = Set.draw(400, 25)
    hashes = np.full_like(drawn.hashes, plain)
    assert len(find_near_duplicates(drawn.table(tmp_path), hashes, drawn.labels)) == 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_sets(tmp_path: Path, n: int) -> None:
    drawn = Set.draw(n, 0)
    assert find_near_duplicates(drawn.table(tmp_path), drawn.hashes, drawn.labels).shape == (0, 2)


def test_equal_rows_are_finite_pairs(tmp_path: Path) -> None:
    drawn = Set.draw(50, 0)
    twice = np.concatenate([np.arange(50), np.arange(5)])
    table = make_table(tmp_path, drawn.features[twice], drawn.scenes[twice])
    pairs = find_near_duplicates(table, drawn.hashes[twice], drawn.labels[twice])
    assert as_set(pairs) == {(i, 50 + i) for i in range(5)}


def test_many_versions_of_one_picture_hang_together_in_few_pairs(tmp_path: Path) -> None:
    drawn = Set.draw(300, 0)
    scenes = np.concatenate([drawn.scenes, np.zeros(30, np.int64)])
    rng = np.random.default_rng(2)
    features = drawn.features[scenes] + 0.1 * rng.standard_normal((330, 160)).astype(np.float32)
    pairs = find_near_duplicates(
        make_table(tmp_path, features, scenes), drawn.hashes[scenes], drawn.labels[scenes]
    )
    groups = make_groups([str(k) for k in range(330)], [None] * 330, pairs)
    assert (groups[300:] == groups[0]).all()
    assert len(np.unique(groups)) == 300
    assert len(pairs) < 31 * 5


def test_exact_copies_cost_nothing(tmp_path: Path) -> None:
    """Their key says it all; their near-duplicates are linked to one of them."""
    drawn = Set.draw(100, 5)
    table = drawn.table(tmp_path)
    rows = np.concatenate([np.zeros(50, np.int64), np.arange(105)])
    pairs = find_near_duplicates(table.take(rows), drawn.hashes[rows], drawn.labels[rows])
    assert as_set(pairs) == {(0, 150), *((50 + i, 150 + i) for i in range(1, 5))}


def test_closeness_counts_spreads_above_the_ordinary_pair() -> None:
    ordinary = Ordinary(median=0.2, spread=0.1)
    cosines = np.array([np.tanh(0.2), np.tanh(0.5), 1.0, -1.0], np.float32)
    closeness = ordinary.closeness(cosines)
    assert closeness[:2] == pytest.approx([0, 3], abs=1e-5)
    assert np.isfinite(closeness).all()
