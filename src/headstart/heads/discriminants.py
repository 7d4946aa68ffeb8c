"""Linear discriminant analysis on many overlapping subsets: the cheap head, where logistic ones take minutes.

All that a fit needs is sums over its rows. They are taken once for every part that the subsets are made of,
and put together for each, so that five folds cost one pass over the features and five solutions of a
linear system; the number of classes hardly matters.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LEAST_SHRINKAGE = 1e-3
_UNSEEN = 1e4  # taken from the logit of a class that a subset lacks
_BLOCK_ROWS = 4096


def discriminate(
    features: Floats,
    labels: NDArray[np.int64],
    n_classes: int,
    learning: NDArray[np.bool_],
    judged: Sequence[NDArray[np.int64]],
) -> Iterator[Floats]:
    """Fit one head a subset, and give its logits of the rows that it is to judge, `(len(rows), K)`.

    The pooled covariance within the classes is shrunk towards a multiple of the identity (Ledoit and Wolf,
    "A well-conditioned estimator for large-dimensional covariance matrices", 2004). Features are
    standardised over all rows, which tells nothing of their labels.

    Args:
        features: `(N, d)`, not changed.
        labels: Class indices `(N,)`.
        n_classes: K.
        learning: The rows of each of P subsets, `(P, N)`.
        judged: The rows that each subset's head is asked about.
    """
    from scipy.linalg import cho_factor, cho_solve

    x = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-5)
    kinds, part = np.unique(learning.T, axis=0, return_inverse=True)
    grams = [_gram(x[part.ravel() == number]) for number in range(len(kinds))]
    for used, inside, rows in zip(learning, kinds.T, judged, strict=True):
        learnt = np.flatnonzero(used)
        counts = np.bincount(labels[learnt], minlength=n_classes)
        centres = _sums(x, learnt, labels[learnt], n_classes)
        centres /= np.maximum(counts, 1)[:, None].astype(np.float32)
        gram = np.sum([gram for gram, there in zip(grams, inside, strict=True) if there], axis=0)
        within = (gram - (centres.T * counts.astype(np.float32)) @ centres).astype(np.float64) / len(learnt)
        fourth = _fourth_powers(x, learnt, centres[labels[learnt]]) / len(learnt)
        factor = cho_factor(_shrunk(within, fourth, len(learnt)), overwrite_a=True)
        weight = cho_solve(factor, centres.T.astype(np.float64)).astype(np.float32)
        bias = np.log(np.maximum(counts, 1) / len(learnt)) - (centres.T * weight).sum(axis=0) / 2
        bias[counts == 0] -= _UNSEEN
        yield x[rows] @ weight + bias.astype(np.float32)


def _gram(x: Floats) -> Floats:
    gram: Floats = x.T @ x
    return gram


def _sums(x: Floats, rows: NDArray[np.int64], labels: NDArray[np.int64], n_classes: int) -> Floats:
    """Summed features of each class, `(K, d)`."""
    from scipy.sparse import csr_array

    members = csr_array((np.ones(len(rows), np.float32), (labels, rows)), shape=(n_classes, len(x)))
    sums: Floats = members @ x
    return sums


def _fourth_powers(x: Floats, rows: NDArray[np.int64], centres: Floats) -> float:
    """Fourth powers of the rows' distances from their centres, summed."""
    total = 0.0
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        squares = np.square(x[rows[part]] - centres[part]).sum(axis=1, dtype=np.float64)
        total += float(np.square(squares).sum())
    return total


def _shrunk(covariance: NDArray[np.float64], fourth: float, n: int) -> NDArray[np.float64]:
    """Towards its mean variance, as far as its estimate from `n` rows is uncertain."""
    d = len(covariance)
    mean = float(np.trace(covariance)) / d
    squared = float(np.square(covariance).sum())
    spread = (squared - d * mean**2) / d
    noise = min((fourth - squared) / (d * n), spread)
    shrinkage = max(noise / spread if spread > 0 else 0.0, _LEAST_SHRINKAGE)
    shrunk: NDArray[np.float64] = (1 - shrinkage) * covariance
    shrunk[np.diag_indices(d)] += shrinkage * mean + 1e-9
    return shrunk
