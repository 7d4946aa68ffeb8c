"""The VGG-style head on stored features: two wide hidden layers with dropout.

(Simonyan and Zisserman 2015.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.heads.hidden import Floats, Hidden
from headstart.training.batches import shuffle

_DROPOUT = 0.5
_MIN_DEVIATION = 1e-5  # a narrower feature is constant, and stays as it is


class Mlp(nn.Module):
    """Features `(B, d)` to logits `(B, K)`; all parameters are under `head.`.

    Args:
        features: Of the training images, `(N, d)`: each is standardised by their mean and deviation.
        n_classes: K.
        width: Of both hidden layers.
        seed: Decides the first weights (Xavier, zero bias).
    """

    def __init__(self, features: Floats, n_classes: int, *, width: int, seed: int = 0) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        deviation = features.std(axis=0)
        self.register_buffer("mean", torch.from_numpy(features.mean(axis=0)))
        self.register_buffer(
            "deviation",
            torch.from_numpy(np.where(deviation > _MIN_DEVIATION, deviation, 1).astype(np.float32)),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = (features.shape[1], width, width, n_classes)
            linear = [nn.Linear(lower, upper) for lower, upper in pairwise(sizes)]
            for layer in linear:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        hidden = [part for layer in linear[:-1] for part in (layer, nn.ReLU(), nn.Dropout(_DROPOUT))]
        self.head = nn.Sequential(*hidden, linear[-1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of features."""
        logits: torch.Tensor = self.head((features - self.mean) / self.deviation)
        return logits

    def layers(self) -> tuple[Hidden, Floats, Floats]:
        """Hidden layers that take raw features, and the last one's weight `(K, m)` and bias `(K,)`."""
        mean, deviation = self.mean.cpu().numpy(), self.deviation.cpu().numpy()
        layers = [
            tuple(p.detach().float().cpu().numpy().copy() for p in (layer.weight, layer.bias))
            for layer in self.head
            if isinstance(layer, nn.Linear)
        ]
        weight, bias = layers[0]
        raw = weight / deviation
        layers[0] = raw, bias - raw @ mean
        *hidden, last = [(weight, bias) for weight, bias in layers]
        return tuple(hidden), *last


@dataclass(frozen=True, eq=False)
class FeatureBatches:
    """Stored features `(B, d) float32`, each image's of one of its views.

    Attributes:
        views: Features of each view, `(N, d)` each; an epoch draws one for each image.
        labels: Class indices, `(N,)`.
        batch_size: Images a batch; batches of an epoch differ by one image at most.
        seed: Decides order and views.
        balance: Draw the classes alike often (see `shuffle`), instead of each image once.
    """

    views: Sequence[Floats]
    labels: NDArray[np.int64]
    batch_size: int
    seed: int
    balance: bool = False

    def n_steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Features and labels of an epoch, from batch `start` on."""
        order = shuffle(self.labels, [self.seed, epoch], balance=self.balance)
        drawn = np.random.default_rng([self.seed, epoch, 1]).integers(0, len(self.views), len(order))
        for places in np.array_split(np.arange(len(order)), self.n_steps())[start:]:
            pairs = zip(drawn[places], order[places], strict=True)
            features = np.stack([self.views[view][row] for view, row in pairs])
            yield torch.from_numpy(features), torch.from_numpy(self.labels[order[places]])
