"""How long work reports that it moves, without knowing who is watching.

Library code takes a `Progress` and opens a stage; the command line passes one
that draws bars or prints lines. The default says nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Call with the number of items done since the last call."""


class Progress(Protocol):
    """Somebody who watches long work."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Advance]:
        """Open a stage of `total` items (None: unknown) and time it until it closes."""
        ...

    def note(self, message: str) -> None:
        """Tell the user one line that matters, such as a skipped file."""
        ...


class Silent:
    """Nobody is watching."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """Open a stage that reports nothing."""
        yield lambda _: None

    def note(self, message: str) -> None:
        """Drop the message."""
