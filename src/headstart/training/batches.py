"""What the loop is fed with: batches that depend on seed, epoch and image alone.

Neither threads nor an interruption change what an image looks like in an epoch, so a
resumed training sees just what the uninterrupted one would have seen.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.data.augment import Augmentation, augment
from headstart.data.pixels import PixelStore
from headstart.run.environment import available_cores
from headstart.training.processes import Processes

_AHEAD = 2


class Batches(Protocol):
    """Labelled inputs, epoch after epoch."""

    def n_steps(self) -> int:
        """Batches an epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs `(B, ...)` and class indices `(B,)` of an epoch, from batch `start` on."""
        ...


@dataclass(frozen=True, eq=False)
class ImageBatches:
    """Augmented views of stored pictures, `(B, size_px, size_px, 3) uint8`.

    Attributes:
        store: Holds the decoded pictures.
        keys: Key of each of N images.
        labels: Class indices, `(N,)`.
        policy: What happens to a picture.
        size_px: Side of the views.
        batch_size: Images a batch; batches of an epoch differ by one image at most.
        seed: Decides order and augmentation.
        balance: Draw the classes alike often (see `shuffle`), instead of each image once.
        processes: Those that share each batch; only the share of this one is made.
    """

    store: PixelStore
    keys: Sequence[str]
    labels: NDArray[np.int64]
    policy: Augmentation
    size_px: int
    batch_size: int
    seed: int
    balance: bool = False
    processes: Processes = field(default_factory=Processes)

    def n_steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self.keys) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Views and labels; the next batches are made while one is trained on."""
        order = shuffle(self.labels, [self.seed, epoch], balance=self.balance)
        draws = np.stack([order, count_repeats(order)], 1)
        with ThreadPoolExecutor(available_cores(), thread_name_prefix="augment") as pool:
            under_way: deque[tuple[NDArray[np.int64], list[Future[NDArray[np.uint8]]]]] = deque()
            try:
                for batch in np.array_split(draws, self.n_steps())[start:]:
                    drawn = self.processes.share(batch)
                    futures = [pool.submit(self.view, int(row), epoch, int(repeat)) for row, repeat in drawn]
                    under_way.append((drawn[:, 0], futures))
                    if len(under_way) > _AHEAD:
                        yield self._collect(*under_way.popleft())
                while under_way:
                    yield self._collect(*under_way.popleft())
            finally:
                for _, futures in under_way:
                    for future in futures:
                        future.cancel()

    def view(self, row: int, epoch: int, repeat: int = 0) -> NDArray[np.uint8]:
        """What an image looks like in an epoch, `(size_px, size_px, 3)`.

        Args:
            row: Of the image; its content decides the view, so that another split shows the same.
            epoch: From 0.
            repeat: How often the epoch has shown it before.
        """
        key = self.keys[row]
        rng = np.random.default_rng([self.seed, epoch, int(key, 16), repeat])
        return augment(self.store[key], self.policy, self.size_px, rng)

    def _collect(
        self, rows: NDArray[np.int64], futures: list[Future[NDArray[np.uint8]]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        views = np.stack([future.result() for future in futures])
        return torch.from_numpy(views), torch.from_numpy(self.labels[rows])


@dataclass(frozen=True, eq=False)
class ShortEpochs:
    """Epochs of so many steps, whatever the number of images: where one ends the next goes on.

    Each image is still seen once before any is seen twice, and then in another order.

    Attributes:
        batches: What is dealt out.
        steps: Batches an epoch; more than there are begin the images anew.
    """

    batches: Batches
    steps: int

    def n_steps(self) -> int:
        """Batches an epoch."""
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and class indices of an epoch, from batch `start` on."""
        at, end, full = epoch * self.steps + start, (epoch + 1) * self.steps, self.batches.n_steps()
        while at < end:
            number, first = divmod(at, full)
            todo = min(full - first, end - at)
            yield from islice(self.batches.epoch(number, first), todo)
            at += todo


@dataclass(frozen=True, eq=False)
class GrowingBatches:
    """Batches of the same images, as many in each epoch, whose views are of another size in each.

    Attributes:
        of_size: Makes the batches with views of a side.
        sizes: The side in each epoch.
    """

    of_size: Callable[[int], Batches]
    sizes: Sequence[int]

    def n_steps(self) -> int:
        """Batches an epoch."""
        return self.of_size(self.sizes[-1]).n_steps()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and class indices of an epoch, from batch `start` on."""
        return self.of_size(self.sizes[epoch]).epoch(epoch, start)


def shuffle(labels: NDArray[np.int64], seed: Sequence[int], *, balance: bool) -> NDArray[np.int64]:
    """The order of an epoch, `(N,)`.

    Balanced, each class has an equal share of the N draws, one image more or less, and within a class
    each image is drawn equally often, once more or less: a small class repeats its images, and a large
    one shows others in the next epoch.
    """
    rng = np.random.default_rng(seed)
    if not balance:
        return rng.permutation(len(labels))
    classes = np.unique(labels)
    shares = np.full(len(classes), len(labels) // len(classes))
    shares[rng.permutation(len(classes))[: len(labels) % len(classes)]] += 1
    drawn = []
    for name, share in zip(classes, shares, strict=True):
        rows = np.flatnonzero(labels == name)
        passes = [rng.permutation(rows) for _ in range(-(-share // len(rows)))]
        drawn.append(np.concatenate([rows[:0], *passes])[:share])
    return rng.permutation(np.concatenate(drawn))


def count_repeats(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each element stood in the order before, `(N,)`."""
    seen: Counter[int] = Counter()
    repeats = np.zeros_like(order)
    for position, row in enumerate(order.tolist()):
        repeats[position] = seen[row]
        seen[row] += 1
    return repeats
