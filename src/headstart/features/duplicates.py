"""Find near-duplicates: the same picture resized, re-encoded or slightly cropped.

Pairs that look alike in small are laid onto each other (`alignment`). They are the same picture if their
thumbnails then agree almost wholly, and if thumbnails and features together are far more alike than two
pictures of one class ordinarily are in this very data set: in a set of digits nearly all pictures are alike,
in photographs few.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.features.alignment import SAME, aligned_correlation
from headstart.features.store import FeatureTable

LEAST_CORRELATION = 0.95
"""Of aligned thumbnails. In CIFAR-10, whose ships and cars are much alike, different pictures reach it once
in ten million pairs; copies at 70 % size, at JPEG quality 50 or cropped by 5 % have 0.96 and more."""

LEAST_FEATURES, LEAST_THUMBNAILS, LEAST_SUM = 1.0, 3.5, 6.5
"""Spreads above the ordinary pair, see `Ordinary`: of each sign, and of both together."""

_COARSE_PX = 8
_COARSE_CORRELATION = 0.75  # of thumbnails of that size, not aligned
_MOST_BITS = 18  # of 64 in which the difference hashes differ
_MIN_BITS = 8  # a hash with fewer set or unset bits comes from a plain picture and says little
_NEAREST = 4
_BLOCK, _PAIRS_AT_ONCE = 2048, 1024
_SAMPLED_ROWS, _SAMPLED_PAIRS = 1500, 1000
_MIN_PAIRS = 200


@dataclass(frozen=True, slots=True)
class Ordinary:
    """How alike two pictures of one class ordinarily are: median and upper spread of atanh(likeness).

    Likeness is a cosine of centred features or a correlation; atanh (Fisher, 1915) makes the distribution of
    either near to normal.
    """

    median: float = 0.1
    spread: float = 0.14

    @classmethod
    def of(cls, likeness: NDArray[np.float32]) -> "Ordinary":
        """Of many ordinary pairs. The spread goes up to the 84th percentile: a few copies don't widen it."""
        median, upper = np.percentile(np.arctanh(np.clip(likeness, -SAME, SAME)), (50, 84))
        return cls(float(median), max(float(upper - median), 1e-3))

    def closeness(self, likeness: NDArray[np.float32]) -> NDArray[np.float32]:
        """Spreads above the median."""
        clipped = np.clip(likeness, -SAME, SAME)
        return ((np.arctanh(clipped) - self.median) / self.spread).astype(np.float32)


USUAL_FEATURES, USUAL_THUMBNAILS = Ordinary(0.1, 0.14), Ordinary(0.2, 0.3)
"""Of photographs; taken where too few pairs of one class can be measured."""


def find_near_duplicates(
    table: FeatureTable, difference_hashes: NDArray[np.uint64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Pairs of rows that show the same picture, `(M, 2)`, the smaller row first.

    Compares all pairs of thumbnails of 8 pixels and of hashes, then looks at the likely ones closely: 50,000
    images of which few are alike take seconds, 25 altered copies of each of 2,000 minutes. Of many pictures
    that are all alike, such as a video's frames, each is looked at with its nearest ones only, and an exact
    copy, which its key tells, with none: what hangs together still does, but not every pair is listed.

    Args:
        table: N rows of features with thumbnails.
        difference_hashes: `(N,)`, see `embed.difference_hash`.
        labels: Class indices `(N,)`.
    """
    places = np.stack([table.part, table.row], axis=1)
    first = np.sort(np.unique(places, axis=0, return_index=True)[1])
    pairs = _find_among_different(table.take(first), difference_hashes[first], labels[first])
    return first[pairs]


def _find_among_different(
    table: FeatureTable, hashes: NDArray[np.uint64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    mean = _mean(table)
    ordinary, ordinary_thumbnails = _ordinary(table, mean, labels)
    found = [np.empty((0, 2), np.int64)]
    for pairs in _chunks(_likely_pairs(_coarse(table), hashes)):
        closeness = ordinary.closeness(_cosines(table, mean, pairs))
        near, closeness = pairs[closeness >= LEAST_FEATURES], closeness[closeness >= LEAST_FEATURES]
        correlation = _correlations(table, near)
        fit = ordinary_thumbnails.closeness(correlation)
        same = (correlation >= LEAST_CORRELATION) & (fit >= LEAST_THUMBNAILS) & (closeness + fit >= LEAST_SUM)
        found.append(near[same])
    return np.concatenate(found)


def _likely_pairs(coarse: NDArray[np.float32], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pairs alike in small and in hash, of each row those with its nearest, `(M, 2)`."""
    pairs, likeness = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    for top in range(0, len(coarse), _BLOCK):
        found = [_compare_blocks(coarse, hashes, top, side) for side in range(top, len(coarse), _BLOCK)]
        pairs, likeness = map(np.concatenate, zip((pairs, likeness), *found, strict=True))
        # Now, for at the end there would be far more, if many pictures are alike.
        nearest = _nearest_of_either(pairs, likeness)
        pairs, likeness = pairs[nearest], likeness[nearest]
    return pairs


def _compare_blocks(
    coarse: NDArray[np.float32], hashes: NDArray[np.uint64], top: int, side: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pairs between the rows from `top` and those from `side` on, `(M, 2)`, and how alike they are."""
    alike = coarse[top : top + _BLOCK] @ coarse[side : side + _BLOCK].T
    left, right = np.nonzero(alike >= _COARSE_CORRELATION)
    alike, left, right = alike[left, right], left + top, right + side
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= _MOST_BITS
    near &= _informative(hashes[left]) & _informative(hashes[right]) & (left < right)
    pairs, alike = np.stack([left[near], right[near]], axis=1), alike[near]
    nearest = _nearest_of_either(pairs, alike)
    return pairs[nearest], alike[nearest]


def _coarse(table: FeatureTable) -> NDArray[np.float32]:
    """Thumbnails shrunk once more, of mean 0 and length 1, `(N, 64)`."""
    out = np.empty((len(table), _COARSE_PX**2), np.float32)
    for start in range(0, len(table), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(table)))
        pixels = table.take(rows).thumbnails()
        step = pixels.shape[1] // _COARSE_PX
        shape = (len(rows), _COARSE_PX, step, _COARSE_PX, step)
        out[rows] = pixels.reshape(shape).mean(axis=(2, 4), dtype=np.float32).reshape(len(rows), -1)
    return _normalised(out - out.mean(axis=1, keepdims=True))


def _nearest_of_either(pairs: NDArray[np.int64], likeness: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of the pairs that are among the nearest of one of their rows."""
    if len(pairs) <= _NEAREST:
        return np.arange(len(pairs))
    rows, sides = pairs.T.ravel(), np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((-likeness[sides], rows))
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return np.unique(sides[order[rank < _NEAREST]])


def _ordinary(
    table: FeatureTable, mean: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[Ordinary, Ordinary]:
    """Of features and of thumbnails, on pairs of one class among evenly spread rows; the usual if few."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(_SAMPLED_ROWS, len(table))).astype(np.int64))
    left, right = np.triu_indices(len(rows), 1)
    same_class = labels[rows][left] == labels[rows][right]
    pairs = np.stack([left[same_class], right[same_class]], axis=1)
    if len(pairs) < _MIN_PAIRS:
        return USUAL_FEATURES, USUAL_THUMBNAILS
    x = _normalised(table.take(rows).matrix() - mean)
    some = pairs[np.linspace(0, len(pairs) - 1, min(_SAMPLED_PAIRS, len(pairs))).astype(np.int64)]
    return Ordinary.of((x @ x.T)[pairs[:, 0], pairs[:, 1]]), Ordinary.of(_correlations(table, rows[some]))


def _mean(table: FeatureTable) -> NDArray[np.float32]:
    """The mean feature, `(d,)`."""
    total = np.zeros(table.dim)
    for _, x in table.blocks():
        total += x.sum(axis=0, dtype=np.float64)
    mean: NDArray[np.float32] = (total / max(len(table), 1)).astype(np.float32)
    return mean


def _informative(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    bits = np.bitwise_count(hashes)
    return (bits >= _MIN_BITS) & (bits <= 64 - _MIN_BITS)


def _chunks(pairs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        yield pairs[start : start + _PAIRS_AT_ONCE]


def _cosines(table: FeatureTable, mean: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    rows, inverse = np.unique(pairs, return_inverse=True)
    x = _normalised(table.take(rows).matrix() - mean)
    left, right = inverse.reshape(pairs.shape).T
    cosines: NDArray[np.float32] = np.einsum("md,md->m", x[left], x[right])
    return cosines


def _correlations(table: FeatureTable, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    rows, inverse = np.unique(pairs, return_inverse=True)
    left, right = inverse.reshape(pairs.shape).T
    thumbnails = table.take(rows).thumbnails()
    return aligned_correlation(thumbnails[left], thumbnails[right])


def _normalised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    unit: NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit
