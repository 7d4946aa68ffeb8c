"""Discriminant analysis on few rows: scikit-learn's decisions, whatever the shapes."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from headstart.heads.lda import Floats, fit_lda
from headstart.metrics.calibration import softmax

Ints = NDArray[np.int64]


def problem(n_per_class: int, d: int, n_classes: int, seed: int = 0) -> tuple[Floats, Ints]:
    """Correlated Gaussian classes of different offsets and scales."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(n_classes), n_per_class))
    centres = rng.standard_normal((n_classes, d))
    mixed = rng.standard_normal((len(labels), d)) @ rng.standard_normal((d, d)) / np.sqrt(d)
    x = (0.6 * centres[labels] + mixed) * rng.uniform(0.1, 5, d) + rng.uniform(-5, 5, d)
    return x.astype(np.float32), labels


@pytest.mark.parametrize(
    ("n_per_class", "d", "n_classes"), [(10, 20, 2), (5, 100, 4), (10, 300, 3), (60, 20, 3)]
)
def test_decides_as_sklearn(n_per_class: int, d: int, n_classes: int) -> None:
    x, labels = problem(n_per_class + 100, d, n_classes)
    learn = np.concatenate([np.flatnonzero(labels == k)[:n_per_class] for k in range(n_classes)])
    weight, bias = fit_lda(x[learn], labels[learn], n_classes)
    scaler = StandardScaler().fit(x[learn].astype(np.float64))
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    model.fit(scaler.transform(x[learn].astype(np.float64)), labels[learn])
    expected = model.predict_proba(scaler.transform(x.astype(np.float64)))
    p = softmax(x @ weight.T + bias)
    assert (p.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.95
    assert abs((p.argmax(axis=1) == labels).mean() - (expected.argmax(axis=1) == labels).mean()) < 0.03


def test_is_exact_in_the_space_of_the_rows() -> None:
    # The covariance is inverted among n rows, not d features; the whole matrix must give the same.
    x, labels = problem(8, 50, 3)
    weight, bias = fit_lda(x, labels, 3)
    z = (x - x.mean(axis=0, dtype=np.float64)) / x.std(axis=0, dtype=np.float64)
    centres = np.stack([z[labels == k].mean(axis=0) for k in range(3)])
    within = z - centres[labels]
    shrinkage = ledoit_wolf_shrinkage(within, assume_centered=True)
    covariance = within.T @ within / len(z)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 50 * np.eye(50)
    w = np.linalg.solve(covariance, centres.T).T
    logits = z @ w.T - 0.5 * (w * centres).sum(axis=1) + np.log(1 / 3)
    found = x.astype(np.float64) @ weight.T + bias
    assert np.abs(softmax(found) - softmax(logits)).max() < 1e-4


def test_class_sizes_are_priors() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 10])
    x = rng.standard_normal((40, 5)).astype(np.float32)
    weight, bias = fit_lda(x, labels, 2)
    middle = 0.5 * (x[labels == 0].mean(axis=0) + x[labels == 1].mean(axis=0))
    p = softmax((middle @ weight.T + bias)[None])[0]
    assert p[0] == pytest.approx(0.75, abs=0.01)


def test_a_single_row_has_no_spread() -> None:
    x = np.ones((1, 4), np.float32)
    weight, bias = fit_lda(x, np.zeros(1, np.int64), 2)
    assert np.isfinite(weight).all()
    assert bias[0] > bias[1]


def test_class_absent() -> None:
    x, labels = problem(10, 20, 3)
    here = labels != 1
    weight, bias = fit_lda(x[here], labels[here], 3)
    assert (weight[1] == 0).all()
    assert bias[1] == -1e4
    p = softmax(x @ weight.T + bias)
    assert (p[:, 1] == 0).all()
    assert (p[here].argmax(axis=1) == labels[here]).mean() > 0.9


def test_constant_features_and_single_images_do_no_harm() -> None:
    x, labels = problem(4, 10, 3)
    keep = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:1]])
    x[:, 3] = 7.0
    weight, bias = fit_lda(x[keep], labels[keep], 3)
    assert weight.shape == (3, 10)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    assert np.abs(weight[:, 3]).max() < 1e-6


def test_one_image_a_class_finds_the_nearest() -> None:
    x = np.array([[0, 0, 1], [10, 10, 1], [20, 0, 1]], np.float32)
    weight, bias = fit_lda(x, np.arange(3), 3)
    assert ((x @ weight.T + bias).argmax(axis=1) == np.arange(3)).all()
