"""Decoded pictures on disk, mapped into memory: decode once, train for many epochs.

A part is a `.bin` of pixels and a `.json` that tells whose they are and where; the index is written
last, so a part cut short is never seen. What an index claims and the pixels don't hold is
deleted and decoded again.
"""

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.config import Preprocessing
from headstart.data.decode import decode_file, read_view
from headstart.data.files import ImageFile
from headstart.errors import UnreadableImageError
from headstart.progress import Progress, Silent
from headstart.run.atomic import converting_errors, replacing, write_json
from headstart.run.environment import available_cores

_PART_BYTES = 64 * 2**20
_LONGEST = 2.0  # sides; what lies beyond is cut off
_AHEAD = 32
_ORPHAN_S = 3600.0

Pixels = NDArray[np.uint8]


class PixelStore:
    """Pictures `(H, W, 3) uint8` by the content of their files. Make one with `whole` or `center`."""

    def __init__(self, folder: Path, read: Callable[[str], Pixels]) -> None:
        self._folder = folder
        self._read = read
        self._places: dict[str, tuple[Pixels, int, int, int]] = {}
        self._seen: set[Path] = set()
        self._open_parts()

    @classmethod
    def whole(cls, cache: Path, short_px: int) -> "PixelStore":
        """Upright pictures, the shorter side at most `short_px` and the longer at most twice that.

        Smaller pictures keep their size.
        """
        return cls(cache / "pixels" / f"whole-{short_px}", lambda path: read_whole(path, short_px))

    @classmethod
    def center(cls, cache: Path, preprocessing: Preprocessing) -> "PixelStore":
        """Centre views, just as prediction sees them."""
        return cls(cache / "pixels" / preprocessing.view, lambda path: read_view(path, preprocessing))

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Pixels:
        part, offset, height, width = self._places[key]
        return part[offset : offset + height * width * 3].reshape(height, width, 3)

    def fill(self, files: Sequence[ImageFile], *, progress: Progress | None = None) -> dict[str, str]:
        """Decode what is missing, on all cores, in bounded memory; parts are written as it goes on.

        Returns:
            The reason for each key that can't be decoded.

        Raises:
            StorageError: The disk is full, read-only or forbidden.
        """
        todo = {file.key: file.path for file in files if file.key not in self}
        failures: dict[str, str] = {}
        if not todo:
            return failures
        waiting: list[tuple[str, Pixels]] = []
        n_bytes = 0
        with (progress or Silent()).stage("Decoding images", len(todo)) as advance:
            for key, pixels in self._decode(todo):
                advance(1)
                if isinstance(pixels, str):
                    failures[key] = pixels
                    continue
                waiting.append((key, pixels))
                n_bytes += pixels.nbytes
                if n_bytes >= _PART_BYTES:
                    self._write(waiting)
                    waiting, n_bytes = [], 0
            if waiting:
                self._write(waiting)
        self._open_parts()
        return failures

    def _decode(self, todo: dict[str, str]) -> Iterator[tuple[str, Pixels | str]]:
        """Pixels, or the reason why there are none, in order."""

        def work(path: str) -> Pixels | str:
            try:
                return self._read(path)
            except UnreadableImageError as error:
                return str(error)

        with ThreadPoolExecutor(available_cores(), thread_name_prefix="decode") as pool:
            under_way: deque[tuple[str, Future[Pixels | str]]] = deque()
            try:
                for key, path in todo.items():
                    under_way.append((key, pool.submit(work, path)))
                    if len(under_way) > _AHEAD:
                        first, future = under_way.popleft()
                        yield first, future.result()
                while under_way:
                    first, future = under_way.popleft()
                    yield first, future.result()
            finally:
                for _, future in under_way:
                    future.cancel()

    def _write(self, pictures: Sequence[tuple[str, Pixels]]) -> None:
        name, offset, index = f"part-{uuid4().hex}", 0, []
        with converting_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._folder / f"{name}.bin") as aside, aside.open("wb") as file:
                for key, pixels in pictures:
                    file.write(np.ascontiguousarray(pixels).data)
                    index.append([key, offset, *pixels.shape[:2]])
                    offset += pixels.nbytes
        write_json(self._folder / f"{name}.json", {"bytes": offset, "pictures": index})

    def _open_parts(self) -> None:
        """Map the parts that are new; delete those that are damaged."""
        for path in sorted(self._folder.glob("part-*.json")):
            if path in self._seen:
                continue
            self._seen.add(path)
            data = path.with_suffix(".bin")
            try:
                index = json.loads(path.read_text(encoding="utf-8"))
                if os.path.getsize(data) != index["bytes"]:  # noqa: PTH202 - one call less
                    raise ValueError("pixels are missing")  # noqa: TRY301
                part = np.memmap(data, np.uint8, mode="r")
                places = {
                    str(key): (part, int(offset), int(height), int(width))
                    for key, offset, height, width in index["pictures"]
                }
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                with contextlib.suppress(OSError):  # the index first: pixels alone are never looked at
                    path.unlink(missing_ok=True)
                    data.unlink(missing_ok=True)
            except OSError:  # it may be whole, but can't be read now
                continue
            else:
                self._places |= places
        self._delete_orphans()

    def _delete_orphans(self) -> None:
        """Pixels whose index was never written, because of a kill; not those of which it may yet come."""
        for data in self._folder.glob("part-*.bin"):
            with contextlib.suppress(OSError):
                if not data.with_suffix(".json").exists() and time.time() - data.stat().st_mtime > _ORPHAN_S:
                    data.unlink()


def read_whole(path: str, short_px: int) -> Pixels:
    """Decode a file upright, its shorter side at most `short_px`, the longer at most twice the shorter.

    Raises:
        UnreadableImageError: It can't be read or decoded; the message starts with its path.
    """
    image = decode_file(path, min_side_px=short_px)
    width, height = image.size
    most = round(min(width, height) * _LONGEST)
    left, top = max(width - most, 0) / 2, max(height - most, 0) / 2
    kept_width, kept_height = min(width, most), min(height, most)
    scale = min(short_px / min(width, height), 1.0)
    size = max(round(kept_width * scale), 1), max(round(kept_height * scale), 1)
    box = (left, top, left + kept_width, top + kept_height)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))
