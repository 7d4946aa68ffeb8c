"""Memory that one training step frees and the next takes again is kept in between.

glibc maps each large block anew and gives it back when it is freed, so every step has the kernel
clear the same gigabytes page by page. Kept, they are there; a tenth more memory was held so in a training
of lite0. It helps the main thread alone, and other C libraries are left as they are.
`bench/training.py` measures what it brings.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of <malloc.h>
_NEVER, _NONE = -1, 0
_USUAL_TRIM_BYTES, _USUAL_MAPPED = 128 << 10, 65536  # glibc's own, mallopt(3)


@contextmanager
def reusing_memory() -> Iterator[None]:
    """Keep freed memory while the block runs, and give it back at its end; decorates functions, too."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, _NONE)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _USUAL_MAPPED)
        libc.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM_BYTES)
        libc.malloc_trim(0)
