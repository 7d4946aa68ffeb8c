"""Several processes that train one network together, each on its share of every batch.

torchrun or `accelerate launch` starts them and tells each its number; accelerate connects them. Gradients of
the shares are summed before each step, so that all processes take the step that one would have taken on the
whole batch. What is listed, converted, embedded, decoded or timed is done by the first, and then found in the
cache by the others; what is printed or saved is the first's alone. A process that is alone imports no torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.errors import ProcessError
from headstart.run.launch import process_count
from headstart.run.unfinished import describe_differences

if TYPE_CHECKING:
    import torch

_PATIENCE = timedelta(days=1)  # while the first embeds; torchrun ends those that wait for one that has ended
_BUCKET = 2**24  # numbers that are summed at once


@dataclass(frozen=True, slots=True)
class Processes:
    """This process and those that train with it; by default it is alone.

    Attributes:
        rank: Its number, from 0.
        count: Of all.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> "Processes":
        """Meet the processes that were started with this one, if any were.

        Raises:
            ProcessError: They can't be met.
        """
        if (count := process_count()) == 1:
            return cls()
        import torch
        from accelerate import PartialState

        try:
            state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:  # what is missing in the environment is a ValueError
            raise ProcessError(
                f"RANK and WORLD_SIZE say that {count} processes train together, but they can't meet "
                f"({_first_line(error)}). Start them with torchrun, or unset these variables."
            ) from error
        return cls(state.process_index, state.num_processes)

    @property
    def is_first(self) -> bool:
        """Whether it is this one that prints and saves."""
        return self.rank == 0

    @property
    def place(self) -> tuple[int, ...]:
        """What to add to a seed so that each draws something else; nothing to the first's."""
        return (self.rank,) if self.rank else ()

    def own(self, name: str) -> str:
        """The name of a file that each process has one of; the first's is the name itself."""
        stem, dot, suffix = name.rpartition(".")
        return name if self.is_first else f"{stem}-{self.rank}{dot}{suffix}"

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's rows of a batch; shares differ by one row at most."""
        return rows if self.count == 1 else np.array_split(rows, self.count)[self.rank]

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            from accelerate import PartialState

            with _explaining():
                PartialState().wait_for_everyone()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """First the first process alone, then the others, who find in the cache what it has done."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def total(self, *numbers: float) -> tuple[float, ...]:
        """The sums of each number over all processes."""
        if self.count == 1:
            return numbers
        import torch

        return tuple(self._sum(torch.tensor(numbers, dtype=torch.float64)).tolist())

    def first_says(self, answer: bool) -> bool:
        """What the first answers; a clock is read differently by each."""
        return bool(self.total(answer and self.is_first)[0])

    def add_up(self, tensors: Sequence["torch.Tensor"], scale: float = 1.0) -> None:
        """Replace each tensor by `scale` times its sum over all processes, in place, many at a time."""
        if self.count == 1:
            return
        import torch

        for bucket in _fill_buckets(tensors):
            whole = self._sum(torch.cat([tensor.reshape(-1) for tensor in bucket])) * scale
            parts = torch.split(whole, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def join_rows(self, own: "torch.Tensor", places: NDArray[np.int64], n_rows: int) -> "torch.Tensor":
        """Put together the rows that each has computed, `(n, ...)`: all `(n_rows, ...)`, by their places."""
        if self.count == 1:
            return own
        import torch

        whole = own.new_zeros((n_rows, *own.shape[1:]))
        whole[torch.from_numpy(places).to(own.device)] = own
        return self._sum(whole)

    def gather(self, tensor: "torch.Tensor") -> list["torch.Tensor"]:
        """Each process's tensor, in the order of their numbers; all of one shape."""
        if self.count == 1:
            return [tensor]
        from accelerate import PartialState
        from accelerate.utils import gather

        with _explaining():
            whole: torch.Tensor = gather(tensor.to(PartialState().device)[None])
        return list(whole.to(tensor.device))

    def tell(self, text: str) -> str:
        """The first process's text, on all of them."""
        if self.count == 1:
            return text
        import torch
        from accelerate import PartialState
        from accelerate.utils import broadcast

        device = PartialState().device
        data = torch.tensor([*text.encode(), 0], dtype=torch.uint8, device=device)  # none may be empty
        with _explaining():
            size = int(broadcast(torch.tensor([len(data)], device=device))[0])
            told = broadcast(data if self.is_first else data.new_zeros(size))
        return bytes(told.cpu().tolist()[:-1]).decode()

    def agree(self, facts: Mapping[str, str]) -> None:
        """See that all are about to train the same.

        Raises:
            ProcessError: Another file, setting or version is seen here than by the first process.
        """
        firsts = json.loads(self.tell(json.dumps(dict(facts))))
        if difference := describe_differences(firsts, facts):
            raise ProcessError(
                f"Process {self.rank} would train otherwise than the first, in whose place: {difference}. "
                "Give all of them the same files, settings and versions."
            )

    def _sum(self, tensor: "torch.Tensor") -> "torch.Tensor":
        from accelerate import PartialState
        from accelerate.utils import reduce

        with _explaining():
            whole: torch.Tensor = reduce(tensor.to(PartialState().device), reduction="sum")
        return whole.to(tensor.device)


@contextmanager
def _explaining() -> Iterator[None]:
    """Turn the loss of another process into an error of ours.

    Raises:
        ProcessError: In place of whatever the connection raised.
    """
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            "The connection to the other processes broke, as it does when one of them ends "
            f"({_first_line(error)}). "
            "If it says why, mend that; --resume then goes on from the last checkpoint."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _fill_buckets(tensors: Sequence["torch.Tensor"]) -> Iterator[list["torch.Tensor"]]:
    """The tensors in groups of about `_BUCKET` numbers."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(each.numel() for each in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
