"""Linear discriminant analysis with shrunk covariance, for a handful of images a class."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def fit_lda(features: Floats, labels: NDArray[np.int64], n_classes: int) -> tuple[Floats, Floats]:
    """Fit on few rows of many features.

    The pooled within-class covariance of standardised features is shrunk towards a multiple of
    the identity by Ledoit and Wolf's (2004) estimate, and inverted in the space that the rows
    span, which is exact and costs n³ instead of d³.

    Args:
        features: `(n, d)`.
        labels: Class indices `(n,)`; a class without rows gets a weight of 0 and a bias of -1e4.
        n_classes: K.

    Returns:
        Weight `(K, d)` and bias `(K,)` on raw features.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-5] = 1.0
    x = (x - mean) / scale
    counts = np.bincount(labels, minlength=n_classes)
    centres = np.zeros((n_classes, x.shape[1]))
    np.add.at(centres, labels, x)
    centres /= np.maximum(counts, 1)[:, None]
    within = x - centres[labels]
    shrinkage = 1.0  # of a single row, which has no spread to be estimated
    if len(x) > 1:
        shrinkage = max(float(ledoit_wolf_shrinkage(within, assume_centered=True)), 1e-3)
    _, singular, directions = np.linalg.svd(within, full_matrices=False)
    variances = np.square(singular) / len(x)
    floor = shrinkage * variances.sum() / x.shape[1] + 1e-12
    inside = 1 / ((1 - shrinkage) * variances + floor) - 1 / floor
    weight = centres / floor + ((centres @ directions.T) * inside) @ directions
    bias = -0.5 * (weight * centres).sum(axis=1) + np.log(np.maximum(counts, 1) / len(x))
    weight[counts == 0], bias[counts == 0] = 0.0, -1e4
    raw = weight / scale
    return raw.astype(np.float32), (bias - raw @ mean).astype(np.float32)
