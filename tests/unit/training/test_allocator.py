"""Memory is kept between steps, and given back at the end."""

import json
import platform
import subprocess
import sys

import pytest

from support import TIMEOUT_S

MEASURE = """
import json, psutil, resource, torch
from headstart.training.allocator import reusing_memory

def faults(megabytes=64):  # pages that the kernel clears while a block is taken, filled and freed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(megabytes << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return psutil.Process().memory_info().rss

before = min(faults() for _ in range(20))
with reusing_memory():
    within = min(faults() for _ in range(20))  # aligned blocks fit into freed ones after some tries
    kept = resident()
given_back = kept - resident()
print(json.dumps([before, within, given_back, min(faults(8) for _ in range(20))]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")
def test_freed_blocks_are_taken_again_without_the_kernel() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    before, within, given_back, small_after = json.loads(done.stdout)
    assert before > 0  # huge pages make it a few dozen
    assert within < before / 10
    assert given_back > 32 << 20
    assert small_after < within + 10  # such blocks never need the kernel, before nor after
