"""Find near-duplicates: the same picture resized, re-encoded or slightly cropped.

Two signs must agree. The cosine between centred features says that the content is the same;
the difference hash says that the layout is. Either alone errs: features of two different
ladybirds are close, hashes of two pictures with a plain background too.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.features.store import FeatureTable

RULES: tuple[tuple[float, int], ...] = ((0.9, 16), (0.8, 12), (0.7, 6))
"""(least cosine, most differing bits of 64): a pair is a near-duplicate if any rule holds.

Measured on four photo sets: unrelated pairs never meet one, and copies at 70 % size, JPEG
quality 50 or cropped by 5 % nearly always do."""

_MIN_BITS = 8  # a hash with fewer set or unset bits comes from a plain picture and says little
_SKETCH_DIM = 128
_SKETCH_SLACK = 0.15
_BLOCK = 2048


def find_near_duplicates(
    table: FeatureTable, difference_hashes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Pairs of rows that show the same picture, `(M, 2)`, the smaller row first.

    Compares all pairs, of a random projection to 128 dimensions (Johnson and Lindenstrauss,
    1984), then looks at the likely ones exactly: 50,000 images take seconds.

    Args:
        table: N rows of features.
        difference_hashes: `(N,)`, see `embed.difference_hash`.
    """
    sketches, mean = _sketch(table)
    informative = _informative(difference_hashes)
    least = min(cosine for cosine, _ in RULES) - _SKETCH_SLACK
    most = max(bits for _, bits in RULES)
    found = []
    for start in range(0, len(sketches), _BLOCK):
        block = sketches[start : start + _BLOCK]
        left, right = np.nonzero(block @ sketches[start:].T >= least)
        above = left < right
        left, right = left[above] + start, right[above] + start
        bits = np.bitwise_count(difference_hashes[left] ^ difference_hashes[right])
        likely = (bits <= most) & informative[left] & informative[right]
        found.append(np.stack([left[likely], right[likely]], axis=1))
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    cosines = np.concatenate([_cosines(table, mean, chunk) for chunk in _chunks(pairs)] or [np.empty(0)])
    bits = np.bitwise_count(difference_hashes[pairs[:, 0]] ^ difference_hashes[pairs[:, 1]])
    same = np.zeros(len(pairs), bool)
    for least_cosine, most_bits in RULES:
        same |= (cosines >= least_cosine) & (bits <= most_bits)
    return pairs[same]


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
    sketches /= np.maximum(np.linalg.norm(sketches, axis=1, keepdims=True), 1e-12)
    return sketches, mean


def _informative(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    bits = np.bitwise_count(hashes)
    return (bits >= _MIN_BITS) & (bits <= 64 - _MIN_BITS)


def _chunks(pairs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(pairs), _BLOCK):
        yield pairs[start : start + _BLOCK]


def _cosines(
    table: FeatureTable, mean: NDArray[np.float32], pairs: NDArray[np.int64]
) -> NDArray[np.float32]:
    rows, inverse = np.unique(pairs, return_inverse=True)
    x = table.take(rows).matrix() - mean
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    left, right = inverse.reshape(pairs.shape).T
    cosines: NDArray[np.float32] = np.einsum("md,md->m", x[left], x[right])
    return cosines
