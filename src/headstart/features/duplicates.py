"""Find near-duplicates: the same picture resized, re-encoded or slightly cropped.

Two signs must agree. Features must be far closer than two pictures of one class ordinarily are
in this very data set (in a set of digits nearly all pictures are close, in photographs few are),
and the difference hash must say that the layout is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.features.store import FeatureTable

RULES: tuple[tuple[float, int], ...] = ((6.0, 16), (4.0, 6))
"""(least closeness, most differing bits of 64): a pair is a near-duplicate if a rule holds.

Closeness counts spreads above the class's ordinary pair, see `Ordinary`. In four photo sets
unrelated pairs met no rule but once in ten million, while copies at 70 % size, at JPEG quality
50, or cropped by 5 % nearly always met one."""

_MIN_BITS = 8  # a hash with fewer set or unset bits comes from a plain picture and says little
_SKETCH_DIM = 128
_SKETCH_SLACK = 0.2
_BLOCK = 2048
_SAMPLED_ROWS = 1500
_MIN_PAIRS = 200
_MAX_COSINE = 0.9999


@dataclass(frozen=True, slots=True)
class Ordinary:
    """How close two pictures of one class ordinarily are: median and upper spread of atanh(cosine).

    Cosines are of centred features; atanh (Fisher, 1915) makes their distribution near to normal.
    """

    median: float = 0.1
    spread: float = 0.14

    def closeness(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Spreads above the median."""
        clipped = np.clip(cosines, -_MAX_COSINE, _MAX_COSINE)
        return ((np.arctanh(clipped) - self.median) / self.spread).astype(np.float32)

    def cosine(self, closeness: float) -> float:
        """The cosine of a pair this close."""
        return float(np.tanh(self.median + closeness * self.spread))


def find_near_duplicates(
    table: FeatureTable, difference_hashes: NDArray[np.uint64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Pairs of rows that show the same picture, `(M, 2)`, the smaller row first.

    Compares all pairs, of a random projection to 128 dimensions (Johnson and Lindenstrauss,
    1984), then looks at the likely ones exactly: 50,000 images take seconds.

    Args:
        table: N rows of features.
        difference_hashes: `(N,)`, see `embed.difference_hash`.
        labels: Class indices `(N,)`.
    """
    sketches, mean = _sketch(table)
    ordinary = _ordinary(table, mean, labels)
    least = ordinary.cosine(min(closeness for closeness, _ in RULES)) - _SKETCH_SLACK
    pairs = _likely_pairs(sketches, difference_hashes, least)
    cosines = np.concatenate([_cosines(table, mean, c) for c in _chunks(pairs)] or [np.empty(0, np.float32)])
    closeness = ordinary.closeness(cosines)
    bits = np.bitwise_count(difference_hashes[pairs[:, 0]] ^ difference_hashes[pairs[:, 1]])
    same = np.zeros(len(pairs), bool)
    for least_closeness, most_bits in RULES:
        same |= (closeness >= least_closeness) & (bits <= most_bits)
    return pairs[same]


def _likely_pairs(
    sketches: NDArray[np.float32], hashes: NDArray[np.uint64], least: float
) -> NDArray[np.int64]:
    """Pairs whose sketches and hashes come near enough to be looked at, `(M, 2)`."""
    informative = _informative(hashes)
    most = max(bits for _, bits in RULES)
    found = [np.empty((0, 2), np.int64)]
    starts = range(0, len(sketches), _BLOCK)
    for top, side in ((top, side) for top in starts for side in starts if side >= top):
        left, right = np.nonzero(sketches[top : top + _BLOCK] @ sketches[side : side + _BLOCK].T >= least)
        left, right = left + top, right + side
        above = left < right
        left, right = left[above], right[above]
        near = np.bitwise_count(hashes[left] ^ hashes[right]) <= most
        near &= informative[left] & informative[right]
        found.append(np.stack([left[near], right[near]], axis=1))
    return np.concatenate(found)


def _ordinary(table: FeatureTable, mean: NDArray[np.float32], labels: NDArray[np.int64]) -> Ordinary:
    """Measure it on pairs of one class among evenly spread rows; few pairs leave the usual values."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(_SAMPLED_ROWS, len(table))).astype(np.int64))
    x = _normalised(table.take(rows).matrix() - mean)
    left, right = np.triu_indices(len(rows), 1)
    same_class = labels[rows][left] == labels[rows][right]
    if same_class.sum() < _MIN_PAIRS:
        return Ordinary()
    cosines = (x @ x.T)[left[same_class], right[same_class]]
    # The upper spread up to the 84th percentile: copies, if they are few, don't widen it.
    median, upper = np.percentile(np.arctanh(np.clip(cosines, -_MAX_COSINE, _MAX_COSINE)), (50, 84))
    return Ordinary(float(median), max(float(upper - median), 1e-3))


def _sketch(table: FeatureTable) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centred, projected, normalised features `(N, 128)`, and the mean feature `(d,)`."""
    rng = np.random.default_rng(0)
    projection = rng.standard_normal((table.dim, min(_SKETCH_DIM, table.dim)), np.float32)
    total = np.zeros(table.dim)
    sketches = np.empty((len(table), projection.shape[1]), np.float32)
    for rows, x in table.blocks():
        total += x.sum(axis=0, dtype=np.float64)
        sketches[rows] = x @ projection
    mean = (total / max(len(table), 1)).astype(np.float32)
    sketches -= mean @ projection
    return _normalised(sketches), mean


def _informative(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    bits = np.bitwise_count(hashes)
    return (bits >= _MIN_BITS) & (bits <= 64 - _MIN_BITS)


def _chunks(pairs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(pairs), _BLOCK):
        yield pairs[start : start + _BLOCK]


def _cosines(table: FeatureTable, mean: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    rows, inverse = np.unique(pairs, return_inverse=True)
    x = _normalised(table.take(rows).matrix() - mean)
    left, right = inverse.reshape(pairs.shape).T
    cosines: NDArray[np.float32] = np.einsum("md,md->m", x[left], x[right])
    return cosines


def _normalised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    unit: NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit
