"""OpenVINO, kept from telling anybody that it is used.

Its import reports over the network, in processes of its own, unless the package `openvino_telemetry` is
absent. Headstart sends nothing anywhere, so for the length of that import it is.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"


def load_openvino() -> Any:
    """Import OpenVINO, which takes half a second; silently, unless somebody imported it before."""
    if "openvino" not in sys.modules:
        with without_telemetry():
            import openvino
    import openvino

    return openvino


@cache
def openvino_core() -> Any:
    """The process's one core, which lives as long as the process does.

    Its CPU plug-in gives the thread that makes it another stack for signals, and frees that with itself:
    dropped while that thread lives on, it lets the next signal end the process (seen with 2026.4).
    """
    return load_openvino().Core()


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Let what is imported meanwhile not find the package by which it would report."""
    before = sys.modules.pop(_TELEMETRY, None)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # importing it now fails
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before
