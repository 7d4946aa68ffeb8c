"""Cached activations: what stays frozen runs once a view, and only what learns runs every epoch.

The lower part of a cut network embeds K augmented views of each image on the fastest runtime; what
comes out at the cut is written to disk as float16 and mapped into memory. Training above the cut then
takes each epoch one of the K views of each image, as though it had been made for that epoch.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.backbones.runtime import Runtime
from headstart.progress import Advance
from headstart.run.atomic import converting_errors, replacing, write_json
from headstart.training.batches import shuffle
from headstart.training.processes import Processes

_AHEAD = 16
_EVALUATION_BATCH = 64

MakeView = Callable[[int, int], NDArray[np.uint8]]
"""Row of an image and number of a view to the view `(H, W, 3)`."""


@dataclass(frozen=True, eq=False)
class Activations:
    """What comes out at the cut, `(N, K, ...) float16`; images as `(H, W, C)`, tokens as `(T, C)`.

    Attributes:
        data: Mapped from disk.
    """

    data: NDArray[np.float16]

    @property
    def n_views(self) -> int:
        """K."""
        return int(self.data.shape[1])

    def batch(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> torch.Tensor:
        """One view of each row, `(B, C, H, W)` in channels-last memory, or `(B, T, C)`."""
        picked = torch.from_numpy(self.data[rows, views])
        return picked.permute(0, 3, 1, 2) if picked.ndim == 4 else picked


@dataclass(frozen=True, eq=False)
class ActivationBatches:
    """Batches of activations: each epoch one of an image's views, all of them before one comes again.

    Attributes:
        activations: Of N images.
        labels: Class indices, `(N,)`.
        batch_size: Images a batch; batches of an epoch differ by one image at most.
        seed: Decides order and views.
        balance: Draw the classes alike often, instead of each image once.
        processes: Those that share each batch; only the share of this one is read.
        first_epoch: Of the training, in which these views are shown first.
    """

    activations: Activations
    labels: NDArray[np.int64]
    batch_size: int
    seed: int
    balance: bool = False
    processes: Processes = field(default_factory=Processes)
    first_epoch: int = 0

    def n_steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Activations and class indices of an epoch, from batch `start` on."""
        order = shuffle(self.labels, [self.seed, epoch], balance=self.balance)
        n_views, turn = self.activations.n_views, epoch - self.first_epoch
        rng = np.random.default_rng([self.seed, self.first_epoch, turn // n_views])
        offsets = rng.integers(n_views, size=len(self.labels))
        for batch in np.array_split(order, self.n_steps())[start:]:
            rows = self.processes.share(batch)
            yield (
                self.activations.batch(rows, (offsets[rows] + turn) % n_views),
                torch.from_numpy(self.labels[rows]),
            )


def evaluation_batches(activations: Activations) -> Iterator[torch.Tensor]:
    """The first view of every image, in order."""
    rows = np.arange(len(activations.data))
    for chunk in np.array_split(rows, max(1, -(-len(rows) // _EVALUATION_BATCH))):
        yield activations.batch(chunk, np.zeros_like(chunk))


def store_activations(
    file: Path,
    lower: Runtime,
    view: MakeView,
    size: tuple[int, int],
    advance: Advance,
) -> Activations:
    """Embed the views of N images up to the cut, or take them from a file that holds them already.

    Args:
        file: Where they go, written aside and renamed; beside it a `.json` says what it holds.
        lower: The lower part of the network.
        view: Makes the views; called from several threads.
        size: N and K.
        advance: Told of each image.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    facts = file.with_suffix(".json")
    if (found := _open(file, facts, size)) is not None:
        advance(size[0])
        return found
    shape: Sequence[int] = ()
    with converting_errors(file), replacing(file) as aside, aside.open("wb") as out:
        for activations in _embed(lower, view, size):
            shape = activations.shape[1:]
            out.write(activations.data)
            advance(1)
    write_json(facts, {"shape": [*size, *shape]})
    return Activations(np.memmap(file, np.float16, "r", shape=(*size, *shape)))


def _open(file: Path, facts: Path, size: tuple[int, int]) -> Activations | None:
    try:
        shape = tuple(json.loads(facts.read_text(encoding="utf-8"))["shape"])
        if shape[:2] == size and file.stat().st_size == 2 * int(np.prod(shape)):
            return Activations(np.memmap(file, np.float16, "r", shape=shape))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _embed(lower: Runtime, view: MakeView, size: tuple[int, int]) -> Iterator[NDArray[np.float16]]:
    """Activations `(K, ...)` of each image, in order; images are worked on in parallel."""
    n_images, n_views = size

    def work(row: int) -> NDArray[np.float16]:
        embedded = lower.embed(np.stack([view(row, number) for number in range(n_views)]))
        if embedded.ndim == 4:
            embedded = embedded.transpose(0, 2, 3, 1)
        half = embedded.clip(-_HALF_MAX, _HALF_MAX).astype(np.float16)
        return np.ascontiguousarray(half)

    with ThreadPoolExecutor(lower.parallel + 1, thread_name_prefix="boundary") as pool:
        under_way: deque[Future[NDArray[np.float16]]] = deque()
        try:
            for row in range(n_images):
                under_way.append(pool.submit(work, row))
                if len(under_way) > _AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


_HALF_MAX = float(np.finfo(np.float16).max)
