"""What is wrong with the user's input ends in a message that names it and the mend, and in exit 2."""

import contextlib
import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Done = subprocess.CompletedProcess[str]
Runner = Callable[..., Done]


def refused(done: Done, *patterns: str) -> str:
    """Check for exit 2 and nothing on standard output; every pattern must be in the message."""
    message = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())
    assert done.returncode == 2, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} not in {message!r}"
    return message


def trained(done: Done, *patterns: str) -> str:
    """Check that it went well; every pattern must be in what was printed."""
    assert done.returncode == 0, done.stderr
    message = " ".join(done.stdout.split())
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} not in {message!r}"
    return message


def paint(path: Path, seed: int, kind: str = "PNG") -> Path:
    """An image unlike those of other seeds, for what fails before anything is embedded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


def paint_set(root: Path, **counts: int) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            paint(root / name / f"{k}.png", 1000 * number + k)
    return root


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of a hundred bytes that claims 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def pets(small_set: Path, tmp_path: Path) -> Path:
    """A copy of the small set that a test may damage; its features are stored already."""
    return Path(shutil.copytree(small_set, tmp_path / "pets"))


# --- folders ---


def test_a_missing_folder_is_named_with_its_neighbours(headstart: Runner, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = headstart("train", "potos", cwd=tmp_path)
    refused(done, r"There is no \S+/potos\. Did you mean photos\?")


def test_a_missing_parent_folder_is_told(call: Runner) -> None:
    refused(call("train", "no/such"), r"There is no \S+/no/such: its parent folder doesn't exist")


def test_an_empty_folder_shows_the_layout_wanted(call: Runner, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    layout = (
        r"There are no images in \S+/empty\. Put the images into one folder per class, such as \S+/cat/1\.jpg"
    )
    refused(call("train", "empty"), layout)


def test_images_without_class_folders_are_told_apart_from_none(call: Runner, tmp_path: Path) -> None:
    paint(tmp_path / "flat" / "1.png", 1)
    refused(
        call("train", "flat"), r"The 1 image in \S+/flat has no class|The 1 images in \S+/flat have no class"
    )


def test_one_class_only(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "one", cats=4)
    refused(
        call("train", "one"), r"only one class has training images, 'cats'; a classifier needs two or more"
    )


def test_a_class_with_one_image_and_one_with_none_are_told_together(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "few", a=3, b=3, c=1, d=0)
    refused(
        call("train", "few"),
        r"class 'c' has only 1 training image, \S+/few/c/0\.png; add more \(2 at the least\)",
        r"class 'd' has no readable images; add some, or remove its folder",
    )


def test_a_class_that_stands_only_in_test(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "split" / "train", a=3, b=3)
    paint_set(tmp_path / "split" / "test", a=1, b=1, c=2)
    refused(call("train", "split"), r"class 'c' appears only in test; add training images of it")


def test_a_file_that_is_neither_folder_nor_manifest(call: Runner, tmp_path: Path) -> None:
    paint(tmp_path / "cat.png", 1)
    refused(call("train", "cat.png"), r"\S+/cat\.png is neither a folder nor a manifest\. Name a folder")


# --- files ---


@pytest.fixture
def damaged(pets: Path) -> dict[str, str]:
    """Put one file of each kind that can't be used into the copy; returns their reasons."""
    whole = pictures(pets)[0].read_bytes()
    (pets / "cats" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (pets / "cats" / "zero.jpg").touch()
    (pets / "dogs" / "text.png").write_text("hello")
    (pets / "dogs" / "huge.png").write_bytes(bomb())
    (pets / "cats" / "dangling.jpg").symlink_to("gone.jpg")
    (pets / "cats" / "loop.jpg").symlink_to("loop.jpg")
    (pets / "cats" / "up").symlink_to("..")
    with Image.open(pictures(pets)[1]) as image:
        image.save(pets / "cats" / "a png.jpg", "PNG")  # a wrong name is no damage
    return {
        "cats/half.jpg": "truncated",
        "cats/zero.jpg": "zero bytes",
        "dogs/text.png": "not an image",
        "dogs/huge.png": "900,000,000 pixels, more than the limit of 178,956,970",
        "cats/dangling.jpg": "dangling link",
        "cats/loop.jpg": "link loop",
        "cats/up": "a link that leads back to a folder above it",
    }


def test_files_that_cannot_be_used_are_skipped_counted_and_listed(
    call: Runner, pets: Path, damaged: dict[str, str]
) -> None:
    message = trained(call("train", "pets"), r"of 41 images right")
    for name, reason in damaged.items():
        assert f"! 1 file skipped, {reason}: {pets}/{name}" in message
    saved = json.loads(Path("runs/pets-probe-1/metrics.json").read_text())["data"]["skipped"]
    assert {skip["path"]: skip["reason"] for skip in saved} == {
        f"{pets}/{name}": reason for name, reason in damaged.items()
    }


def test_strict_refuses_them_and_lists_them(call: Runner, pets: Path, damaged: dict[str, str]) -> None:
    message = refused(
        call("train", "pets", "--strict"),
        r"6 of the files in \S+/pets can't be used, and strict reading was asked for\. Mend or remove them",
    )
    in_headers = {name: reason for name, reason in damaged.items() if reason != "truncated"}
    assert all(f"{pets}/{name}: {reason}" in message for name, reason in in_headers.items())
    for name in in_headers:
        (pets / name).unlink()
    # only decoding shows the last one
    refused(
        call("train", "pets", "--strict"),
        r"1 of the files in .* Mend or remove it, .*/cats/half\.jpg: truncated",
    )


def test_a_class_all_of_whose_files_are_damaged(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    (tmp_path / "set" / "c").mkdir()
    (tmp_path / "set" / "c" / "1.jpg").touch()
    refused(call("train", "set"), r"class 'c' has no readable images \(skipped: \S+/c/1\.jpg: zero bytes\)")


def test_a_class_that_shrinks_to_one_image_when_decoded(call: Runner, pets: Path, small_set: Path) -> None:
    for path in pictures(pets / "cats")[2:]:
        path.unlink()
    broken = pictures(pets / "cats")[1]
    broken.write_bytes(broken.read_bytes()[:3000])
    refused(call("train", "pets"), r"class 'cats' has only 1 training image")


@pytest.fixture
def as_a_user(headstart: Runner, environment: dict[str, str], cache: Path) -> Runner:
    """Run without the right to ignore permissions, which root has."""
    setpriv = shutil.which("setpriv")
    if os.geteuid():
        return headstart
    if not setpriv:
        pytest.skip("root ignores permissions, and setpriv isn't there to give that up")

    def run(*words: str | Path, cwd: Path) -> Done:
        command = [setpriv, "--bounding-set=-all", "--inh-caps=-all", "--"]
        command += [sys.executable, "-m", "headstart", *map(str, words), "--cache", str(cache)]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@contextlib.contextmanager
def forbidden(folder: Path, mode: int = 0) -> Iterator[None]:
    folder.chmod(mode)
    try:
        yield
    finally:
        folder.chmod(0o755)


def test_an_unreadable_folder(as_a_user: Runner, pets_run: Path, tmp_path: Path) -> None:
    root = paint_set(tmp_path / "locked", a=3, b=3, c=3)
    with forbidden(root / "c"):
        done = as_a_user("train", "locked", cwd=tmp_path)
        refused(done, r"class 'c' has no readable images \(skipped: \S+/locked/c: permission denied\)")
        done = as_a_user("predict", pets_run, "locked", "--format", "csv", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stdout.endswith("locked/c,,,permission denied\n")
    with forbidden(root):
        done = as_a_user("train", "locked", cwd=tmp_path)
        refused(done, r"Can't read the folder \S+/locked: permission denied\. Check its permissions")
        done = as_a_user("predict", pets_run, "locked/a", "--format", "csv", cwd=tmp_path)
        assert (done.returncode, done.stdout.splitlines()[1:]) == (1, ["locked/a,,,Permission denied"])


def test_a_folder_that_must_not_be_written(as_a_user: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    (tmp_path / "mine").mkdir()
    with forbidden(tmp_path / "mine", 0o555):
        done = as_a_user("train", "set", "--out", "mine/run", cwd=tmp_path)
        refused(
            done,
            r"Can't write mine/run: permission denied\. Make \S+/mine writable for you, or choose another",
        )


def test_unicode_and_very_long_names(call: Runner, small_set: Path, tmp_path: Path) -> None:
    long_class, long_file = "é" * 127 + "x", "n" * 251
    for name, label in (("cats", long_class), ("dogs", "日本語 и 🐕")):
        (tmp_path / "données" / label).mkdir(parents=True)
        for number, path in enumerate(sorted((small_set / name).iterdir())):
            target = f"{number:02}{long_file[2:]}.jpg" if number < 3 else path.name
            shutil.copy(path, tmp_path / "données" / label / target)
    trained(call("train", "données"), "of 40 images right", r"Saved in runs/données-probe-1 after")
    done = call("predict", "runs/données-probe-1", "données", "--format", "csv")
    assert done.returncode == 0
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [Path(row["path"]).parent.name for row in rows] == [row["predicted"] for row in rows]


@pytest.mark.parametrize(
    "words", [["train", "LONG"], ["predict", "RUN", "LONG"], ["predict", "LONG", "PETS"]]
)
def test_a_name_too_long_for_any_file(
    words: list[str], call: Runner, pets_run: Path, small_set: Path
) -> None:
    names = {"LONG": "x" * 300, "RUN": str(pets_run), "PETS": str(small_set)}
    done = call(*(names.get(word, word) for word in words))
    if words[1] == "RUN":
        assert done.returncode == 1
        assert "File name too long" in done.stdout
    else:
        refused(done, "(?i)file name too long")


# --- disks ---


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[bool]:
    """Mount a tiny disk there, if the system lets us."""
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = [str(mount), "-t", "tmpfs", "-o", options, "none", str(folder)]
    is_mounted = (
        bool(mount and unmount) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run([str(unmount), str(folder)], check=True, timeout=30)


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 100 kB; where none can be mounted, one that is full when asked to keep what it was given."""
    with small_disk(tmp_path / "disk", "size=100k") as is_real:
        if not is_real:
            monkeypatch.setattr(os, "fsync", _full)
        yield tmp_path / "disk"


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_for_the_run(call: Runner, pets_run: Path, pets: Path, full_disk: Path) -> None:
    refused(
        call("train", pets, "--out", full_disk / "run"),
        r"Can't write \S+/disk/.*: the disk is full: \d+\.\d MB left at \S+/disk.*\. Free some space, or "
        "choose another folder with --out or --cache",
    )
    assert list(full_disk.iterdir()) == []


def test_a_full_disk_for_the_cache(
    call: Runner, pets_run: Path, pets: Path, full_disk: Path, cache: Path, tmp_path: Path
) -> None:
    (full_disk / "trunks").symlink_to(cache / "trunks")
    refused(
        call("train", pets, "--out", tmp_path / "run", "--cache", full_disk),
        r"Can't write \S+/disk/features/\S+/part-\w+\.arrow: the disk is full: .* Free some space",
    )
    assert not (tmp_path / "run").exists()
    assert not [path for path in (full_disk / "features").rglob("*") if path.is_file()]


@pytest.mark.parametrize("out", [".", "answers"])
def test_a_folder_in_place_of_the_file_of_predictions(
    headstart: Runner, pets_run: Path, pets: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "answers").mkdir()
    done = headstart("predict", pets_run, pets, "--out", out, cwd=tmp_path)
    refused(done, rf"--out {re.escape(out)} is a folder; name a file in it, such as \S*predictions\.csv")
    assert not [*tmp_path.glob(".*"), *(tmp_path / "answers").iterdir()]


def test_a_full_disk_for_predictions(call: Runner, pets_run: Path, pets: Path, full_disk: Path) -> None:
    if os.path.ismount(full_disk):
        (full_disk / "fill").write_bytes(b"x" * 100 * 1024)
    for kind in ("csv", "parquet"):
        done = call("predict", pets_run, pets, "--out", full_disk / f"answers.{kind}")
        refused(done, rf"Can't write \S+/disk/answers\.{kind}: the disk is full")
    assert {path.name for path in full_disk.iterdir()} <= {"fill"}


@pytest.fixture
def read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A read-only disk; where none can be mounted, a folder in which nothing can be made."""
    disk = tmp_path / "archive"
    with small_disk(disk, "size=1m") as is_real:
        remount = ["mount", "-o", "remount,ro", str(disk)]
        if not is_real or subprocess.run(remount, capture_output=True, check=False).returncode:
            monkeypatch.setattr(Path, "mkdir", _unless_below(disk, Path.mkdir))
            monkeypatch.setattr(tempfile, "TemporaryFile", _unless_below(disk, tempfile.TemporaryFile))
        yield disk


def _unless_below(folder: Path, function: Callable[..., object]) -> Callable[..., object]:
    def refusing(*places: object, **named: object) -> object:
        place = Path(str(named.get("dir") or places[0])).absolute()
        if place.is_relative_to(folder):
            raise OSError(30, "Read-only file system", str(place))
        return function(*places, **named)

    return refusing


def test_a_read_only_disk(call: Runner, pets_run: Path, pets: Path, read_only_disk: Path) -> None:
    mend = r"this disk is read-only\. Make it writable, or choose another folder with --out or --cache"
    done = call("train", pets, "--out", read_only_disk / "run")
    refused(done, rf"Can't write \S+/archive/run: {mend}")
    assert "Reading headers" not in done.stderr  # said at once, not after the work
    refused(
        call("train", pets, "--cache", read_only_disk / "cache"),
        rf"Can't write \S+/archive/cache/trunks: {mend}",
    )
    refused(
        call("predict", pets_run, pets, "--out", read_only_disk / "a.csv"), rf"Can't write \S+/a\.csv: {mend}"
    )
    refused(call("demo", read_only_disk / "demo"), rf"Can't write \S+/0000\.png: {mend}")
    with contextlib.chdir(read_only_disk):
        refused(call("train", pets), rf"Can't write runs/\S+: {mend}")


def test_a_file_where_a_folder_should_be(call: Runner, pets_run: Path, pets: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    mend = r"a file stands where a folder should be \(\S+/file\)\. Remove it, or choose another"
    refused(call("train", pets, "--out", "file/run"), rf"Can't write file/run: {mend}")
    refused(call("train", pets, "--cache", "file"), rf"Can't write \S+/file/trunks: {mend}")
    trained(call("train", pets, "--out", "file"), r"Saved in file-2 after")
    assert (tmp_path / "file").read_text() == "mine"


# --- manifests ---


def write_csv(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("file", "class"), ("a.jpg", "x")],
            r"lacks the columns 'path', 'label'; it has 'file', 'class'\. Name the columns path,label",
        ),
        ([("path",), ("a.jpg",)], r"lacks the column 'label'; it has 'path'"),
        ([("path", "label")], r"has no rows\. Add one for each image"),
        (
            [("path", "label"), ("a.png", ""), ("", "x"), ("b.png", "x")],
            r"has 2 problems; mend and try again: line 2: the label is empty line 3: the path is empty",
        ),
        (
            [("path", "label"), ("a.png", "x"), ("b.png", "y"), ("a.png", "y")],
            r"has 1 problem; .* line 4: a\.png is labelled 'y', but 'x' in line 2",
        ),
        (
            [("path", "label", "split"), ("a.png", "x", "dev")],
            r"line 2: unknown split 'dev' \(known: train, val",
        ),
        (
            [("path", "label"), ("no/a.png", "x"), ("no/b.png", "y")],
            r"None of the 2 images in the manifest \S+ exists; the first would be \S+/no/a\.png\. Rel",
        ),
    ],
)
def test_a_manifest_with_problems(
    rows: list[tuple[str, ...]], message: str, call: Runner, tmp_path: Path
) -> None:
    write_csv(tmp_path / "m.csv", *rows)
    refused(call("train", "m.csv"), message, r"manifest \S+/m\.csv")


def test_a_parquet_manifest_with_problems(call: Runner, tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.png", None], "label": [None, "x"]}), tmp_path / "m.parquet")
    refused(call("train", "m.parquet"), r"row 1: the label is empty row 2: the path is empty")
    (tmp_path / "junk.parquet").write_text("junk")
    refused(call("train", "junk.parquet"), r"\S+/junk\.parquet is not a readable Parquet file")


def test_paths_missing_from_a_manifest_are_skipped_or_refused(
    call: Runner, pets: Path, tmp_path: Path
) -> None:
    rows = [(str(path), path.parent.name) for path in pictures(pets)]
    write_csv(tmp_path / "m.csv", ("path", "label"), *rows, ("gone.jpg", "cats"), ("lost.jpg", "dogs"))
    trained(
        call("train", "m.csv"),
        "of 40 images right",
        rf"! 2 files skipped, no such file: {tmp_path}/gone\.jpg, {tmp_path}/lost\.jpg",
    )
    refused(
        call("train", "m.csv", "--strict"),
        r"2 of the files in .*m\.csv can't be used, .*gone\.jpg: no such file",
    )


# --- copies ---


def test_the_same_image_under_two_labels_is_a_conflict(call: Runner, pets: Path) -> None:
    both = pictures(pets / "cats")[0]
    shutil.copy(both, pets / "dogs" / "same.jpg")
    trained(
        call("train", "pets"),
        rf"! conflict: the same image is labelled 'cats' and 'dogs': {both}, {pets}/dogs/same\.jpg",
        r"! 1 training image repeats others or belongs to their group; each group stays in one fold",
    )
    (conflict,) = json.loads(Path("runs/pets-probe-1/metrics.json").read_text())["data"]["conflicts"]
    assert conflict["labels"] == ["cats", "dogs"]


def test_copies_in_train_and_test_are_leakage_resized_ones_too(
    call: Runner, small_set: Path, tmp_path: Path
) -> None:
    for name in ("cats", "dogs"):
        files = sorted((small_set / name).iterdir())
        for split, some in (("train", files[:15]), ("test", files[15:])):
            (tmp_path / "split" / split / name).mkdir(parents=True)
            for path in some:
                shutil.copy(path, tmp_path / "split" / split / name)
    clean = trained(call("train", "split"), "of 10 test images right")
    assert "leakage" not in clean
    first, second = sorted((tmp_path / "split" / "train" / "cats").iterdir())[:2]
    shutil.copy(first, tmp_path / "split" / "test" / "cats" / "copy.jpg")
    trained(
        call("train", "split"),
        r"! leakage: 1 test image has a copy, a near-duplicate or one of the same group in training, so the "
        rf"test number flatters: {tmp_path}/split/test/cats/copy\.jpg",
    )
    with Image.open(second) as image:
        half = image.convert("RGB").resize((image.width * 7 // 10, image.height * 7 // 10))
        half.save(tmp_path / "split" / "test" / "cats" / "small.jpg", quality=80)
    trained(
        call("train", "split"), r"leakage: 2 test images have a copy, .*/cats/copy\.jpg, \S+/cats/small\.jpg"
    )
    leaked = json.loads(Path("runs/split-probe-3/metrics.json").read_text())["data"]["leaked"]
    assert [Path(path).name for path in leaked] == ["copy.jpg", "small.jpg"]


def test_a_class_of_identical_copies_is_told_to_be_one_picture(call: Runner, pets: Path) -> None:
    first, *others = pictures(pets / "cats")
    for path in others:
        shutil.copy(first, path)
    trained(
        call("train", "pets"),
        r"! class 'cats' has one picture in effect: all of its 20 training images are copies, .* so "
        r"cross-validation can't tell how well it is found\. Add different images",
        r"! 19 training images repeat others",
    )


def test_copies_of_one_picture_in_all_classes_leave_nothing_to_measure(call: Runner, pets: Path) -> None:
    first, *others = pictures(pets)
    for path in others:
        shutil.copy(first, path)
    refused(
        call("train", "pets"),
        r"All training images of \S+/pets belong to one group of copies .* Add different",
    )


# --- small sets ---


def test_three_images_a_class_with_five_folds(call: Runner, pets: Path) -> None:
    for name in ("cats", "dogs"):
        for path in pictures(pets / name)[3:]:
            path.unlink()
    trained(
        call("train", "pets", "--folds", "5"),
        r"of 6 images right",
        r"With 6 images, one more or fewer right moves the accuracy by 16\.7 points",
    )


def test_thirty_classes_of_three_images(
    headstart: Runner, call: Runner, photo_sets: Path, tmp_path: Path
) -> None:
    source = sorted((photo_sets / "cats_dogs" / "train" / "cats").iterdir())[20:110]
    for number, path in enumerate(source):
        (tmp_path / "many" / f"cat {number // 3}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "many" / f"cat {number // 3}" / path.name)
    trained(
        call("train", "many"), r"of 90 images right", r"has only 3 images: .* 30 classes have fewer than 30\."
    )
    done = call("predict", "runs/many-probe-1", "many", "--format", "csv", "--top", "30")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 90
    assert all(row["class_30"] for row in rows)


def test_one_test_image_is_counted_in_the_singular(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "one" / "cats").mkdir(parents=True)
    shutil.copy(pictures(small_set)[0], tmp_path / "one" / "cats")
    trained(call("evaluate", pets_run, "one"), r"of 1 test image right")


# --- runs ---


def test_a_class_unknown_to_the_model(call: Runner, pets_run: Path, pets: Path) -> None:
    (pets / "dogs").rename(pets / "hounds")
    (pets / "birds").mkdir()
    shutil.move(pictures(pets / "cats")[0], pets / "birds")
    refused(
        call("evaluate", pets_run, "pets"),
        r"\S+/pets has classes that the model does not know: 'birds' \(1 image\), 'hounds' \(20 images\)\. "
        r"It knows 'cats', 'dogs'\. Rename the folders, or train with these classes",
    )


def test_no_run_there(call: Runner, pets_run: Path, small_set: Path) -> None:
    refused(
        call("predict", pets_run.parent / "pets-prob-1", small_set),
        rf"There is no run at .* Like it in \S+: {pets_run}",
    )
    refused(
        call("predict", small_set, small_set),
        r"\S+/pets is not a run: it lacks config\.json and model\.safetensors",
    )
    refused(
        call("evaluate", pets_run / "config.json", small_set), r"config\.json is a file; a run is a folder"
    )
    refused(
        call("predict", "none", small_set),
        r"There is no run at none\. Make one with `headstart train PHOTOS`",
    )


def damage(path: Path, place: float) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 4
    path.write_bytes(data)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda run: os.truncate(run / "model.safetensors", 100_000),
            r"model\.safetensors can't be read: .* Train again",
        ),
        (
            lambda run: damage(run / "model.safetensors", 0.5),
            r"model\.safetensors is damaged or was changed: its tensors",
        ),
        (
            lambda run: damage(run / "model.safetensors", 0.9999),
            r"model\.safetensors is damaged or was changed",
        ),
        (
            lambda run: (run / "model.safetensors").unlink(),
            r"broken is not a run: it lacks model\.safetensors",
        ),
        (
            lambda run: (run / "config.json").write_text('{"format_ve'),
            r"config\.json is damaged, perhaps truncated",
        ),
        (lambda run: (run / "config.json").write_bytes(b"\xff\xfe\0"), r"config\.json is damaged"),
        (
            lambda run: (run / "config.json").write_text("[]"),
            r"config\.json must hold a JSON object, not list",
        ),
        (lambda run: (run / "config.json").write_text("{}"), r"config\.json lacks 'format_version'"),
        (
            lambda run: (run / "config.json").write_text('{"format_version": 1}'),
            r"lacks or garbles 'headstart'",
        ),
        (
            lambda run: edit(run / "config.json", '"format_version": 1', '"format_version": 9'),
            r"format version 9, and this Headstart reads up to 1\. Upgrade it",
        ),
        (
            lambda run: edit(run / "config.json", '"cats",', '"cats", "more",'),
            r"has a head for 2 classes of 1280 features, but config\.json names 3 classes",
        ),
        (
            lambda run: edit(run / "config.json", '"temperature": ', '"temperature": "hot", "was": '),
            r"garbles .*'hot'",
        ),
        (
            lambda run: edit(run / "config.json", '"runtime": "', '"runtime": "abacus-'),
            r"config\.json lacks or garbles the runtime 'abacus-",
        ),
    ],
    ids=[
        "truncated weights",
        "a flipped bit",
        "a flipped bit in the head",
        "no weights",
        "truncated config",
        "binary config",
        "a list",
        "an empty object",
        "no headstart",
        "a newer version",
        "a class too many",
        "a wrong temperature",
        "an unknown runtime",
    ],
)
def test_a_damaged_bundle(
    harm: Callable[[Path], object],
    message: str,
    call: Runner,
    pets_run: Path,
    small_set: Path,
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(pets_run, tmp_path / "broken"))
    harm(run)
    refused(call("predict", "broken", pictures(small_set)[0]), message)


def test_a_bundle_predicts_without_the_rest_of_its_run(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(pets_run / name, tmp_path / "bundle")
    assert call("predict", "bundle", pictures(small_set)[0]).returncode == 0


# --- the cache ---


@pytest.fixture
def own_cache(cache: Path, pets_run: Path, tmp_path: Path) -> Path:
    """A cache that a test may damage: the default trunk, and the features of the small set alone."""
    (tmp_path / "own" / "trunks").mkdir(parents=True)
    for trunk in (cache / "trunks").glob("tf_efficientnet_lite0-*"):
        shutil.copytree(trunk, tmp_path / "own" / "trunks" / trunk.name)
    return tmp_path / "own"


def test_damaged_features_are_embedded_again(call: Runner, small_set: Path, own_cache: Path) -> None:
    words = ["train", small_set, "--json", "--cache", own_cache]
    metrics = json.loads(call(*words).stdout)["metrics"]
    parts = pictures(own_cache / "features")
    before = {part: part.read_bytes() for part in parts}
    os.truncate(parts[0], parts[0].stat().st_size // 2)
    damage(parts[1], 0.5)
    done = call(*words)
    assert "Embedding images: 40 in" in done.stderr
    assert json.loads(done.stdout)["metrics"] == metrics
    assert {part: part.read_bytes() for part in pictures(own_cache / "features")} == before


def test_a_damaged_trunk_is_made_again(
    call: Runner, small_set: Path, pets_run: Path, own_cache: Path
) -> None:
    words = ["predict", pets_run, small_set / "cats", "--format", "csv", "--cache", own_cache]
    answers = call(*words).stdout
    (trunk,) = (own_cache / "trunks").glob("tf_efficientnet_lite0-*")
    damage(trunk / "trunk.bin", 0.5)
    os.truncate(trunk / "weights.safetensors", 1000)
    done = call(*words)
    assert done.returncode == 0
    assert "Converting" in done.stderr
    assert done.stdout == answers
    assert "Converting" not in call(*words).stderr


# --- settings ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test-fraction", "2"], r"--test-fraction must lie above 0 and at most 0\.9, not 2\.0"),
        (["--test-fraction", "0"], r"--test-fraction must lie above 0 and at most 0\.9, not 0\.0"),
        (["--test-fraction", "-1"], r"--test-fraction must lie above 0 and at most 0\.9, not -1\.0"),
        (["--test-fraction", "nan"], r"--test-fraction must lie above 0 and at most 0\.9, not nan"),
        (
            ["--test-fraction", "abc"],
            r'Invalid value for --test-fraction: unable to convert "abc" into float',
        ),
        (["--folds", "1"], r"--folds must lie between 3 and 20, not 1"),
        (["--folds", "2.5"], r"--folds"),
        (["--seed", "-1"], r"--seed must lie between 0 and 2\^32 - 1, not -1"),
        (["--folds", "99", "--seed", "-1"], r"--folds must .* not 99; --seed must .* not -1"),
        (["--mirror", "maybe"], r'Invalid value "maybe" for --mirror\. Choose from: "auto", "on", "off"'),
        (
            ["--runtime", "abacus"],
            r'Invalid value "abacus" for --runtime\. Choose from: "auto", "openvino-bf16"',
        ),
        (["--budget", "banana"], r"Unknown option: --budget"),
        (["--epochs", "-3"], r"--epochs must be at least 1, not -3"),
        (["--epochs", "3"], r"--epochs: the probe trains no backbone"),
        (["--model", "lite9"], r"No backbone is called 'lite9'\. Did you mean lite\d"),
        (["--model", "resnet5"], r"No backbone is called 'resnet5'\. Did you mean resnet50"),
        (["--model", "lite0@gone.pth"], r"No weights file 'gone\.pth' \(from --model lite0@gone\.pth\)"),
        (["--test-fractoin", "0.2"], r"Unknown option: --test-fractoin\. Did you mean --test-fraction\?"),
    ],
)
def test_nonsense_values_of_train(words: list[str], message: str, call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    refused(call("train", "set", *words), message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "0"], r"--top must be at least 1, not 0"),
        (["--unknown-below", "2"], r"--unknown-below must lie between 0 and 1, not 2\.0"),
        (["--unknown-below", "nan"], r"--unknown-below must lie between 0 and 1, not nan"),
        (["--top", "-1", "--unknown-below", "-1"], r"--top must be .*; --unknown-below must lie"),
        (
            ["--format", "xml"],
            r'Invalid value "xml" for --format\. Choose from: "table", "csv", "jsonl", "parquet"',
        ),
        (["--format", "parquet"], r"--format parquet needs --out FILE"),
    ],
)
def test_nonsense_values_of_predict(
    words: list[str], message: str, call: Runner, pets_run: Path, small_set: Path
) -> None:
    refused(call("predict", pets_run, small_set, *words), message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["*.tiff"], r"Nothing matches \*\.tiff"),
        (["empty"], r"The folder empty has no images in it"),
        (["-"], r"No images to predict\. Name files, folders or globs, or - for a list"),
        ([], r"predict.*--images.*requires an argument"),
    ],
)
def test_nothing_to_predict(
    inputs: list[str], message: str, headstart: Runner, pets_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    refused(headstart("predict", pets_run, *inputs, cwd=tmp_path), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--older-than", "3"], r"--older-than goes with --clear"),
        (["--clear", "--older-than", "-1"], r"--older-than takes days, 0 or more, not -1"),
        (["--clear", "--older-than", "nan"], r"--older-than takes days, 0 or more, not nan"),
        (
            ["--part", "junk"],
            r'Invalid value "junk" for --part\. Choose from: "trunks", "features", "pixels"',
        ),
    ],
)
def test_nonsense_values_of_cache(words: list[str], message: str, call: Runner, tmp_path: Path) -> None:
    refused(call("cache", *words, "--cache", tmp_path), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "photos"], r'Unknown command "trian"\. Did you mean "train"\?'),
        (["train"], r'"train" parameter --data requires an argument'),
        (["train", "a", "b"], r"Unused|Unexpected|unused|unexpected"),
    ],
)
def test_words_that_make_no_command(
    words: list[str], message: str, headstart: Runner, tmp_path: Path
) -> None:
    refused(headstart(*words, cwd=tmp_path), message)


def test_test_fraction_beside_a_test_split(call: Runner, small_set: Path, tmp_path: Path) -> None:
    shutil.copytree(small_set, tmp_path / "split" / "train")
    for name in ("cats", "dogs"):
        (tmp_path / "split" / "test" / name).mkdir(parents=True)
        for path in sorted((tmp_path / "split" / "train" / name).iterdir())[:4]:
            shutil.move(path, tmp_path / "split" / "test" / name)
    refused(
        call("train", "split", "--test-fraction", "0.2"),
        r"\S+/split has a test split of its own, so --test-fraction 0\.2 would make a second one\. Leave it",
    )
