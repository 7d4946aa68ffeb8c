"""Tell the folders of living processes from those that a kill left behind.

A process locks a file in its folder, and the system lets go of the lock when the process ends, however it
ends. Where locks don't work (Windows, some network disks) nothing counts as left behind.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"

_held: dict[str, BinaryIO] = {}  # by this process, whose trainings may end in an exception and go on


@dataclass(frozen=True, slots=True)
class Lock:
    """A folder's lock, held until it is released or the process ends; without a file, none could be had."""

    file: BinaryIO | None

    def release(self) -> None:
        """Let go, and remove the file, after which the folder may be renamed or deleted."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                Path(self.file.name).unlink()
            self.file.close()
            _held.pop(self.file.name, None)


def hold(folder: Path) -> Lock:
    """Lock a folder; a lock that this process has on it passes over.

    Raises:
        BlockingIOError: Another living process holds it.
        OSError: The folder can't be written.
    """
    path = str(folder.absolute() / LOCK_NAME)
    if path in _held:
        _held.pop(path).close()
    file = Path(path).open("ab")  # noqa: SIM115 - it stays open as long as the lock is held
    try:
        _lock(file)
        _held[path] = file
    except BlockingIOError:
        file.close()
        raise
    except OSError:  # no locks on this disk
        Lock(file).release()
        return Lock(None)
    return Lock(file)


def is_left_behind(folder: Path) -> bool:
    """Whether a process that has ended held this folder, and nobody holds it now."""
    try:
        with (folder / LOCK_NAME).open("rb+") as file:
            _lock(file)
    except OSError:
        return False
    return True


def _lock(file: BinaryIO) -> None:
    if fcntl is None:
        raise OSError("this system has no locks")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
