"""Seconds by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times named stages of one piece of work, from its own making on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = time.perf_counter()
        yield
        self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - started

    @property
    def elapsed_s(self) -> float:
        """Wall seconds so far."""
        return time.perf_counter() - self._started

    def seconds(self) -> dict[str, float]:
        """Wall seconds of each finished stage, and `total`."""
        stages = {**self._stages, "total": self.elapsed_s}
        return {name: round(s, 3) for name, s in stages.items()}
