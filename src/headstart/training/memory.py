"""Memory: how much is left, and what running out of it looks like."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from headstart.errors import OutOfMemoryError
from headstart.training.allocator import give_back_memory

_SIGNS = (
    "can't allocate memory",  # torch's allocator on Linux and macOS
    "not enough memory",  # the same on Windows
    "out of memory",  # devices
    "could not create a primitive",  # oneDNN, whose compiled kernels found no room
    "could not create a memory",
)
_CGROUP = Path("/sys/fs/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that main memory or a device's is used up."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextmanager
def explaining_memory(work: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory into an error that the user can mend.

    Raises:
        OutOfMemoryError: In place of whatever the allocator raised.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"Memory ran out while {work} ({first_line(error)}). {remedy}") from error


def first_line(error: BaseException) -> str:
    """What an error says, without the rest of what allocators tell."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def release_memory() -> None:
    """Give back what a failed step held."""
    gc.collect()
    give_back_memory()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def available_bytes() -> int:
    """Of main memory: what the system can still give, or the control group if that is less."""
    left = [psutil.virtual_memory().available]
    try:
        most, used = ((_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        if most != "max":
            left.append(max(int(most) - int(used), 0))
    except (OSError, ValueError):  # no control groups here
        pass
    return int(min(left))
