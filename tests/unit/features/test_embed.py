"""Files become features in order, unreadable ones aside, and what is embedded is not embedded again."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.backbones.trunk import Trunk
from headstart.config import Preprocessing
from headstart.data.decode import read_view
from headstart.data.files import ImageFile, Skipped, probe_files
from headstart.data.pictures import HeldPicture
from headstart.errors import UnreadableImageError, WeightsMismatchError
from headstart.features import embed as embed_module
from headstart.features import extract as extract_module
from headstart.features.embed import View, difference_hash, embed_files, read_sample, thumbnail
from headstart.features.extract import extract, open_store
from headstart.progress import Silent

VIEW = Preprocessing(20, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DIM = 5


class CountingRuntime:
    """A runtime of means: it tells colours and left from right, and counts what it is asked.

    `fails_after`: raise once so many images were embedded.
    """

    name = "counting"
    batch_size = 4
    parallel = 2

    def __init__(self, fails_after: int | None = None) -> None:
        self.images = 0
        self.fails_after = fails_after
        self._lock = threading.Lock()

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            if self.fails_after is not None and self.images >= self.fails_after:
                raise RuntimeError("the power went out")
            self.images += len(views)
        x = views.astype(np.float32)
        columns = [x[..., channel].mean(axis=(1, 2)) for channel in range(3)]
        columns += [x[:, :, :8].mean(axis=(1, 2, 3)), x[:, :, 8:].mean(axis=(1, 2, 3))]
        return np.stack(columns, axis=1)


def make_trunk(folder: Path) -> Trunk:
    """Facts alone; the fake runtime needs no files."""
    return Trunk(folder, "fake", "digest", "source", DIM, "head", VIEW, "unknown", (), openvino=False)


def write_photos(folder: Path, n: int, seed: int = 0) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(n):
        path = folder / f"{number:04}.png"
        Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return paths


def probed(paths: list[str]) -> list[ImageFile]:
    files = [file for file in probe_files(paths, progress=Silent()) if not isinstance(file, Skipped)]
    assert len(files) == len(paths)
    return files


def expected_features(paths: list[str]) -> NDArray[np.float32]:
    return CountingRuntime().embed(np.stack([read_view(path, VIEW) for path in paths]))


# ------------------------------------------------------------------ the pass


def test_order_is_kept_with_unreadable_files_in_between(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 150)
    bad = {0: b"", 17: b"no image", 63: Path(paths[63]).read_bytes()[:300], 64: b"", 149: b"GIF89a"}
    for row, data in bad.items():
        Path(paths[row]).write_bytes(data)
    paths[100] = str(tmp_path / "never was.png")
    chunks = list(embed_files(paths, VIEW, CountingRuntime()))
    readable = [row for row in range(150) if row not in {*bad, 100}]
    rows = np.concatenate([chunk.rows for chunk in chunks])
    assert rows.tolist() == readable
    features = np.concatenate([chunk.features["center"] for chunk in chunks])
    assert (features == expected_features([paths[row] for row in readable])).all()
    failures = [failure for chunk in chunks for failure in chunk.failures]
    assert [row for row, _ in failures] == sorted({*bad, 100})
    reasons = dict(failures)
    assert reasons[0] == "zero bytes"
    assert reasons[17] == "not an image"
    assert reasons[100] == "no such file"
    assert not any(str(tmp_path) in reason for reason in reasons.values())


def test_a_chunk_of_unreadable_files_alone(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 40)
    for path in paths[:32]:
        Path(path).write_bytes(b"")
    runtime = CountingRuntime()
    chunks = list(embed_files(paths, VIEW, runtime))
    assert sum(len(chunk.failures) for chunk in chunks) == 32
    assert np.concatenate([chunk.rows for chunk in chunks]).tolist() == list(range(32, 40))
    assert runtime.images == 8


def test_no_files() -> None:
    assert list(embed_files([], VIEW, CountingRuntime())) == []


def test_mirror_view_sees_the_mirrored_picture(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 3)
    (chunk,) = embed_files(paths, VIEW, CountingRuntime(), views=("center", "mirror"))
    center, mirror = chunk.features["center"], chunk.features["mirror"]
    assert np.allclose(center[:, :3], mirror[:, :3])
    assert np.allclose(center[:, [3, 4]], mirror[:, [4, 3]])


def test_hashes_are_of_the_centre_view(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 3)
    (chunk,) = embed_files(paths, VIEW, CountingRuntime(), views=("mirror",))
    looks = [thumbnail(read_view(path, VIEW)) for path in paths]
    assert np.array_equal(chunk.thumbnails, looks)
    assert chunk.difference_hashes.tolist() == [difference_hash(look) for look in looks]
    (without,) = embed_files(paths, VIEW, CountingRuntime(), with_looks=False)
    assert without.difference_hashes.tolist() == [0, 0, 0]


def test_thumbnails_are_small_grey_centre_views_and_are_kept_with_the_features(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 3)
    (chunk,) = embed_files(paths, VIEW, CountingRuntime())
    views = [Image.fromarray(read_view(path, VIEW)) for path in paths]
    means = [np.asarray(view.convert("L")).mean() for view in views]
    assert chunk.thumbnails.shape == (3, 32, 32)
    assert chunk.thumbnails.mean(axis=(1, 2)) == pytest.approx(means, abs=0.6)
    (without,) = embed_files(paths, VIEW, CountingRuntime(), with_looks=False)
    assert not without.thumbnails.any()


def test_few_files_are_under_way_at_once(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "few", 8) * 250
    runtime = CountingRuntime()
    chunks = embed_files(paths, VIEW, runtime)
    next(chunks)
    chunks.close()
    assert runtime.images < 1000


def test_pictures_are_asked_for_only_a_little_ahead(tmp_path: Path) -> None:
    (path,) = write_photos(tmp_path, 1)
    asked = 0

    def coming() -> Iterator[str]:
        nonlocal asked
        for _ in range(5000):
            asked += 1
            yield path

    chunks = embed_files(coming(), VIEW, CountingRuntime())
    next(chunks)
    chunks.close()
    assert asked < 1000


def test_few_bytes_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write_photos(tmp_path, 1)
    data = Path(path).read_bytes()
    monkeypatch.setattr(embed_module, "_CHUNK_BYTES", 3 * len(data))
    monkeypatch.setattr(embed_module, "_HELD_BYTES", 20 * len(data))
    asked = 0

    def coming() -> Iterator[HeldPicture]:
        nonlocal asked
        for number in range(1000):
            asked += 1
            yield HeldPicture(f"{number}", data, "")

    chunks = embed_files(coming(), VIEW, CountingRuntime())
    first = next(chunks)
    assert len(first.names) == 4
    assert asked <= 24
    names = [name for chunk in (first, *chunks) for name in chunk.names]
    assert names == [f"{number}" for number in range(1000)]


def test_chunks_end_where_parts_do(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 50)
    sizes = [len(chunk.names) for chunk in embed_files(paths, VIEW, CountingRuntime(), part_rows=20)]
    assert sizes == [16, 4, 16, 4, 10]


def test_workers_are_gone_after_an_early_end(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 64) * 4
    chunks = embed_files(paths, VIEW, CountingRuntime())
    next(chunks)
    chunks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embed")]


def test_difference_hash_tells_pictures_apart_and_keeps_copies_together() -> None:
    rng = np.random.default_rng(0)
    smooth = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
            (64, 64), Image.Resampling.BICUBIC
        )
    )
    copy = np.clip(smooth.astype(int) + rng.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8)
    other = smooth[::-1, ::-1]
    hashes = [difference_hash(thumbnail(view)) for view in (smooth, copy, other)]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 6
    assert (hashes[0] ^ hashes[2]).bit_count() >= 16
    rising = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    assert difference_hash(thumbnail(rising)) == 2**64 - 1
    assert difference_hash(thumbnail(rising[:, ::-1])) == 0


def test_sample_is_spread_and_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    paths = write_photos(tmp_path, 9)
    Path(paths[4]).write_bytes(b"")
    sample = read_sample(paths, VIEW, 3)
    assert (sample == np.stack([read_view(paths[row], VIEW) for row in (0, 8)])).all()
    assert read_sample(paths[:2], VIEW, 32).shape == (2, 16, 16, 3)


def test_sample_of_unreadable_files_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"None of the images tried .*a\.png: zero bytes"):
        read_sample([str(path)], VIEW, 8)


# ------------------------------------------------------------------ into the store


def test_features_that_are_no_numbers_are_not_stored(tmp_path: Path) -> None:
    class Overflowing(CountingRuntime):
        def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
            features = super().embed(views)
            if self.images >= 32:
                features[1] = np.inf
            return features

    trunk, files = make_trunk(tmp_path), probed(write_photos(tmp_path / "photos", 40))
    store = open_store(tmp_path, trunk, "overflowing")
    with pytest.raises(
        WeightsMismatchError, match=r"features of \S+\.png hold values that are no numbers\. Try"
    ):
        extract(files, trunk, Overflowing(), {"center": store})
    stored = [file.key for file in files if file.key in store]
    assert np.isfinite(store.table(stored).matrix()).all()


def test_extract_fills_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    trunk, runtime = make_trunk(tmp_path), CountingRuntime()
    files = probed(write_photos(tmp_path / "photos", 40))
    store = open_store(tmp_path, trunk, "counting")
    assert extract(files[:25], trunk, runtime, {"center": store}) == {}
    assert runtime.images == 25
    assert extract(files, trunk, runtime, {"center": store}) == {}
    assert runtime.images == 40
    reopened = open_store(tmp_path, trunk, "counting")
    assert extract(files, trunk, runtime, {"center": reopened}) == {}
    assert runtime.images == 40
    found = reopened.table([file.key for file in files]).matrix()
    assert (found == expected_features([file.path for file in files])).all()


def test_extract_embeds_copies_once(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "photos", 6)
    for path in paths[:3]:
        copy = Path(path).with_suffix(".copy.png")
        copy.write_bytes(Path(path).read_bytes())
        paths.append(str(copy))
    trunk, runtime = make_trunk(tmp_path), CountingRuntime()
    store = open_store(tmp_path, trunk, "counting")
    extract(probed(paths), trunk, runtime, {"center": store})
    assert runtime.images == len(store) == 6


def test_extract_adds_the_view_that_is_missing(tmp_path: Path) -> None:
    trunk, runtime = make_trunk(tmp_path), CountingRuntime()
    files = probed(write_photos(tmp_path / "photos", 10))
    views: tuple[View, ...] = ("center", "mirror")
    stores = {view: open_store(tmp_path, trunk, "counting", view) for view in views}
    extract(files, trunk, runtime, {"center": stores["center"]})
    extract(files, trunk, runtime, stores)
    assert runtime.images == 20
    keys = [file.key for file in files]
    center, mirror = (stores[view].table(keys).matrix() for view in views)
    assert np.allclose(center[:, [3, 4]], mirror[:, [4, 3]])
    assert stores["center"].folder != stores["mirror"].folder


def test_extract_returns_the_reasons_of_failures(tmp_path: Path) -> None:
    files = probed(write_photos(tmp_path / "photos", 5))
    Path(files[2].path).write_bytes(b"changed since it was listed")
    trunk = make_trunk(tmp_path)
    store = open_store(tmp_path, trunk, "counting")
    assert extract(files, trunk, CountingRuntime(), {"center": store}) == {files[2].key: "not an image"}
    assert len(store) == 4


@pytest.mark.parametrize("part_rows", [32, 2048])
def test_interrupted_extraction_continues_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_rows: int
) -> None:
    monkeypatch.setattr(extract_module, "_PART_ROWS", part_rows)
    trunk = make_trunk(tmp_path)
    files = probed(write_photos(tmp_path / "photos", 160))
    store = open_store(tmp_path, trunk, "counting")
    with pytest.raises(RuntimeError, match="the power went out"):
        extract(files, trunk, CountingRuntime(fails_after=100), {"center": store})
    kept = len(open_store(tmp_path, trunk, "counting"))
    assert 0 < kept <= 116  # what was embedded and handed over in order
    runtime = CountingRuntime()
    again = open_store(tmp_path, trunk, "counting")
    assert extract(files, trunk, runtime, {"center": again}) == {}
    assert runtime.images == 160 - kept
    found = again.table([file.key for file in files]).matrix()
    assert (found == expected_features([file.path for file in files])).all()


def test_ctrl_c_keeps_what_was_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, runtime = make_trunk(tmp_path), CountingRuntime()
    files = probed(write_photos(tmp_path / "photos", 64))
    store = open_store(tmp_path, trunk, "counting")
    add, chunks = extract_module._PartWriter.add, []

    def add_then_interrupt(self: extract_module._PartWriter, chunk: object) -> None:
        add(self, chunk)  # type: ignore[arg-type]
        chunks.append(chunk)
        if len(chunks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(extract_module._PartWriter, "add", add_then_interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(files, trunk, runtime, {"center": store})
    monkeypatch.undo()
    assert len(open_store(tmp_path, trunk, "counting")) == 32
    second = CountingRuntime()
    extract(files, trunk, second, {"center": open_store(tmp_path, trunk, "counting")})
    assert second.images == 32


def test_damaged_part_is_embedded_again(tmp_path: Path) -> None:
    trunk = make_trunk(tmp_path)
    files = probed(write_photos(tmp_path / "photos", 20))
    store = open_store(tmp_path, trunk, "counting")
    extract(files[:12], trunk, CountingRuntime(), {"center": store})
    (part,) = store.folder.iterdir()
    extract(files, trunk, CountingRuntime(), {"center": store})
    data = bytearray(part.read_bytes())
    data[-100] ^= 0xFF
    part.write_bytes(bytes(data))
    runtime = CountingRuntime()
    opened = open_store(tmp_path, trunk, "counting")
    extract(files, trunk, runtime, {"center": opened})
    assert runtime.images == 12
    found = opened.table([file.key for file in files]).matrix()
    assert (found == expected_features([file.path for file in files])).all()


def test_trunks_views_and_runtimes_have_stores_of_their_own(tmp_path: Path) -> None:
    trunk = make_trunk(tmp_path)
    folders = {
        open_store(tmp_path, trunk, "counting").folder,
        open_store(tmp_path, trunk, "counting", "mirror").folder,
        open_store(tmp_path, trunk, "other").folder,
    }
    assert len(folders) == 3
    assert not any(folder.exists() for folder in folders)
