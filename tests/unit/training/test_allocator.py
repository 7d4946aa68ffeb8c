"""Memory is kept between steps, and given back at the end."""

import platform
import resource

import psutil
import pytest
import torch

from headstart.training.allocator import reusing_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")

_BYTES, _PAGE = 64 << 20, resource.getpagesize()


def faults() -> int:
    """Pages that the kernel clears while a large block is taken, filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(_BYTES, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_blocks_are_taken_again_without_the_kernel() -> None:
    faults()
    assert faults() > _BYTES / _PAGE / 2
    with reusing_memory():
        faults()
        assert faults() < _BYTES / _PAGE / 100
        kept = psutil.Process().memory_info().rss
    assert psutil.Process().memory_info().rss < kept - _BYTES / 2
    faults()
    assert faults() > _BYTES / _PAGE / 2
