"""Write files whole or not at all: aside first, then renamed.

A reader never sees half a file, and a full disk or a kill leaves the old one.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from headstart.errors import StorageError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_WRITING = _FULL | {errno.EROFS}  # only writing can fail so
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.ENOENT}

_NAME_CHARS = 32  # of the final name, in the temporary one: a name must fit in 255 bytes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there takes its place at the end.

    Folders above `path` are made. On success the file is flushed to the disk and renamed, which
    replaces an older one in one step; on any failure, Ctrl-C included, it is removed and the older one
    stays. The temporary name is hidden, has no suffix of its own kind (it ends in `.tmp`), and is
    unique, so that threads and processes may write the same file at once: the last one wins.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    temporary = path.with_name(f"{_aside_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with converting_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextmanager
def numbering(path: Path) -> Iterator[Path]:
    """Give the name of a new file: `grid.png`, or `grid-2.png` if that exists, and so on.

    An empty file reserves the name, so that two processes never get the same one; on any failure it is
    removed. Fill it by `replacing`.

    Raises:
        StorageError: It can't be made there.
    """
    names = chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count(2)))
    with converting_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                name.touch(exist_ok=False)
            except FileExistsError:
                continue
            break
    try:
        yield name
    except BaseException:
        name.unlink()
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    r"""Write `text` to `path` in UTF-8 with `\n` line ends, whole or not at all.

    A file name that isn't valid Unicode arrives as lone surrogates, which UTF-8 can't hold: they are
    written as `\udcXX`, which in JSON means the same character again.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, obj: object) -> None:
    """Write `obj` as indented JSON in the order of its keys, whole or not at all.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
        ValueError: A number is NaN or infinite, which JSON can't hold; write None.
    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def converting_errors(path: Path) -> Iterator[None]:
    """Turn an OSError that means "can't write at `path`" into a StorageError; let others pass.

    A full or read-only disk always means that. A forbidden file does only if it lies at `path`'s
    folder: the code inside may also have failed to read a file of the user's elsewhere.

    Raises:
        StorageError: In place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if _is_about_writing(error, path):
            raise storage_error(error, path) from error
        raise


def storage_error(error: OSError, path: Path) -> StorageError:
    """Say what `error` means for writing `path`, and what to do about it."""
    move = "choose another folder with --out or --cache"
    if error.errno in _FULL:
        folder = _existing_folder(path)
        message = f"the disk is full: {_free_mb(folder):.1f} MB left at {folder}. Free some space, or {move}."
    elif error.errno == errno.EROFS:
        message = f"this disk is read-only. Make it writable, or {move}."
    elif error.errno in {errno.EACCES, errno.EPERM}:
        message = f"permission denied. Make {_existing_folder(path)} writable for you, or {move}."
    elif error.errno == errno.ENAMETOOLONG:
        message = f"the name is too long. Use a shorter one, or {move}."
    elif error.errno == errno.ENOENT:
        message = f"{_existing_folder(path)} takes no new files. {move.capitalize()}."
    elif error.errno in {errno.ENOTDIR, errno.EEXIST}:
        message = f"a file stands where a folder should be ({_blocking_file(path)}). Remove it, or {move}."
    else:
        message = f"{error.strerror or error}. See to that, or {move}."
    return StorageError(f"Can't write {path}: {message}")


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk, so that a power cut can't empty it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the folder's names are on the disk, where the system can do that."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some network disks refuse; the rename itself has happened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _aside_prefix(path: Path) -> str:
    """How the names begin under which `path` is written before it takes its own."""
    return f".{path.name[:_NAME_CHARS]}."


def _is_about_writing(error: OSError, path: Path) -> bool:
    if error.errno in _NO_WRITING:
        return True
    if error.errno == errno.EEXIST:
        return error.filename is not None and Path(os.fsdecode(error.filename)) == path.parent
    if error.errno not in _NO_ACCESS:
        return False
    if not isinstance(error.filename, str | bytes):
        return True
    named = Path(os.fsdecode(error.filename)).absolute()
    if error.errno == errno.ENOENT:  # of a system's own folders, such as /proc; else the reader's own miss
        return path.absolute().is_relative_to(named) or (
            named.parent == path.absolute().parent and named.name.startswith(_aside_prefix(path))
        )
    return named.is_relative_to(path.parent.absolute()) or path.absolute().is_relative_to(named)


def _existing_folder(path: Path) -> Path:
    """Return the nearest folder above `path` that exists."""
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError):
            if folder.is_dir():
                return folder
    return Path(path.absolute().anchor)


def _blocking_file(path: Path) -> Path:
    """Return the file above `path` that should be a folder."""
    above = (place for place in path.absolute().parents if os.path.lexists(place) and not place.is_dir())
    return next(above, path)


def _free_mb(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free / 1e6
    except OSError:
        return 0.0
