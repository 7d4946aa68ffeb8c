"""Files are whole or not there, and a disk that refuses is explained."""

import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headstart.errors import StorageError
from headstart.run.atomic import numbering, replacing, storage_error, write_bytes, write_json, write_text


def write_half(path: Path, stop: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise stop


def test_it_writes_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "naïve\n")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")}
    assert len(modes) == 1


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_keeps_the_old_file_and_no_other(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "kept"
    write_text(path, "old")
    with pytest.raises(interruption, match="stop"):
        write_half(path, interruption("stop"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_name_is_hidden_short_enough_and_matches_no_pattern_of_the_final_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / ("写" * 80 + ".parquet")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".tmp"
        temporary.write_bytes(b"x")
    assert path.exists()


def test_many_threads_may_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_json(path, [n] * 1000), range(40)))
    assert len(set(json.loads(path.read_text()))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_order_and_scripts_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": ["犬", None, 0.1]})
    assert (
        path.read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": [\n    "犬",\n    null,\n    0.1\n  ]\n}\n'
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 1


def test_json_keeps_a_file_name_that_is_not_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "x.json", [name])
    assert json.loads((tmp_path / "x.json").read_bytes().decode("utf-8")) == [name]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_explained(tmp_path: Path, code: int) -> None:
    path = tmp_path / "x"
    match = rf"Can't write .*x: the disk is full: [\d.]+ MB left at {tmp_path}.*--out or --cache"
    with pytest.raises(StorageError, match=match):
        write_half(path, OSError(code, os.strerror(code)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EROFS, "this disk is read-only"),
        (errno.EACCES, "permission denied. Make .* writable"),
        (errno.EPERM, "permission denied"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.ENOTDIR, "a file stands where a folder should be"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_every_refusal_says_what_to_do(tmp_path: Path, code: int, words: str) -> None:
    error = storage_error(OSError(code, os.strerror(code)), tmp_path / "gone" / "x")
    with pytest.raises(StorageError, match=rf"Can't write .*gone.*x: {words}.*choose another folder"):
        raise error


def test_a_file_where_a_folder_should_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "deep" / "x"):
        with pytest.raises(StorageError, match="a file stands where a folder should be"):
            write_text(path, "")


def test_a_forbidden_folder_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, _: bytes) -> int:  # the superuser, as whom tests may run, is never refused
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(
        StorageError, match=rf"permission denied. Make {tmp_path} writable for you, or choose"
    ):
        write_text(tmp_path / "x", "")


def test_a_name_too_long_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the name is too long"):
        write_text(tmp_path / ("x" * 300), "")


def test_a_failure_to_read_elsewhere_is_not_called_a_failure_to_write(tmp_path: Path) -> None:
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/photo.jpg")
    with pytest.raises(PermissionError, match="photo"), replacing(tmp_path / "x"):
        raise elsewhere
    with pytest.raises(FileNotFoundError, match="absent"), replacing(tmp_path / "x"):
        (tmp_path / "absent").read_text()


def test_a_new_file_is_numbered_where_it_exists(tmp_path: Path) -> None:
    for wanted in ("grid.png", "grid-2.png", "grid-3.png"):
        with numbering(tmp_path / "new" / "grid.png") as path:
            write_bytes(path, wanted.encode())
        assert path.name == wanted
    assert (tmp_path / "new" / "grid.png").read_bytes() == b"grid.png"


def test_a_new_file_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="stop"), numbering(tmp_path / "grid.png"):
        raise KeyboardInterrupt("stop")
    assert not list(tmp_path.iterdir())
