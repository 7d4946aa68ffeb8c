"""Find image files, and learn of each what its header tells: format, size and a hash of its bytes.

Nothing is decoded here. A file that can't be used becomes a `Skipped` with its
reason, never an exception: one bad file must not cost the other 49,999.
"""

import errno
import hashlib
import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from headstart.errors import UnreadableImageError
from headstart.progress import Progress

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)
"""Names that end so, in whichever case, are taken for images; their content then decides."""

MAX_PIXELS = 178_956_970
"""An image with more pixels is skipped, as Pillow refuses it: it may be a decompression bomb."""

MAX_BYTES = 1 << 30
"""A larger file is skipped: it is read whole, and no photo is that large."""

_UNSUPPORTED_SUFFIXES = frozenset(
    {".avif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg", ".cr2", ".cr3", ".nef", ".arw", ".dng"}
)
"""Pictures that can't be read: their owner should hear of it, or would miss them."""

_SIDE_FOLDERS = frozenset({"__MACOSX", "@eaDir"})
"""Written beside the user's files by macOS archives and by network storage (thumbnails)."""

NO_IMAGE = "no image by its name"
"""Why a file beside images is left out."""

_SIDE_FILES = frozenset({"thumbs.db", "desktop.ini"})
"""Written by Windows into the folders that it shows, whichever way it spells them."""

_OF_A_RUN = frozenset({"config.json", "split.parquet", "metrics.json"})
"""A folder that holds all of these is a saved run; its drawings are nobody's photographs."""

_RUNS = "runs"
"""Where runs are saved unless the user says otherwise, and what was drawn beside them."""

_PLUGINS: tuple[tuple[str, re.Pattern[bytes], Callable[[io.BytesIO], Image.Image]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    ("GIF", re.compile(rb"GIF8[79]a"), GifImageFile),
    ("BMP", re.compile(rb"BM"), BmpImageFile),
    ("TIFF", re.compile(rb"II[*+]\x00|MM\x00[*+]"), TiffImageFile),
)
_OTHER_PICTURE = re.compile(
    rb"....ftyp(avif|avis|heic|heix|heim|heis|mif1|msf1)|\x00\x00\x00\x0cJXL ", re.DOTALL
)
_RESAVE = "save it with 8 or 16 bits a channel"
_NUMBER = re.compile(r"([0-9]+)")
_CHUNK = 32
_MAX_THREADS = 8


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file whose header could be read; its pixels are not yet proved good.

    Attributes:
        path: Absolute path, links not resolved.
        key: First 32 hex digits of the SHA-256 of the bytes: equal for exact copies.
        format: Pillow's name of the format found in the bytes, whatever the file is called.
        width_px: Width as stored, before EXIF orientation.
        height_px: Height as stored, before EXIF orientation.
        size_bytes: Size of the file.
    """

    path: str
    key: str
    format: str
    width_px: int
    height_px: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that can't be used, and why, in a few words."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to be listed: as the user names it, where it really is, and where links were left."""

    path: str
    real: str
    left: tuple[str, ...] = ()


def natural_key(text: str) -> tuple[str, str]:
    """Sort key that puts `2` before `10`, and upper beside lower case.

    Digits compare by value, the rest without regard to case; names that are then
    equal (`a` and `A`, `1` and `01`) follow their code points, so the order is total.
    """
    # One string rather than nested tuples: a folder may hold millions of names. A number is led by how
    # many digits it has, and stands before any text.
    parts = []
    for piece in _NUMBER.split(text):
        if piece and piece[0] in "0123456789":
            digits = piece.lstrip("0")
            parts.append(f"\0{chr(len(digits))}{digits}")
        elif piece:
            parts.append(f"\1{piece.casefold()}")
    return "".join(parts), text


def list_folders(folder: str) -> list[str]:
    """Names of the folders directly inside, in natural order, without those that `find_images` ignores.

    Raises:
        OSError: The folder can't be listed.
    """
    return [entry.name for entry in _list_entries(folder) if _is_folder(entry) and _is_utf8(entry.name)]


def read_file(path: str) -> bytes:
    """The bytes of a regular file: opening a pipe would wait for ever, and a device may never end.

    Raises:
        UnreadableImageError: With a short reason.
    """
    with _reasoned(path):
        _check_regular(Path(path), MAX_BYTES)
        # Unbuffered: every call below Python lets another thread in, and a small file costs few calls so.
        with Path(path).open("rb", buffering=0) as file:
            return file.readall()


def open_file(path: str) -> BinaryIO:
    """Open a regular file of any size, to be read piece by piece.

    Raises:
        UnreadableImageError: With a short reason.
    """
    with _reasoned(path):
        _check_regular(Path(path), None)
        return Path(path).open("rb")


def open_image(data: bytes) -> Image.Image:
    """Open an image by its content, whatever its name says, without decoding it.

    The plug-ins are called directly because `Image.open` warns, and guards a limit of the whole
    process; `MAX_PIXELS` is ours.

    Raises:
        UnreadableImageError: With a short reason.
    """
    if not data:
        raise UnreadableImageError("zero bytes")
    for name, magic, plugin in _PLUGINS:
        if not magic.match(data):
            continue
        try:
            image = plugin(io.BytesIO(data))
        except Exception as error:  # whatever a plug-in makes of damaged bytes
            if "unknown pixel mode" in str(error):
                raise UnreadableImageError(f"a {name} of a kind that is not supported; {_RESAVE}") from error
            raise UnreadableImageError(f"truncated or damaged {name}") from error
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise UnreadableImageError(f"{pixels:,} pixels, more than the limit of {MAX_PIXELS:,}")
        return image
    if _OTHER_PICTURE.match(data):
        raise UnreadableImageError(
            "an AVIF, HEIC or JPEG XL picture, which is not supported; convert it to JPEG or PNG"
        )
    raise UnreadableImageError("not an image")


def find_images(root: Path) -> tuple[list[str], list[Skipped]]:
    """List the image files below a folder, see `walk_images`.

    Returns:
        Absolute paths, and what could not be listed or is no image by its name.
    """
    images: list[str] = []
    skipped: list[Skipped] = []
    for found in walk_images(root, tell_others=True):
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            images.append(found)
    return images, skipped


def walk_images(root: Path, *, tell_others: bool = False) -> Iterator[str | Skipped]:
    """Walk the image files below a folder in natural order, by their suffix; one folder is listed at a time.

    Links are followed, but not back to a folder above them. Hidden files and folders,
    saved runs and, unless `tell_others`, files that are no images by their names are ignored.

    Yields:
        Absolute paths, and what can't be listed: dangling links, link loops,
        unreadable folders, picture formats that are not supported.
    """
    top = os.path.abspath(root)  # noqa: PTH100 (Path.resolve would replace the user's links)
    # A stack rather than recursion: folders may nest deeper than Python's limit.
    pending: list[str | Skipped | _Folder] = [_Folder(top, os.path.realpath(top))]
    while pending:
        item = pending.pop()
        if isinstance(item, _Folder):
            pending.extend(reversed(_look_inside(item, tell_others)))
        else:
            yield item


def is_picture_name(path: str) -> bool:
    """Whether a name inside an archive or at a URL is a picture's, supported or not, and not hidden."""
    parts = path.split("/")
    if any(is_side_name(part) for part in parts if part not in {".", ".."}):
        return False
    return os.path.splitext(parts[-1])[1].lower() in IMAGE_SUFFIXES | _UNSUPPORTED_SUFFIXES  # noqa: PTH122


def is_side_name(name: str) -> bool:
    """Whether a file or folder is hidden, or written beside the user's own by some system."""
    return name.startswith(".") or name in _SIDE_FOLDERS or name.lower() in _SIDE_FILES


def probe_files(paths: Sequence[str], *, progress: Progress) -> list[ImageFile | Skipped]:
    """Read each file once for its hash and header, in threads.

    A file's bytes are dropped before its thread takes the next, so memory does not
    grow with the number of files.

    Returns:
        One result a path, in the order given.
    """
    found: list[ImageFile | Skipped] = []
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    threads = min(_MAX_THREADS, 2 * (os.cpu_count() or 1))
    # Pillow's plug-ins warn of odd metadata, which is no matter here. Filters belong to the
    # process, so they are set by this thread alone, around the others' whole life.
    with warnings.catch_warnings(), progress.stage("Reading headers", len(paths)) as advance:
        warnings.simplefilter("ignore")
        pool = ThreadPoolExecutor(threads, thread_name_prefix="headers")
        try:
            for results in pool.map(_probe_chunk, chunks):
                found.extend(results)
                advance(len(results))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for what is still queued
    return found


def _list_entries(folder: str) -> list[os.DirEntry[str]]:
    """Visible entries of a folder in natural order, without folders of saved runs."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not (is_side_name(entry.name) or _keeps_runs(entry))]
    return sorted(visible, key=lambda entry: natural_key(entry.name))


def _keeps_runs(entry: os.DirEntry[str]) -> bool:
    """Whether it is a saved run, or a folder of such: with nothing else in it, or called `runs`."""
    if not _is_folder(entry):
        return False
    if _is_run(entry.path):
        return True
    found = False
    try:
        with os.scandir(entry.path) as inside:
            for other in inside:
                if _is_folder(other) and _is_run(other.path):
                    found = True
                elif entry.name != _RUNS and not is_side_name(other.name):
                    return False
    except OSError:
        return False  # who enters it reports it
    return found


def _is_run(folder: str) -> bool:
    return all(os.path.lexists(os.path.join(folder, name)) for name in _OF_A_RUN)  # noqa: PTH118


def _look_inside(folder: _Folder, tell_others: bool) -> list[str | Skipped | _Folder]:
    try:
        entries = _list_entries(folder.path)
    except OSError as error:
        return [Skipped(folder.path, _os_reason(error))]
    return [found for entry in entries if (found := _look_at(entry, folder, tell_others)) is not None]


def _look_at(entry: os.DirEntry[str], parent: _Folder, tell_others: bool) -> str | Skipped | _Folder | None:
    """An image's path, a folder to enter, something to report, or nothing."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (Path costs more than the listing)
    is_folder = _is_folder(entry)
    looks_relevant = tell_others or is_folder or not suffix or suffix in IMAGE_SUFFIXES
    if looks_relevant and not _is_utf8(entry.name):
        readable = os.fsencode(entry.path).decode("utf-8", "replace")
        return Skipped(readable, "its name is not valid UTF-8; rename it")
    if is_folder:
        return _enter(entry, parent)
    if entry.is_symlink() and looks_relevant and (reason := _broken_link(entry.path)):
        return Skipped(entry.path, reason)
    if suffix in IMAGE_SUFFIXES:
        return entry.path
    if suffix in _UNSUPPORTED_SUFFIXES:
        return Skipped(entry.path, f"{suffix} is not supported; convert it to JPEG or PNG")
    return Skipped(entry.path, NO_IMAGE) if tell_others else None


def _enter(entry: os.DirEntry[str], parent: _Folder) -> _Folder | Skipped:
    if not entry.is_symlink():
        return _Folder(entry.path, os.path.join(parent.real, entry.name), parent.left)  # noqa: PTH118
    real = os.path.realpath(entry.path)
    left = (*parent.left, parent.real)
    inside = os.path.join(real, "")  # noqa: PTH118 (with a separator at its end)
    if any(place == real or place.startswith(inside) for place in left):
        return Skipped(entry.path, "a link that leads back to a folder above it")
    return _Folder(entry.path, real, left)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_utf8(name: str) -> bool:
    """Whether a name can be printed and saved; others hold surrogates for their stray bytes."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _broken_link(path: str) -> str:
    """Why a link leads nowhere; empty if it leads somewhere."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return "dangling link"
    except OSError as error:
        return _os_reason(error)
    return ""


def _probe_chunk(paths: Sequence[str]) -> list[ImageFile | Skipped]:
    return [_probe(path) for path in paths]


def _probe(path: str) -> ImageFile | Skipped:
    try:
        data = read_file(path)
        with open_image(data) as image:
            name, width_px, height_px = str(image.format), image.width, image.height
    except UnreadableImageError as error:
        return Skipped(path, str(error))
    return ImageFile(path, hashlib.sha256(data).hexdigest()[:32], name, width_px, height_px, len(data))


@contextmanager
def _reasoned(path: str) -> Iterator[None]:
    """Turn what a system says of a file into a short reason."""
    try:
        yield
    except OSError as error:
        is_link = isinstance(error, FileNotFoundError) and Path(path).is_symlink()
        raise UnreadableImageError("dangling link" if is_link else _os_reason(error)) from error
    except ValueError as error:  # a null byte in a manifest's path
        raise UnreadableImageError(str(error)) from error


def _check_regular(path: Path, most_bytes: int | None) -> None:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError("a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("not a regular file")
    if most_bytes is not None and status.st_size > most_bytes:
        raise UnreadableImageError(f"{status.st_size:,} bytes, more than the limit of {most_bytes:,}")


def _os_reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if error.errno == errno.ELOOP:
        return "link loop"
    return (error.strerror or type(error).__name__).lower()
