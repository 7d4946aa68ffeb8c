"""Pictures to features: decode and trunk overlap on all cores, in bounded memory.

A worker takes a chunk of pictures, decodes them and embeds them on its own core; chunks come
back in order, and only a few are under way at once.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.config import Preprocessing
from headstart.data.decode import read_view, view_of
from headstart.data.pictures import Picture
from headstart.errors import UnreadableImageError
from headstart.run.environment import available_cores

View = Literal["center", "mirror"]


class Embedder(Protocol):
    """What makes features of views, and may be called from several threads at once."""

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed views `(N, H, W, 3)` as features `(N, d)`."""
        ...


THUMBNAIL_PX = 32

_CHUNK = 16
_SPARE_WORKERS = 2  # they decode while the others wait for a stream
_CHUNKS_PER_WORKER = 3
_CHUNK_BYTES = 1 << 25  # that a chunk holds in memory, of pictures which can't be read later
_HELD_BYTES = 1 << 28  # of all chunks under way


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """Consecutive pictures, embedded.

    Attributes:
        names: Of all of them, readable or not.
        rows: Position of each readable one among all that were given, `(n,)`.
        features: One array `(n, d) float32` a view.
        difference_hashes: 64-bit perceptual hash of each centre view, `(n,) uint64`.
        thumbnails: Each centre view in small and grey, `(n, 32, 32) uint8`.
        failures: Position and reason of each that can't be read.
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    features: dict[View, NDArray[np.float32]]
    difference_hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    failures: tuple[tuple[int, str], ...]


def embed_files(
    pictures: Iterable[str | Picture],
    preprocessing: Preprocessing,
    runtime: Embedder,
    *,
    views: Sequence[View] = ("center",),
    with_looks: bool = True,
    part_rows: int | None = None,
) -> Iterator[EmbeddedChunk]:
    """Decode and embed pictures on all cores, in order, a few chunks at a time.

    Closing the generator early (an interrupt, say) waits only for the chunks under way.

    Args:
        pictures: Paths of files, or whatever else can be read; they are asked for as the work goes on.
        preprocessing: How pixels become a view.
        runtime: What embeds the views.
        views: Which to embed.
        with_looks: Whether to hash and to shrink the centre views, too: only who looks for copies needs that.
        part_rows: No chunk reaches over a multiple of it: features of some runtimes depend in their last bits
            on what else is in a batch, and a part's must not depend on where the work began.
    """
    workers = available_cores() + _SPARE_WORKERS

    def work(start: int, chunk: Sequence[str | Picture]) -> EmbeddedChunk:
        return _embed_chunk(start, chunk, preprocessing, runtime, views, with_looks)

    with ThreadPoolExecutor(workers, thread_name_prefix="embed") as pool:
        under_way: deque[tuple[int, Future[EmbeddedChunk]]] = deque()
        try:
            for start, chunk in _chunks(pictures, part_rows):
                held = sum(_held_bytes(picture) for picture in chunk)
                under_way.append((held, pool.submit(work, start, chunk)))
                while len(under_way) > workers * _CHUNKS_PER_WORKER or _is_full(under_way):
                    yield under_way.popleft()[1].result()
            while under_way:
                yield under_way.popleft()[1].result()
        finally:
            for _, future in under_way:
                future.cancel()


def _chunks(
    pictures: Iterable[str | Picture], part_rows: int | None
) -> Iterator[tuple[int, list[str | Picture]]]:
    """Cut what comes into chunks, each with the position of its first."""
    chunk: list[str | Picture] = []
    start = held = 0
    for picture in pictures:
        chunk.append(picture if isinstance(picture, str) else picture.held())
        held += _held_bytes(chunk[-1])
        end = start + len(chunk)
        if len(chunk) == _CHUNK or held > _CHUNK_BYTES or (part_rows and end % part_rows == 0):
            yield start, chunk
            chunk, start, held = [], end, 0
    if chunk:
        yield start, chunk


def _held_bytes(picture: str | Picture) -> int:
    return 0 if isinstance(picture, str) else picture.held_bytes


def _is_full(under_way: deque[tuple[int, Future[EmbeddedChunk]]]) -> bool:
    return len(under_way) > 1 and sum(held for held, _ in under_way) > _HELD_BYTES


def read_sample(paths: Sequence[str], preprocessing: Preprocessing, n: int) -> NDArray[np.uint8]:
    """Centre views of up to `n` readable files spread evenly over the sequence, `(n, H, W, 3)`.

    Raises:
        UnreadableImageError: None of the files tried can be read.
    """
    views, reason = [], "no files"
    for index in np.unique(np.linspace(0, len(paths) - 1, min(n, len(paths))).astype(int)):
        try:
            views.append(read_view(paths[index], preprocessing))
        except UnreadableImageError as error:
            reason = str(error)
    if not views:
        raise UnreadableImageError(f"None of the images tried can be read, for example {reason}")
    return np.stack(views)


def thumbnail(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The view in grey, each pixel the mean of those it covers, `(32, 32) uint8`."""
    grey, size = Image.fromarray(view).convert("L"), (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(grey.resize(size, Image.Resampling.BOX, reducing_gap=1.0))


def difference_hash(thumbnail: NDArray[np.uint8]) -> int:
    """64 signs of horizontal brightness differences in 8 rows of a `thumbnail` (dHash, Krawetz 2013)."""
    rows = Image.fromarray(thumbnail).resize((9, 8), Image.Resampling.BOX)
    pixels = np.asarray(rows, dtype=np.int16)
    return int.from_bytes(np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes(), "big")


def _embed_chunk(
    start: int,
    pictures: Sequence[str | Picture],
    preprocessing: Preprocessing,
    runtime: Embedder,
    views: Sequence[View],
    with_looks: bool,
) -> EmbeddedChunk:
    rows, pixels, failures = [], [], []
    for row, picture in enumerate(pictures, start):
        try:
            pixels.append(_view(picture, preprocessing))
            rows.append(row)
        except UnreadableImageError as error:
            failures.append((row, str(error).removeprefix(f"{_name(picture)}: ")))
    features: dict[View, NDArray[np.float32]] = {}
    if pixels:
        batch = np.stack(pixels)
        features = {view: runtime.embed(batch if view == "center" else batch[:, :, ::-1]) for view in views}
    thumbnails = np.zeros((len(pixels), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    hashes = np.zeros(len(pixels), np.uint64)
    if with_looks:
        for row, view in enumerate(pixels):
            thumbnails[row] = thumbnail(view)
            hashes[row] = difference_hash(thumbnails[row])
    return EmbeddedChunk(
        names=tuple(_name(picture) for picture in pictures),
        rows=np.array(rows, np.int64),
        features=features,
        difference_hashes=hashes,
        thumbnails=thumbnails,
        failures=tuple(failures),
    )


def _view(picture: str | Picture, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    if isinstance(picture, str):
        return read_view(picture, preprocessing)
    return view_of(picture.read(), preprocessing)


def _name(picture: str | Picture) -> str:
    return picture if isinstance(picture, str) else picture.name
