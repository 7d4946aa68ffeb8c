"""What to predict: files, folders, patterns, lists, tar shards and Parquet tables, here or at URLs.

Words become pictures one at a time, in the order given, as they are asked for: nothing is listed ahead, and
no shard or table is read whole.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from headstart.data.files import Skipped, natural_key, open_file, walk_images
from headstart.data.pictures import FilePicture, LostPicture, Picture, file_stamp
from headstart.data.remote import bare_name, check_url, is_pattern, is_url, list_url, local_path, open_url
from headstart.data.shards import read_tar
from headstart.data.tables import check_table, read_table
from headstart.errors import DatasetNotFoundError, UnreadableImageError

_SHOWN_LETTERS = 60  # of what is no name

Word = str | TextIO
"""A name as a user gives it, `@` and the name of a list, or an open list: a text file with a name a line."""

_Kind = Literal["file", "table", "tar"]

_ENDINGS: tuple[tuple[tuple[str, ...], _Kind], ...] = (
    ((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), "tar"),
    ((".parquet",), "table"),
)


@dataclass(frozen=True)
class Sources:
    """Words that were checked; iterate to get the pictures.

    Attributes:
        words: As given.
        column: Where Parquet tables keep the pictures; None to find out.
        total: How many pictures there will be; None where only reading tells.
    """

    words: tuple[Word, ...]
    column: str | None
    total: int | None

    def __iter__(self) -> Iterator[Picture]:
        """The pictures in order; what can't be listed or read is one that says why."""
        for word in self.words:
            if not isinstance(word, str):
                yield from self._lines(word)
            elif _is_list(word):
                yield from self._read_list(word[1:])
            else:
                yield from self._expand(word)

    def _expand(self, name: str) -> Iterator[Picture]:
        """Pictures of one name.

        Raises:
            DatasetNotFoundError: It holds or matches nothing.
        """
        name = local_path(name)
        if is_url(name) and (is_pattern(name) or _kind_of(name) == "file"):
            for url, stamp in list_url(name):
                yield from self._open(url, stamp)
        elif is_url(name):
            yield from self._open(name, "")
        else:
            for found in list_local(name):
                if isinstance(found, Skipped):
                    yield LostPicture(found.path, found.reason)
                else:
                    yield from self._open(found, "")

    def _open(self, name: str, stamp: str) -> Iterator[Picture]:
        """Pictures of a file, by its suffix."""
        kind = _kind_of(name)
        if kind == "file":
            yield FilePicture(name, stamp)
            return
        stamp = stamp or file_stamp(name)
        try:
            file = _open_binary(name)
        except UnreadableImageError as error:
            yield LostPicture(name, str(error))
            return
        with closing(file):
            if kind == "tar":
                yield from read_tar(name, file, stamp)
            else:
                yield from read_table(name, file, stamp, self.column)

    def _read_list(self, name: str) -> Iterator[Picture]:
        """Pictures of the names in a file."""
        with closing(_open_binary(local_path(name))) as file:
            yield from self._lines(line.decode("utf-8", "surrogateescape") for line in file)

    def _lines(self, lines: Iterable[str]) -> Iterator[Picture]:
        """Pictures of a list's names; one that holds nothing must not end the work."""
        for line in lines:
            name = line.rstrip("\r\n")
            if not name:
                continue
            if _is_list(name):
                yield LostPicture(name, "a list inside a list")
                continue
            if "\0" in name:
                readable = name[:_SHOWN_LETTERS].encode("utf-8", "replace").decode().replace("\0", " ")
                yield LostPicture(readable, "no name of a file; give a list of names, one a line")
                continue
            try:
                yield from self._expand(name)
            except DatasetNotFoundError as error:
                yield LostPicture(name, str(error))


def open_sources(words: Sequence[Word], column: str | None = None) -> Sources:
    """Check what can be checked before the work: typing errors, empty folders, missing packages and columns.

    Args:
        words: Paths, patterns, URLs, and open lists of them.
        column: Where Parquet tables keep the pictures; None to find out.

    Raises:
        DatasetNotFoundError: A name is empty, holds or matches nothing, or needs a package that is missing.
        ConfigError: A table's column of images must be named.
    """
    counts = [_survey(word, column) if isinstance(word, str) else None for word in words]
    if not words:
        raise nothing_to_predict()
    return Sources(tuple(words), column, None if None in counts else sum(n for n in counts if n is not None))


def nothing_to_predict() -> DatasetNotFoundError:
    """Say that there are no pictures at all."""
    return DatasetNotFoundError("No images to predict. Name files, folders or globs, or - for a list.")


def expand_inputs(inputs: Iterable[str]) -> list[str | Skipped]:
    """All that `list_local` finds for names of local files, folders and patterns.

    Raises:
        DatasetNotFoundError: A name holds or matches nothing, or nothing was given.
    """
    found = [one for name in inputs for one in list_local(name)]
    if not found:
        raise nothing_to_predict()
    return found


def list_local(name: str) -> Iterator[str | Skipped]:
    """A file as it is, the images in a folder, or what a pattern matches; order kept.

    A file that doesn't exist is listed, and so is what a folder holds but can't be used.

    Raises:
        DatasetNotFoundError: A folder holds no images, a pattern matches nothing, or the name is empty.
    """
    if not name:
        raise DatasetNotFoundError("An image's name is empty. Name files, folders or globs.")
    if os.path.isdir(name):  # noqa: PTH112 - Path's own raises where a folder is forbidden
        yield from _walk(name)
    elif not os.path.lexists(name) and glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True), key=natural_key)  # noqa: PTH207
        if not matches:
            raise DatasetNotFoundError(f"Nothing matches {name}. Check the pattern.")
        for match in matches:
            yield from list_local(match)
    else:
        yield name


def _walk(folder: str) -> Iterator[str | Skipped]:
    """What `walk_images` finds, as the user spells the folder."""
    spelled, found = folder.rstrip(os.sep), None
    top = len(os.path.abspath(folder))  # noqa: PTH100 - as walk_images spells it
    for found in walk_images(Path(folder)):
        if isinstance(found, Skipped):
            yield Skipped(f"{spelled}{found.path[top:]}", found.reason)
        else:
            yield f"{spelled}{found[top:]}"
    if found is None:
        raise DatasetNotFoundError(
            f"The folder {folder} has no images in it. Name another.{_shards_in(folder)}"
        )


def _shards_in(folder: str) -> str:
    """A hint where a folder holds what would have to be named."""
    kinds = [path.name for path in sorted(Path(folder).iterdir()) if _kind_of(path.name) in {"tar", "table"}]
    return f" (It holds shards or tables, which are to be named: {Path(folder) / kinds[0]}.)" if kinds else ""


def _survey(name: str, column: str | None) -> int | None:
    """How many pictures a name stands for; None where only reading tells."""
    if _is_list(name):
        _check_list(name)
        return None
    name = local_path(name)
    if is_url(name):
        check_url(name)
        if is_pattern(name) or _kind_of(name) == "file":
            next(list_url(name))
        return None
    total: int | None = 0
    for found in list_local(name):
        count = _count(found, column) if isinstance(found, str) else 1
        total = None if total is None or count is None else total + count
    return total


def _is_list(name: str) -> bool:
    """Whether a name is `@` and that of a list, rather than a file that is called so."""
    return name.startswith("@") and not os.path.lexists(name)


def _check_list(name: str) -> None:
    """Refuse a list that can't be opened: nothing would be predicted."""
    place = local_path(name[1:])
    if is_url(place):
        check_url(place)
    try:
        _open_binary(place).close()
    except UnreadableImageError as error:
        raise DatasetNotFoundError(f"Can't open the list {place}: {error}. Check the path.") from error


def _count(name: str, column: str | None) -> int | None:
    kind = _kind_of(name)
    if kind != "table":
        return 1 if kind == "file" else None
    try:
        with closing(_open_binary(name)) as file:
            return check_table(name, file, column)
    except UnreadableImageError:
        return None


def _kind_of(name: str) -> _Kind:
    bare = bare_name(name)
    return next((kind for endings, kind in _ENDINGS if bare.endswith(endings)), "file")


def _open_binary(name: str) -> BinaryIO:
    return open_url(name) if is_url(name) else open_file(name)
