"""Pictures that are yet to be read, wherever they lie: in a file, at a URL, in a shard, in a table.

A source lists them in order and one at a time. What must be read before the source moves on (a member of a
tar) is taken into memory by `held`; the rest is read where it is decoded.
"""

import os
from dataclasses import dataclass
from typing import Protocol

from headstart.data.files import read_file
from headstart.data.remote import is_url, read_url
from headstart.errors import UnreadableImageError


class Picture(Protocol):
    """One picture of a source.

    Attributes:
        name: What its row is called: a path, a URL, `shard.tar/member` or `table.parquet#row`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def held_bytes(self) -> int:
        """How much of it is in memory before it is read."""
        ...

    def held(self) -> "Picture":
        """The same picture, which stays readable when its source moves on."""
        ...

    def stamp(self) -> str:
        """What tells it from another of its name, as far as that is cheap to know; empty if it isn't."""
        ...

    def read(self) -> bytes:
        """Its file's bytes.

        Raises:
            UnreadableImageError: With a short reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class FilePicture:
    """A file, here or at a URL.

    Attributes:
        name: Its path or URL.
        known_stamp: At a URL, what the listing told of it; each file's own would be a request.
    """

    name: str
    known_stamp: str = ""

    @property
    def held_bytes(self) -> int:
        """Nothing: it is read by whoever decodes it."""
        return 0

    def held(self) -> "FilePicture":
        """Itself."""
        return self

    def stamp(self) -> str:
        """Size and time of a local file."""
        return self.known_stamp or ("" if is_url(self.name) else file_stamp(self.name))

    def read(self) -> bytes:
        """Its bytes."""
        return read_url(self.name) if is_url(self.name) else read_file(self.name)


@dataclass(frozen=True, slots=True)
class HeldPicture:
    """A picture whose bytes are in memory."""

    name: str
    data: bytes
    known_stamp: str

    @property
    def held_bytes(self) -> int:
        """All of it."""
        return len(self.data)

    def held(self) -> "HeldPicture":
        """Itself."""
        return self

    def stamp(self) -> str:
        """What its source told of it."""
        return self.known_stamp

    def read(self) -> bytes:
        """Its bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class LostPicture:
    """What can't be read, and why: its row says so."""

    name: str
    reason: str

    @property
    def held_bytes(self) -> int:
        """Nothing."""
        return 0

    def held(self) -> "LostPicture":
        """Itself."""
        return self

    def stamp(self) -> str:
        """The reason."""
        return self.reason

    def read(self) -> bytes:
        """Raise the reason."""
        raise UnreadableImageError(self.reason)


def file_stamp(path: str) -> str:
    """Size and time of a local file; empty where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 (millions of them)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"
