"""Small pictures inside a page: decoded once, bounded in number and in bytes."""

import base64
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from headstart.data.decode import decode
from headstart.errors import UnreadableImageError
from headstart.run.environment import available_cores

_QUALITY = 78
_LONGEST = 1.6  # sides; what lies beyond is cut off


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a page may be pictures.

    Attributes:
        pictures: At most so many.
        bytes: In all, as they stand in the page.
        side_px: The shorter side.
    """

    pictures: int = 400
    bytes: int = 6_000_000
    side_px: int = 112


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Pictures by path.

    Attributes:
        uris: Data URI of each that is there.
        missing: Why each of the others that were tried is not.
    """

    uris: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[str], limits: Limits) -> "Thumbnails":
        """Read pictures in the order of their importance, until a limit is met."""
        wanted = list(dict.fromkeys(paths))[: limits.pictures]
        uris, missing, n_bytes = {}, {}, 0
        with ThreadPoolExecutor(available_cores(), thread_name_prefix="thumbnails") as pool:
            made = pool.map(lambda path: _make(path, limits.side_px), wanted)
            for path, (uri, reason) in zip(wanted, made, strict=True):
                n_bytes += len(uri)
                if reason:
                    missing[path] = reason
                elif n_bytes <= limits.bytes:
                    uris[path] = uri
        return cls(uris, missing)


def _make(path: str, side_px: int) -> tuple[str, str]:
    """A data URI, or the reason why there is none."""
    try:
        return make_uri(decode(Path(path).read_bytes(), min_side_px=side_px), side_px), ""
    except OSError as error:
        return "", error.strerror or str(error)
    except UnreadableImageError as error:
        return "", str(error)


def make_uri(image: Image.Image, side_px: int) -> str:
    """An RGB picture as a data URI, its shorter side at most `side_px` and the longer little more."""
    width, height = image.size
    most = min(width, height) * _LONGEST
    left, top = max(width - most, 0) / 2, max(height - most, 0) / 2
    box = (left, top, width - left, height - top)
    scale = min(side_px / min(width, height), 1.0)
    size = max(round((box[2] - left) * scale), 1), max(round((box[3] - top) * scale), 1)
    return _encode(image.resize(size, Image.Resampling.BICUBIC, box=box))


def make_sheet(image: Image.Image, width_px: int) -> str:
    """A whole RGB picture as a data URI, at most `width_px` wide."""
    scale = min(width_px / image.width, 1.0)
    size = round(image.width * scale), max(round(image.height * scale), 1)
    return _encode(image.resize(size, Image.Resampling.LANCZOS))


def _encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
