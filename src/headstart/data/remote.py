"""Files at URLs, such as `s3://bucket/1.jpg` or `zip://1.jpg::photos.zip`, by fsspec's file systems.

Nothing is fetched unless the user names a URL, and fsspec is imported only then.
"""

import glob
import posixpath
import re
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from headstart.data.files import MAX_BYTES, is_picture_name, is_side_name, natural_key
from headstart.errors import DatasetNotFoundError, UnreadableImageError

_URL = re.compile(r"[a-z][a-z0-9+.\-]+(::[a-z0-9+.\-]+)*://")
_VERSIONS = ("ETag", "etag", "md5Hash", "CRC", "LastModified", "mtime", "updated", "created")
_LOCAL = re.compile(r"(file|local)://(?!.*::)")


_kept = threading.local()


def is_url(name: str) -> bool:
    """Whether a name is a URL, perhaps a chain of them, rather than a path."""
    return _URL.match(name) is not None


def local_path(name: str) -> str:
    """The path that a `file://` URL stands for; other names as they are."""
    return unquote(urlsplit(name).path) if _LOCAL.match(name) else name


def check_url(url: str) -> None:
    """Refuse a URL whose file system isn't there.

    Raises:
        DatasetNotFoundError: fsspec doesn't know the protocol, or its package is not installed; names it.
    """
    from fsspec import get_filesystem_class

    for part in url.split("::"):
        protocol = part.partition("://")[0] if "://" in part else part
        if "://" not in part and not re.fullmatch(r"[a-z]+", part):
            continue  # a path: where the chain ends
        try:
            get_filesystem_class(protocol)
        except ImportError as error:
            raise DatasetNotFoundError(
                f"{url}: {protocol}:// needs a package that is not installed. {error} (pip install it beside "
                "headstart)."
            ) from error
        except ValueError as error:
            raise DatasetNotFoundError(
                f"{url}: no file system is called {protocol}. Check the spelling, or install the package "
                "that brings it to fsspec."
            ) from error


def list_url(url: str) -> Iterator[tuple[str, str]]:
    """URLs of what a folder or a pattern at a URL holds, each with a stamp; of anything else itself.

    In natural order, folder by folder; folders give their pictures alone, without hidden ones.

    Raises:
        DatasetNotFoundError: It can't be opened, or holds no images.
    """
    before, head, after = _split(url)
    try:
        files, path = _open_system(url)
        if is_pattern(url):
            for match in _match(files, path, url):
                full = match if is_url(match) else f"{head.partition('://')[0]}://{match}"
                yield f"{before}{full}{after}", ""
        elif _may_be_folder(url) and files.isdir(path):
            for tail, stamp in _walk(files, path, url):
                yield f"{before}{_under(head, tail)}{after}", stamp
        else:
            yield url, ""
    except DatasetNotFoundError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise DatasetNotFoundError(f"Can't open {url}: {_reason(error)}. Check the address.") from error


def open_url(url: str) -> BinaryIO:
    """Open a file at a URL for reading, piece by piece.

    Raises:
        UnreadableImageError: With a short reason.
    """
    try:
        files, path = _open_system(url)
        return cast("BinaryIO", files.open(path, "rb"))
    except Exception as error:  # each file system has errors of its own
        raise UnreadableImageError(_reason(error)) from error


def read_url(url: str) -> bytes:
    """The bytes at a URL, unless there are too many.

    Raises:
        UnreadableImageError: With a short reason.
    """
    with open_url(url) as file:
        try:
            data = file.read(MAX_BYTES + 1)
        except Exception as error:
            raise UnreadableImageError(_reason(error)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableImageError(f"more than the limit of {MAX_BYTES:,} bytes")
    return data


def is_pattern(url: str) -> bool:
    """Whether a URL is to be matched; a question mark begins the query of a web address."""
    head = _split(url)[1]
    return "*" in head if head.startswith("http") else glob.has_magic(head)


def bare_name(name: str) -> str:
    """A path or URL in lower case; a URL without its query and what it is chained to."""
    return (re.split(r"[?#]", _split(name)[1], maxsplit=1)[0] if is_url(name) else name).lower()


def beside(name: str, relative: str) -> str:
    """The URL of what lies beside a file at a URL."""
    before, head, after = _split(name)
    return f"{before}{head.rpartition('/')[0]}/{relative}{after}"


def _split(url: str) -> tuple[str, str, str]:
    """The part of a chain that names the file, and what is before (`simplecache::`) and after (`::a.zip`)."""
    parts = url.split("::")
    place = next(number for number, part in enumerate(parts) if "://" in part)
    before, after = (f"{part}::" for part in parts[:place]), (f"::{part}" for part in parts[place + 1 :])
    return "".join(before), parts[place], "".join(after)


def _under(head: str, tail: str) -> str:
    """What lies below a folder, as the user spells the folder."""
    spelled = head.rstrip("/")
    return f"{spelled}//{tail}" if spelled.endswith(":") else f"{spelled}/{tail}"


def _open_system(url: str) -> tuple[Any, str]:
    """A URL's file system, and the path in it.

    Of archives, which fsspec would open and list anew for each of their files, a thread keeps the last.
    """
    from fsspec.core import url_to_fs

    check_url(url)
    before, head, archive = _split(url)
    if before or not archive:
        files, path = url_to_fs(url)
        return files, path
    key = (head.partition("://")[0], archive)
    if getattr(_kept, "key", None) != key:
        _kept.files, _kept.key = url_to_fs(url)[0], key
    return _kept.files, _kept.files._strip_protocol(head)


def _match(files: Any, pattern: str, url: str) -> list[str]:
    matches: list[str] = sorted(files.glob(pattern), key=natural_key)
    if not matches:
        raise DatasetNotFoundError(f"Nothing matches {url}. Check the pattern.")
    return matches


def _may_be_folder(url: str) -> bool:
    """Whether to ask, which costs requests; of a web address it would fetch the page, to look for links."""
    return not is_picture_name(bare_name(url)) and (url.endswith("/") or not url.startswith("http"))


def _walk(files: Any, folder: str, url: str) -> Iterator[tuple[str, str]]:
    """Images below a folder, by their paths from there, each with its stamp."""
    top, found = folder.rstrip("/"), False
    pending: list[dict[str, Any]] = [{"name": top, "type": "directory"}]
    while pending:
        entry = pending.pop()
        path = entry["name"].rstrip("/")
        if entry["type"] != "directory":
            found = True
            yield path[len(top) :].lstrip("/"), _stamp(entry)
            continue
        inside = [item for item in files.ls(path, detail=True) if _matters(item, path)]
        pending += sorted(inside, key=lambda item: natural_key(item["name"]), reverse=True)
    if not found:
        raise DatasetNotFoundError(f"The folder {url} has no images in it. Name another.")


def _matters(entry: dict[str, Any], folder: str) -> bool:
    path = entry["name"].rstrip("/")
    name = posixpath.basename(path)
    if path == folder:
        return False
    return not is_side_name(name) if entry["type"] == "directory" else is_picture_name(name)


def _stamp(entry: dict[str, Any]) -> str:
    """Size, and whichever of these the file system tells first."""
    version = next((entry[key] for key in _VERSIONS if key in entry), "")
    return f"{entry.get('size')}:{version}"


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
