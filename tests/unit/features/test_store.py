"""The store gives back what was put in, in any order, and trusts no byte that it can't prove."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from headstart.errors import StorageError
from headstart.features import store as store_module
from headstart.features.store import FeatureStore
from support import digest

DIM = 6
Floats = NDArray[np.float32]
Hashes = NDArray[np.uint64]


def rows(n: int, seed: int = 0) -> tuple[list[str], Floats, Hashes]:
    rng = np.random.default_rng(seed)
    keys = [f"{seed:08x}{i:024x}" for i in range(n)]
    hashes = rng.integers(0, 2**64, n, dtype=np.uint64, endpoint=False)
    return keys, rng.standard_normal((n, DIM)).astype(np.float32), hashes


def filled(folder: Path, *sizes: int) -> tuple[FeatureStore, list[str], Floats, Hashes]:
    """A store of one part a size."""
    store = FeatureStore(folder, DIM)
    parts = [rows(size, seed) for seed, size in enumerate(sizes)]
    for part in parts:
        store.append(*part)
    keys = [key for part in parts for key in part[0]]
    return store, keys, np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts])


def part_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_empty_store_needs_no_folder(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "not" / "there", DIM)
    assert len(store) == 0
    assert "anything" not in store
    assert not (tmp_path / "not").exists()
    assert store.table([]).matrix().shape == (0, DIM)


def test_round_trip(tmp_path: Path) -> None:
    store, keys, features, hashes = filled(tmp_path, 7, 5)
    for opened in (store, FeatureStore(tmp_path, DIM)):
        assert len(opened) == 12
        assert all(key in opened for key in keys)
        table = opened.table(keys)
        assert (len(table), table.dim) == (12, DIM)
        assert digest(table.matrix().tobytes()) == digest(features.tobytes())
        assert (opened.difference_hashes(keys) == hashes).all()
        assert opened.difference_hashes(keys).dtype == np.uint64


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    store, keys, features, hashes = filled(tmp_path, 7, 5, 9)
    order = np.random.default_rng(0).integers(0, 21, 60)  # with repeats
    asked = [keys[i] for i in order]
    assert (store.table(asked).matrix() == features[order]).all()
    assert (store.difference_hashes(asked) == hashes[order]).all()


def test_key_that_is_not_there(tmp_path: Path) -> None:
    store, keys, _, _ = filled(tmp_path, 3)
    with pytest.raises(KeyError, match="unheard of"):
        store.table([keys[0], "unheard of"])


def test_take(tmp_path: Path) -> None:
    store, keys, features, _ = filled(tmp_path, 7, 5)
    table = store.table(keys)
    chosen = np.array([11, 0, 3, 3])
    assert (table.take(chosen).matrix() == features[chosen]).all()
    mask = np.arange(12) % 3 == 0
    assert (table.take(mask).matrix() == features[mask]).all()
    assert (table.take(mask).take(np.array([1])).matrix() == features[[3]]).all()
    assert len(table.take(np.zeros(12, bool))) == 0


def test_a_key_in_two_parts_has_one_meaning(tmp_path: Path) -> None:
    store, keys, features, _ = filled(tmp_path, 4)
    store.append(keys[:2], features[:2] + 1, np.zeros(2, np.uint64))
    assert len(store) == 4
    assert (store.table(keys).matrix() == features).all()
    reopened = FeatureStore(tmp_path, DIM)
    assert len(reopened) == 4
    assert (
        reopened.table(keys).matrix().tobytes() == FeatureStore(tmp_path, DIM).table(keys).matrix().tobytes()
    )


def test_readable_by_pandas(tmp_path: Path) -> None:
    _, keys, features, hashes = filled(tmp_path, 7)
    (part,) = part_files(tmp_path)
    frame = pd.read_feather(part)
    assert list(frame.columns) == ["key", "feature", "difference_hash"]
    assert list(frame["key"]) == keys
    assert (np.stack(list(frame["feature"])) == features).all()
    assert (frame["difference_hash"].to_numpy() == hashes).all()


def test_parts_are_named_after_their_bytes(tmp_path: Path) -> None:
    filled(tmp_path / "a", 7)
    filled(tmp_path / "b", 7)
    assert [p.name for p in part_files(tmp_path / "a")] == [p.name for p in part_files(tmp_path / "b")]
    filled(tmp_path / "b", 7)  # the same once more adds nothing
    assert len(part_files(tmp_path / "b")) == 1


def test_features_of_another_type_are_stored_as_float32(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 2)
    store.append(["a", "b"], np.array([[1, 2], [3, 4]], np.float64)[:, ::-1], np.zeros(2, np.uint64))
    matrix = store.table(["b"]).matrix()
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[4, 3]]


# ------------------------------------------------------------------ damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def flip_a_feature_byte(path: Path) -> None:
    """Arrow itself would not notice: the value is another number, no broken structure."""
    _, features, _ = rows(7)
    data = path.read_bytes()
    at = data.index(features.tobytes()[:16])
    path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])


def rename(path: Path) -> None:
    path.rename(path.with_name("part-0123456789abcdef01234567.arrow"))


def write_text(path: Path) -> None:
    path.write_text("no Arrow file")


@pytest.mark.parametrize("damage", [cut, empty, flip_a_byte, flip_a_feature_byte, rename, write_text])
def test_damaged_part_is_deleted_and_its_rows_are_missing(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store = FeatureStore(tmp_path, DIM)
    bad_keys, bad_features, bad_hashes = rows(7)
    store.append(bad_keys, bad_features, bad_hashes)
    (bad,) = part_files(tmp_path)
    keys, features, hashes = rows(5, seed=1)
    store.append(keys, features, hashes)
    damage(bad)
    opened = FeatureStore(tmp_path, DIM)
    assert not any(key in opened for key in bad_keys)
    assert (opened.table(keys).matrix() == features).all()
    assert len(part_files(tmp_path)) == 1
    opened.append(bad_keys, bad_features, bad_hashes)  # embedded again
    assert (FeatureStore(tmp_path, DIM).table(bad_keys + keys).matrix()[:7] == bad_features).all()


def test_part_of_another_feature_length_is_not_taken(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    assert len(FeatureStore(tmp_path, DIM + 1)) == 0


def test_part_of_other_columns_is_not_taken(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"key": ["a"], "other": [1.0]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    tmp_path.joinpath(f"part-{store_module._digest(data)}.arrow").write_bytes(data)
    assert len(FeatureStore(tmp_path, DIM)) == 0


def test_thumbnails_come_back_in_any_order(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, DIM, thumbnail_px=4)
    looks = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
    for seed, part in enumerate((slice(0, 7), slice(7, 12))):
        store.append(*rows(part.stop - part.start, seed), looks[part])
    keys = [*rows(7, 0)[0], *rows(5, 1)[0]]
    order = np.random.default_rng(1).integers(0, 12, 30)
    for opened in (store, FeatureStore(tmp_path, DIM, thumbnail_px=4)):
        table = opened.table([keys[i] for i in order])
        assert (table.thumbnails() == looks[order]).all()
        assert (table.take(np.arange(5)).thumbnails() == looks[order[:5]]).all()
    assert (FeatureStore(tmp_path, DIM).table(keys).matrix() == store.table(keys).matrix()).all()


@pytest.mark.parametrize("kept_px", [0, 5])
def test_part_without_thumbnails_is_embedded_again(tmp_path: Path, kept_px: int) -> None:
    looks = np.zeros((3, kept_px, kept_px), np.uint8) if kept_px else None
    FeatureStore(tmp_path, DIM, thumbnail_px=kept_px).append(*rows(3), looks)
    assert len(FeatureStore(tmp_path, DIM, thumbnail_px=4)) == 0
    assert part_files(tmp_path) == []


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    for name in ("notes.txt", ".part-0123.arrow.4711-ab.tmp"):
        (tmp_path / name).write_text("mine")
    assert len(FeatureStore(tmp_path, DIM)) == 4
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_interrupted_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, keys, features, _ = filled(tmp_path, 4)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        store.append(*rows(3, seed=9))
    monkeypatch.undo()
    assert len(part_files(tmp_path)) == 1
    assert (FeatureStore(tmp_path, DIM).table(keys).matrix() == features).all()


# ------------------------------------------------------------------ several writers


def write_parts(folder: Path, seeds: list[int]) -> None:
    store = FeatureStore(folder, DIM)
    for seed in seeds:
        store.append(*rows(20, seed))


def check_all_there(folder: Path, seeds: range) -> None:
    store = FeatureStore(folder, DIM)
    assert len(store) == 20 * len(seeds)
    for seed in seeds:
        keys, features, hashes = rows(20, seed)
        assert (store.table(keys).matrix() == features).all()
        assert (store.difference_hashes(keys) == hashes).all()
    assert all(path.name.startswith("part-") for path in part_files(folder))


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with ThreadPoolExecutor(4) as pool:  # overlapping: some parts are written twice
        done = [pool.submit(write_parts, folder, list(range(k, k + 8))) for k in (0, 4, 8, 12)]
    assert [future.result() for future in done] == [None] * 4
    check_all_there(folder, range(20))


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from headstart.features.store import FeatureStore

folder, start = Path(sys.argv[1]), int(sys.argv[2])
store = FeatureStore(folder, 3)
for seed in range(start, start + 10):
    features = np.full((20, 3), seed, np.float32)
    store.append([f"{seed}-{row}" for row in range(20)], features, np.full(20, seed, np.uint64))
"""


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), str(k)]) for k in (0, 5)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    store = FeatureStore(folder, 3)
    assert len(store) == 20 * 15
    for seed in range(15):
        keys = [f"{seed}-{row}" for row in range(20)]
        assert (store.table(keys).matrix() == seed).all()
        assert (store.difference_hashes(keys) == seed).all()
    assert len(part_files(folder)) == 15


# ------------------------------------------------------------------ large tables


def test_small_table_is_one_block_read_once(tmp_path: Path) -> None:
    store, keys, features, _ = filled(tmp_path, 7, 5)
    table = store.table(keys)
    ((where, block),) = table.blocks()
    assert where == slice(0, 12)
    assert (block == features).all()
    ((_, again),) = table.blocks()
    assert again is block


def test_large_table_streams_and_equals_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, keys, features, _ = filled(tmp_path, 30, 25, 45)
    order = np.random.default_rng(1).permutation(100)
    table = store.table([keys[i] for i in order])
    monkeypatch.setattr(store_module, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(store_module, "_BLOCK_ROWS", 16)
    for _ in range(2):  # again and again
        blocks = list(table.blocks())
        assert [(where.start, where.stop) for where, _ in blocks] == [
            (start, min(start + 16, 100)) for start in range(0, 100, 16)
        ]
        assert (np.concatenate([block for _, block in blocks]) == features[order]).all()
    assert (table.matrix() == features[order]).all()


def test_a_part_that_can_not_be_read_now_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 4)

    def refuse(self: Path) -> bytes:
        raise OSError(24, "Too many open files", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert len(FeatureStore(tmp_path, DIM)) == 0
    assert len(FeatureStore(tmp_path, DIM)) == 4


def test_a_part_that_goes_while_it_is_used_is_told_with_the_mend(tmp_path: Path) -> None:
    store, keys, features, _ = filled(tmp_path, 3, 4)
    table = store.table(keys)
    np.testing.assert_array_equal(table.matrix(), features)
    part_files(tmp_path)[0].unlink()
    with pytest.raises(StorageError, match=r"removed or damaged while it was in use.*embedded anew"):
        table.matrix()
    for part in part_files(tmp_path):
        part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"removed or damaged while it was in use"):
        table.matrix()
