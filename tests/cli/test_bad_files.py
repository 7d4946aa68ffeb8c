"""Files that can't be used are skipped, counted and listed, or refused; odd names are no fault."""

import csv
import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from support import Runner, paint_set, pictures, refused, went_well


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of a hundred bytes that claims 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


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
    message = went_well(call("train", "pets"), r"of 41 images right")
    for name, reason in damaged.items():
        assert f"! 1 file skipped, {reason}: {pets}/{name}" in message
    saved = json.loads(Path("runs/pets-probe-1/metrics.json").read_text())["data"]["skipped"]
    assert {skip["path"]: skip["reason"] for skip in saved} == {
        f"{pets}/{name}": reason for name, reason in damaged.items()
    }


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_strict_refuses_them_and_lists_them_all_at_once(
    call: Runner, pets: Path, pets_run: Path, damaged: dict[str, str], command: str
) -> None:
    run = [pets_run] if command == "evaluate" else []
    message = refused(
        call(command, *run, "pets", "--strict"),
        r"7 of the files in \S+/pets can't be used, and strict reading was asked for\. Mend or remove them",
    )
    assert all(f"{pets}/{name}: {reason}" in message for name, reason in damaged.items())
    for name in damaged.keys() - {"cats/half.jpg"}:
        (pets / name).unlink()
    refused(
        call(command, *run, "pets", "--strict"),
        r"1 of the files in .* Mend or remove it, .*/cats/half\.jpg: truncated",
    )


def test_a_class_all_of_whose_files_are_damaged(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    (tmp_path / "set" / "c").mkdir()
    (tmp_path / "set" / "c" / "1.jpg").touch()
    refused(
        call("train", "set"), r"class 'c' has no readable images \(skipped: \S+/c/1\.jpg: zero bytes\); mend"
    )


def test_a_class_that_shrinks_to_one_image_when_decoded(call: Runner, pets: Path, small_set: Path) -> None:
    for path in pictures(pets / "cats")[2:]:
        path.unlink()
    broken = pictures(pets / "cats")[1]
    broken.write_bytes(broken.read_bytes()[:3000])
    refused(call("train", "pets"), r"class 'cats' has only 1 training image")


def test_unicode_and_very_long_names(call: Runner, small_set: Path, tmp_path: Path) -> None:
    long_class, long_file = "é" * 127 + "x", "n" * 251
    for name, label in (("cats", long_class), ("dogs", "日本語 и 🐕")):
        (tmp_path / "données" / label).mkdir(parents=True)
        for number, path in enumerate(sorted((small_set / name).iterdir())):
            target = f"{number:02}{long_file[2:]}.jpg" if number < 3 else path.name
            shutil.copy(path, tmp_path / "données" / label / target)
    went_well(call("train", "données"), "of 40 images right", r"Saved in runs/données-probe-1 after")
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
        assert "file name too long" in done.stdout
    else:
        refused(done, "(?i)file name too long")


def test_a_pipe_is_never_waited_for(
    headstart: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.csv")
    done = headstart("predict", pets_run, pictures(small_set)[0], "pipe.jpg", "--format", "csv", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith("\npipe.jpg,,,not a regular file\n")
    refused(headstart("train", "pipe.csv", cwd=tmp_path), r"\S+/pipe\.csv is neither a folder nor a manifest")


def test_an_empty_name_is_no_image(call: Runner, pets_run: Path) -> None:
    refused(call("predict", pets_run, ""), r"An image's name is empty\. Name files, folders or globs\.")


def test_a_run_name_that_has_no_room_is_refused_before_any_work(call: Runner, pets: Path) -> None:
    name = "é" * 120
    done = call("train", "pets", "--out", f"runs/{name}")
    refused(
        done, rf"Can't write runs/{name}: the name is too long\. Use a shorter one, or choose another folder"
    )
    assert "Listing" not in done.stderr
    assert not Path("runs").exists()


def test_control_characters_in_names_do_not_reach_the_terminal(
    call: Runner, pets: Path, pets_run: Path
) -> None:
    name = "red\x1b[31m\nline.jpg"
    (pets / "cats" / name).write_text("no image")
    shutil.copy(pictures(pets / "dogs")[0], pets / "dogs" / name)
    shown = r"red\x1b[31m\nline.jpg"
    done = call("train", "pets")
    assert f"! 1 file skipped, not an image: {pets}/cats/{shown}\n" in done.stdout
    done = call("predict", pets_run, pets / "dogs", pets / "cats" / name)
    assert f"{pets}/dogs/{shown} " in done.stdout
    assert f"{pets}/cats/{shown} " in done.stdout
    missing = call("predict", "no\x1b[31mrun", "x.jpg")
    refused(missing, re.escape(r"There is no run at no\x1b[31mrun"))
