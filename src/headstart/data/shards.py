"""Tar shards, as WebDataset writes them: their pictures in order, each read as the stream passes it.

A member's name is a name and nothing else: no path is ever made of it, and nothing is unpacked to disk.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from headstart.data.files import MAX_BYTES, is_picture_name
from headstart.data.pictures import HeldPicture, LostPicture, Picture
from headstart.errors import UnreadableImageError

_BUFFER_BYTES = 1 << 16  # of a compressed stream; deflate makes at most a thousand times as much of it
_MAX_HEADER_BYTES = 1 << 20  # of long names and other notes, which tarfile reads whole


def read_tar(name: str, file: BinaryIO, stamp: str) -> Iterator[Picture]:
    """The pictures of a tar, plain or compressed, in the order of its members.

    A picture can be read until the next is asked for; `held` keeps it. Where the tar is cut off or damaged,
    the last picture is the tar itself, lost for that reason.

    Args:
        name: The tar's own; members are called `name/member`.
        file: It, open for reading; it is never sought.
        stamp: Of the whole file, see `Picture.stamp`.
    """
    found = False
    try:
        with tarfile.open(fileobj=file, mode="r|*", bufsize=_BUFFER_BYTES, tarinfo=_CheckedInfo) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # else it remembers all of them
                if is_picture_name(info.name) and not info.isdir():
                    found = True
                    yield _member(name, archive, info, stamp)
    except Exception as error:  # whatever tarfile and the decompressors make of damaged bytes
        rest = "the rest of it" if found else "it"
        yield LostPicture(name, f"{rest} can't be read: {_reason(error)}")
        return
    if not found:
        yield LostPicture(name, "a tar without images")


def _member(name: str, archive: tarfile.TarFile, info: tarfile.TarInfo, stamp: str) -> Picture:
    full = f"{name}/{info.name}"
    if not info.isreg():
        return LostPicture(full, "a link or device, not a file")
    if info.size > MAX_BYTES:
        return LostPicture(full, f"{info.size:,} bytes, more than the limit of {MAX_BYTES:,}")
    return _Member(full, archive, info, f"{stamp}/{info.offset_data}:{info.size}:{info.mtime:.0f}")


@dataclass(frozen=True, slots=True)
class _Member:
    """A picture that the stream is at."""

    name: str
    archive: tarfile.TarFile
    info: tarfile.TarInfo
    known_stamp: str

    @property
    def held_bytes(self) -> int:
        """Nothing yet."""
        return 0

    def held(self) -> Picture:
        """Its bytes in memory, or why they can't be had."""
        try:
            return HeldPicture(self.name, self.read(), self.known_stamp)
        except UnreadableImageError as error:
            return LostPicture(self.name, str(error))

    def stamp(self) -> str:
        """The shard's, and what the header tells."""
        return self.known_stamp

    def read(self) -> bytes:
        """Its bytes."""
        try:
            file = self.archive.extractfile(self.info)
            data = b"" if file is None else file.read()
        except Exception as error:  # as in read_tar, which meets it again and reports the rest
            raise UnreadableImageError(_reason(error)) from error
        if len(data) < self.info.size:
            raise UnreadableImageError("truncated")
        return data


class _CheckedInfo(tarfile.TarInfo):
    """Raises where tarfile would take a damaged header for the end, or read a note of any size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_CheckedInfo":
        if bytes(buf) == bytes(tarfile.BLOCKSIZE):  # the end, which tarfile is told by an error of its own
            return super().frombuf(buf, encoding, errors)
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            damage = "truncated" if len(buf) < tarfile.BLOCKSIZE else "damaged"
            raise tarfile.ReadError(f"{damage} ({error})") from error
        if info.size < 0 or (info.type in _NOTES and info.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("sparse files are not supported")
        return info

    def _proc_gnusparse_10(self, *_: object) -> None:
        """What tarfile calls for sparse files of the newer kind, whose maps have no bound."""
        raise tarfile.ReadError("sparse files are not supported")


_NOTES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return "truncated" if "end of data" in text else text
