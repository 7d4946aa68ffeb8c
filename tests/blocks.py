"""Features in memory, as the heads take them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headstart.heads.logistic import Floats


@dataclass(frozen=True)
class Blocks:
    """Features handed out in `n_blocks` pieces."""

    x: Floats
    n_blocks: int = 1

    @property
    def dim(self) -> int:
        return self.x.shape[1]

    def __len__(self) -> int:
        return len(self.x)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        edges = np.linspace(0, len(self.x), self.n_blocks + 1).astype(int)
        for start, stop in itertools.pairwise(edges):
            yield slice(int(start), int(stop)), self.x[start:stop]
