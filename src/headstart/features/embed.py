"""Image files to features: decode and trunk overlap on all cores, in bounded memory.

A worker takes a chunk of files, decodes them and embeds them on its own core; chunks come
back in order, and only a few are under way at once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.backbones.runtime import Runtime
from headstart.config import Preprocessing
from headstart.data.decode import read_view
from headstart.errors import UnreadableImageError
from headstart.run.environment import available_cores

View = Literal["center", "mirror"]

_CHUNK = 16
_SPARE_WORKERS = 2  # they decode while the others wait for a stream
_CHUNKS_PER_WORKER = 3


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """Consecutive files, embedded.

    Attributes:
        rows: Position of each readable file in the sequence given, `(n,)`.
        features: One array `(n, d) float32` a view.
        difference_hashes: 64-bit perceptual hash of each centre view, `(n,) uint64`.
        failures: Position and reason of each file that can't be read.
    """

    rows: NDArray[np.int64]
    features: dict[View, NDArray[np.float32]]
    difference_hashes: NDArray[np.uint64]
    failures: tuple[tuple[int, str], ...]


def embed_files(
    paths: Sequence[str],
    preprocessing: Preprocessing,
    runtime: Runtime,
    *,
    views: Sequence[View] = ("center",),
    with_hashes: bool = True,
) -> Iterator[EmbeddedChunk]:
    """Decode and embed files on all cores, in order, a few chunks at a time.

    Closing the generator early (an interrupt, say) waits only for the chunks under way.
    """
    starts = range(0, len(paths), _CHUNK)
    workers = available_cores() + _SPARE_WORKERS

    def work(start: int) -> EmbeddedChunk:
        chunk = paths[start : start + _CHUNK]
        return _embed_chunk(start, chunk, preprocessing, runtime, views, with_hashes)

    with ThreadPoolExecutor(workers, thread_name_prefix="embed") as pool:
        under_way: deque[Future[EmbeddedChunk]] = deque()
        try:
            for start in starts:
                under_way.append(pool.submit(work, start))
                if len(under_way) > workers * _CHUNKS_PER_WORKER:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


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


def difference_hash(view: NDArray[np.uint8]) -> int:
    """64 signs of horizontal brightness differences in a thumbnail of 8 rows (dHash, Krawetz 2013)."""
    grey = Image.fromarray(view).convert("L").resize((9, 8), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    return int.from_bytes(np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes(), "big")


def _embed_chunk(
    start: int,
    paths: Sequence[str],
    preprocessing: Preprocessing,
    runtime: Runtime,
    views: Sequence[View],
    with_hashes: bool,
) -> EmbeddedChunk:
    rows, pixels, failures = [], [], []
    for row, path in enumerate(paths, start):
        try:
            pixels.append(read_view(path, preprocessing))
            rows.append(row)
        except UnreadableImageError as error:
            failures.append((row, str(error).removeprefix(f"{path}: ")))
    features: dict[View, NDArray[np.float32]] = {}
    if pixels:
        batch = np.stack(pixels)
        features = {view: runtime.embed(batch if view == "center" else batch[:, :, ::-1]) for view in views}
    hashes = [difference_hash(view) for view in pixels] if with_hashes else [0] * len(pixels)
    return EmbeddedChunk(
        rows=np.array(rows, np.int64),
        features=features,
        difference_hashes=np.array(hashes, np.uint64),
        failures=tuple(failures),
    )
