"""The cache: how much it holds, and clearing it by part or by age."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from headstart.run.atomic import storage_error

Part = Literal["trunks", "features", "pixels"]
PARTS: tuple[Part, ...] = get_args(Part)

_PATTERNS: dict[Part, tuple[str, ...]] = {
    "trunks": (
        "*/trunk.*",
        "*/weights.safetensors",
        "*/speeds-*.json",
        "*/training-*.json",
        "*/.*.tmp",
        "names/*.json",
    ),
    "features": ("*/*/part-*.arrow", "*/*/.part-*.tmp"),
    "pixels": ("*/part-*.bin", "*/part-*.json", "*/.part-*.tmp"),
}
"""What Headstart writes there. Nothing else is counted or deleted, even where --cache names a folder
that has a `features` of its own."""


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
        files = _files(cache, part)
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
        old = [item for item in _files(cache, part) if item[2] <= limit]
        for path, _, _ in old:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(error, path) from error
        _remove_empty_folders(cache / part, [path for path, _, _ in old])
        deleted.append(PartSize(part, len(old), sum(size for _, size, _ in old)))
    return deleted


def _files(cache: Path, part: Part) -> list[tuple[Path, int, float]]:
    """Path, bytes and time of last use of every file of a part."""
    found = []
    for path in sorted({path for pattern in _PATTERNS[part] for path in (cache / part).glob(pattern)}):
        try:
            status = path.lstat()
        except FileNotFoundError:  # another process was faster
            continue
        if not path.is_dir() or path.is_symlink():
            found.append((path, status.st_size, max(status.st_mtime, status.st_atime)))
    return found


def _remove_empty_folders(top: Path, deleted: Iterable[Path]) -> None:
    """Remove the folders below `top` that hold nothing since these files are gone."""
    above = {folder for path in deleted for folder in path.parents if top in folder.parents}
    for folder in sorted(above, key=lambda folder: -len(folder.parts)):
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
