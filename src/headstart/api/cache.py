"""The cache: how much it holds, and clearing it by part or by age."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from headstart.run.atomic import storage_error

Part = Literal["trunks", "features", "pixels"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class PartSize:
    """What one part of the cache holds."""

    part: Part
    files: int
    size_bytes: int


def measure_cache(cache: Path) -> list[PartSize]:
    """Count files and bytes of each part."""
    sizes = []
    for part in PARTS:
        files = _files(cache / part)
        sizes.append(PartSize(part, len(files), sum(size for _, size, _ in files)))
    return sizes


def clear_cache(
    cache: Path, parts: tuple[Part, ...] = PARTS, *, older_than_days: float = 0.0
) -> list[PartSize]:
    """Delete files of these parts that were last used before; nothing else in the folder is touched.

    Returns:
        What was deleted.

    Raises:
        StorageError: A file can't be deleted.
    """
    limit = time.time() - older_than_days * 86_400
    deleted = []
    for part in parts:
        old = [item for item in _files(cache / part) if item[2] <= limit]
        for path, _, _ in old:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(error, path) from error
        _remove_empty_folders(cache / part)
        deleted.append(PartSize(part, len(old), sum(size for _, size, _ in old)))
    return deleted


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    """Path, bytes and time of last use of every file below a folder."""
    found = []
    for path in folder.rglob("*") if folder.is_dir() else []:
        try:
            status = path.lstat()
        except FileNotFoundError:  # another process was faster
            continue
        if not path.is_dir() or path.is_symlink():
            found.append((path, status.st_size, max(status.st_mtime, status.st_atime)))
    return found


def _remove_empty_folders(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)
