"""Tell the folders of living processes from those that a kill left behind.

A process locks a file in its folder, and the system lets go of the lock when the process ends, however it
ends. Where locks don't work (Windows, some network disks) nothing counts as left behind.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"

_held: dict[Path, int] = {}  # descriptors of this process, whose trainings may end in an exception and go on


@dataclass(frozen=True, slots=True)
class Lock:
    """A folder's lock, held until it is released or the process ends; None where none could be had."""

    path: Path | None

    def release(self) -> None:
        """Let go, and remove the file, after which the folder may be renamed or deleted."""
        if self.path in _held:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(_held.pop(self.path))


def hold(folder: Path) -> Lock:
    """Lock a folder; a lock that this process has on it passes over.

    Raises:
        BlockingIOError: Another living process holds it.
        OSError: The folder can't be written.
    """
    path = folder.absolute() / LOCK_NAME
    if path in _held:
        os.close(_held.pop(path))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # no locks on this disk
        os.close(descriptor)
        path.unlink(missing_ok=True)
        return Lock(None)
    _held[path] = descriptor
    return Lock(path)


def is_left_behind(folder: Path) -> bool:
    """Whether a process that has ended held this folder, and nobody holds it now."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lock(descriptor: int) -> None:
    if fcntl is None:
        raise OSError("this system has no locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
