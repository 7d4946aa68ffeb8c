"""Full, read-only and forbidden places end in a message, and leave nothing half done."""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import Runner, paint_set, refused, small_disk, went_well


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
        refused(
            done, r"class 'c' has no readable images \(skipped: \S+/locked/c: permission denied\); mend that"
        )
        done = as_a_user("predict", pets_run, "locked", "--format", "csv", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stdout.endswith("locked/c,,,permission denied\n")
    with forbidden(root):
        done = as_a_user("train", "locked", cwd=tmp_path)
        refused(done, r"Can't read the folder \S+/locked: permission denied\. Check its permissions")
        done = as_a_user("predict", pets_run, "locked/a", "--format", "csv", cwd=tmp_path)
        assert (done.returncode, done.stdout.splitlines()[1:]) == (1, ["locked/a,,,permission denied"])


def test_a_folder_that_must_not_be_written(as_a_user: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=3, b=3)
    (tmp_path / "mine").mkdir()
    for words in (["cache"], ["cache", "--clear"], ["env"]):
        with forbidden(tmp_path / "mine"):
            done = as_a_user(*words, "--cache", "mine/cache", cwd=tmp_path)
        refused(done, r"permission denied: \S+/mine/cache/trunks\. Give yourself the right, or name another")
    with forbidden(tmp_path / "mine", 0o555):
        done = as_a_user("train", "set", "--out", "mine/run", cwd=tmp_path)
        refused(
            done,
            r"Can't write mine/run: permission denied\. Make \S+/mine writable for you, or choose another",
        )


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
    went_well(call("train", pets, "--out", "file"), r"Saved in file-2 after")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("place", ["/proc/run.csv", "/proc/none/run.csv"])
def test_a_place_of_the_systems_own_where_no_file_can_be_made(
    call: Runner, pets_run: Path, pets: Path, place: str
) -> None:
    for words in (["train", pets], ["predict", pets_run, pets]):
        done = call(*words, "--out", place)
        refused(done, rf"Can't write {place}: /proc takes no new files\. Choose another folder with --out")
    assert "Reading headers" not in call("train", pets, "--out", place).stderr


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_predictions_go_into_a_pipe_or_device_instead_of_its_place(
    call: Runner, pets_run: Path, pets: Path, tmp_path: Path, kind: str
) -> None:
    image = sorted((pets / "cats").iterdir())[0]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        done = call("predict", pets_run, image, "--out", pipe, "--format", kind)
    assert done.returncode == 0
    assert (b"PAR1" if kind == "parquet" else b"path,predicted,confidence,error") in read.result()
    assert pipe.is_fifo()


def test_predictions_take_the_place_of_what_a_link_leads_to(
    call: Runner, pets_run: Path, pets: Path, tmp_path: Path
) -> None:
    (tmp_path / "latest.csv").symlink_to("real.csv")
    assert call("predict", pets_run, pets / "cats", "--out", "latest.csv").returncode == 0
    assert (tmp_path / "latest.csv").is_symlink()
    assert len((tmp_path / "real.csv").read_text().splitlines()) == 21


@pytest.mark.parametrize("out", [".", "..", "", "HERE"])
def test_the_folder_that_one_is_in_is_no_run_folder_unless_empty(
    call: Runner, pets: Path, tmp_path: Path, out: str
) -> None:
    done = call("train", pets, "--out", tmp_path if out == "HERE" else out)
    refused(done, r"is where you are, or above it, and holds something; .* Name a folder that is to be made")
    assert "Reading headers" not in done.stderr
    assert list(tmp_path.iterdir()) == [pets]
