"""Memory that one training step frees and the next takes again is kept in between.

glibc maps each large block anew and gives it back when it is freed, so every step has the kernel
clear the same gigabytes page by page. Kept, they are there; a tenth more memory was held so in a training
of lite0. Other C libraries are left as they are.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # names of <malloc.h>
_NEVER, _NONE = -1, 0
_USUAL_MAPPED = 65536
_MAPPED_BYTES, _TRIMMED_BYTES = 32 << 20, 64 << 20
"""Where glibc's own thresholds end once blocks so large were freed (mallopt(3)); told anything, it leaves
off moving them."""


@contextmanager
def reusing_memory() -> Iterator[None]:
    """Keep freed memory while the block runs, and give it back at its end; decorates functions, too."""
    libc = _find_glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_MAX, _NONE)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _USUAL_MAPPED)
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _TRIMMED_BYTES)
        libc.malloc_trim(0)


def give_back_memory() -> None:
    """Give back what is kept but free."""
    if libc := _find_glibc():
        libc.malloc_trim(0)


def _find_glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
