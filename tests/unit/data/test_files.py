"""Finding image files and reading their headers, on good and on bad input."""

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.data import files
from headstart.data.files import (
    ImageFile,
    Skipped,
    find_images,
    list_folders,
    natural_key,
    probe_files,
    walk_images,
)
from headstart.progress import Advance, Silent


def write_image(path: Path, *, image_format: str = "PNG", size: tuple[int, int] = (8, 6)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path, image_format)
    return str(path)


def png_header(width: int, height: int) -> bytes:
    """The smallest PNG that claims a size: a header, and an empty data chunk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def probe(path: Path | str) -> ImageFile | Skipped:
    (found,) = probe_files([str(path)], progress=Silent())
    return found


def reason(path: Path | str) -> str:
    found = probe(path)
    assert isinstance(found, Skipped)
    assert found.path == str(path)
    return found.reason


def test_natural_key_counts_and_ignores_case() -> None:
    names = ["10", "2", "b", "A", "a", "B", "img12", "img2", "01", "1", ""]
    assert sorted(names, key=natural_key) == ["", "01", "1", "2", "10", "A", "a", "B", "b", "img2", "img12"]


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), unique=True))
def test_natural_order_does_not_depend_on_the_input_order(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    backwards = names[::-1]
    assert sorted(backwards, key=natural_key) == ordered
    assert sorted(ordered) == sorted(names)


@settings(deadline=None)
@given(st.integers(0, 10**30), st.integers(0, 10**30))
def test_natural_order_of_numbers_is_theirs(first: int, second: int) -> None:
    assert (natural_key(f"a{first}") < natural_key(f"a{second}")) == (first < second)


def test_finds_images_in_natural_order_and_tells_of_the_rest(tmp_path: Path) -> None:
    wanted = ["2/a.JPG", "10/deep/er/b.webp", "10/img2.jfif", "10/img10.tiff", "c.png"]
    others = ["10/deep/labels.csv", "notes.txt", "README"]
    ignored = [".hidden.png", ".git/x.png", "__MACOSX/y.png", "2/._a.jpg", "2/Thumbs.db", "Desktop.ini"]
    for name in [*wanted, *others, *ignored]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, skipped = find_images(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in found] == wanted
    assert skipped == [Skipped(str(tmp_path / name), "no image by its name") for name in others]
    assert list(walk_images(tmp_path)) == found  # whoever predicts a folder means its pictures
    assert list_folders(str(tmp_path)) == ["2", "10"]


@pytest.mark.parametrize(
    ("runs", "others", "found"),
    [
        ("results/one", [], []),
        ("one", [], []),
        ("runs/one", ["runs/photos-lr-find-1/lr-find.png"], []),
        ("cats/one", ["cats/a.png"], ["cats/a.png"]),
        ("results/one", ["results/two/b.png"], ["results/two/b.png"]),
    ],
)
def test_a_saved_run_holds_no_photographs(
    runs: str, others: list[str], found: list[str], tmp_path: Path
) -> None:
    saved = [f"{runs}/{name}" for name in ("confusion.png", "config.json", "split.parquet", "metrics.json")]
    for name in ["ants/a.png", *saved, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    wanted = ["ants/a.png", *found]
    assert [os.path.relpath(path, tmp_path) for path in find_images(tmp_path)[0]] == wanted
    assert list_folders(str(tmp_path)) == [name.partition("/")[0] for name in wanted]


def test_a_folder_that_lacks_a_file_of_a_run_is_none(tmp_path: Path) -> None:
    for name in ("one/confusion.png", "one/config.json", "one/split.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(find_images(tmp_path)[0]) == 1


def test_pictures_of_an_unsupported_format_are_reported(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").touch()
    found, skipped = find_images(tmp_path)
    assert found == []
    assert skipped == [
        Skipped(str(tmp_path / "IMG_1.HEIC"), ".heic is not supported; convert it to JPEG or PNG")
    ]


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "photos" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(Path("photos/../photos"))[0] == [str(tmp_path / "photos" / "a.png")]


def test_links_are_followed_but_loops_and_dangling_ones_are_skipped(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_image(outside / "a.png")
    root = tmp_path / "photos"
    write_image(root / "cat" / "b.png")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "far_up").symlink_to(tmp_path)
    (root / "cat" / "self").symlink_to(root / "cat" / "self")
    (root / "cat" / "gone.png").symlink_to(root / "nothing.png")
    (root / "cat" / "gone_folder").symlink_to(root / "nothing")
    (root / "cat" / "gone.txt").symlink_to(root / "nothing.txt")
    (root / "dog").symlink_to(outside)
    found, skipped = find_images(root)
    assert found == [str(root / "cat" / "b.png"), str(root / "dog" / "a.png")]
    assert skipped == [
        Skipped(str(root / "cat" / "far_up"), "a link that leads back to a folder above it"),
        Skipped(str(root / "cat" / "gone.png"), "dangling link"),
        Skipped(str(root / "cat" / "gone.txt"), "dangling link"),
        Skipped(str(root / "cat" / "gone_folder"), "dangling link"),
        Skipped(str(root / "cat" / "self"), "link loop"),
        Skipped(str(root / "cat" / "up"), "a link that leads back to a folder above it"),
    ]


def test_two_linked_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    write_image(tmp_path / "one" / "a.png")
    write_image(tmp_path / "two" / "b.png")
    (tmp_path / "one" / "x").symlink_to(tmp_path / "two")
    (tmp_path / "two" / "y").symlink_to(tmp_path / "one")
    found, skipped = find_images(tmp_path / "one")
    assert [Path(path).name for path in found] == ["a.png", "b.png"]
    assert skipped == [
        Skipped(str(tmp_path / "one" / "x" / "y"), "a link that leads back to a folder above it")
    ]


def test_unreadable_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "cat" / "a.png")
    locked = tmp_path / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path: str) -> "os._ScandirIterator[str]":
        if path == str(locked):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, skipped = find_images(tmp_path)
    assert len(found) == 1
    assert skipped == [Skipped(str(locked), "permission denied")]


def test_long_and_foreign_names(tmp_path: Path) -> None:
    long = "x" * 251 + ".png"
    names = [long, "катя 猫 🐈.png", "l'été\n.png"]
    paths = {write_image(tmp_path / name) for name in names}
    found, skipped = find_images(tmp_path)
    assert set(found) == paths
    assert skipped == []
    assert all(isinstance(result, ImageFile) for result in probe_files(found, progress=Silent()))


def test_names_that_are_not_utf8_are_skipped(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).touch()
    except OSError:
        pytest.skip("this file system refuses such names")
    found, skipped = find_images(tmp_path)
    assert found == []
    assert skipped == [
        Skipped(f"{tmp_path}/caf\ufffd.{kind}", "its name is not valid UTF-8; rename it")
        for kind in ("png", "txt")
    ]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_probe_reads_the_content_not_the_name(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "mislabelled.jpg"
    write_image(path, image_format=image_format)
    data = path.read_bytes()
    key = hashlib.sha256(data).hexdigest()[:32]
    assert probe(path) == ImageFile(str(path), key, image_format, 8, 6, len(data))


def test_size_is_the_stored_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    found = probe(tmp_path / "a.jpg")
    assert isinstance(found, ImageFile)
    assert (found.width_px, found.height_px) == (8, 6)


def test_odd_metadata_costs_neither_the_image_nor_a_warning(tmp_path: Path) -> None:
    def tag(number: int, count: int, *values: int) -> bytes:
        return struct.pack("<HHI", number, 3, count) + struct.pack("<HH", *(*values, 0)[:2])

    tags = [tag(256, 2, 8, 9), tag(257, 1, 6), tag(258, 1, 8), tag(259, 1, 1), tag(262, 1, 1), tag(273, 1, 0)]
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\x00" + struct.pack("<I", 8) + directory)
    found = probe(tmp_path / "a.tif")  # Pillow warns that the width has too many entries
    assert isinstance(found, ImageFile)
    assert (found.format, found.width_px, found.height_px) == ("TIFF", 8, 6)


def test_bad_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image at all, but long enough")
    (tmp_path / "cut.png").write_bytes(png_header(5, 5)[:14])
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JF")
    (tmp_path / "phone.jpg").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(20))
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    assert reason(tmp_path / "empty.jpg") == "zero bytes"
    assert reason(tmp_path / "text.jpg") == "not an image"
    assert reason(tmp_path / "cut.png") == "truncated or damaged PNG"
    assert reason(tmp_path / "cut.jpg") == "truncated or damaged JPEG"
    assert "convert it to JPEG" in reason(tmp_path / "phone.jpg")
    assert reason(tmp_path / "folder.jpg") == "a folder, not a file"
    assert reason(tmp_path / "gone.jpg") == "dangling link"
    assert reason(tmp_path / "nothing.jpg") == "no such file"
    assert "null" in reason("a\0b.jpg")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"


@pytest.mark.parametrize(
    ("side_px", "fits"), [(10_000, True), (13_377, True), (13_378, False), (60_000, False)]
)
def test_decompression_bombs_are_skipped_without_a_warning(tmp_path: Path, side_px: int, fits: bool) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side_px, side_px))
    found = probe(path)
    if fits:
        assert isinstance(found, ImageFile)
        assert found.width_px == side_px
    else:
        assert isinstance(found, Skipped)
        assert found.reason == f"{side_px**2:,} pixels, more than the limit of 178,956,970"


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png")
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    assert "bytes, more than the limit of 10" in reason(tmp_path / "a.png")


def test_unreadable_file_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png")

    def refuse(self: Path, *args: object, **kwargs: object) -> io.FileIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert reason(tmp_path / "a.png") == "permission denied"


def test_results_keep_the_order_and_progress_counts_all(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{n}.png", size=(1 + n, 1)) for n in range(100)]
    paths[70] = str(tmp_path / "missing.png")
    stages: list[tuple[str, int | None]] = []
    advanced: list[int] = []

    class Watcher(Silent):
        @contextmanager
        def stage(self, name: str, total: int | None) -> Iterator[Advance]:
            stages.append((name, total))
            yield advanced.append

    found = probe_files(paths, progress=Watcher())
    assert [item.path for item in found] == paths
    assert [n for n, item in enumerate(found) if isinstance(item, Skipped)] == [70]
    assert stages == [("Reading headers", 100)]
    assert sum(advanced) == 100
    assert probe_files([], progress=Silent()) == []
