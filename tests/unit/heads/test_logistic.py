"""The shared solver finds scikit-learn's own solution, however the problems and the rows are arranged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from blocks import Blocks
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import choose_runtime
from headstart.backbones.trunk import open_trunk
from headstart.data.dataset import Dataset
from headstart.features.embed import read_sample
from headstart.features.extract import extract, open_store
from headstart.heads.logistic import (
    FeatureBlocks,
    Floats,
    LinearHeads,
    LogisticPath,
    StackedBlocks,
    leading_directions,
)
from headstart.metrics.calibration import softmax
from support import digest

Ints = NDArray[np.int64]
TOLERANCE = 1e-4  # in probability


def problem(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[Floats, Ints]:
    """Overlapping classes; features of different offsets and scales, correlated, never negative."""
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, n_classes, n))
    labels[:n_classes] = np.arange(n_classes)
    hidden = rng.standard_normal((n_classes, 8))[labels] * 0.7 + rng.standard_normal((n, 8))
    x = hidden @ rng.standard_normal((8, d)) + rng.standard_normal((n, d))
    x = np.maximum(x, 0) * rng.uniform(0.05, 5, d) + rng.uniform(0, 3, d)
    order = rng.permutation(n)
    return x[order].astype(np.float32), labels[order]


def by_sklearn(x: Floats, labels: Ints, c: float, weights: Floats | None = None) -> NDArray[np.float64]:
    """Probabilities of all rows by a fit on those of positive weight."""
    weights = np.ones(len(x), np.float32) if weights is None else weights
    learn = weights > 0
    scaler = StandardScaler().fit(x[learn].astype(np.float64))
    # With two classes scikit-learn fits one vector v and we fit two, which end at v/2 and -v/2: our
    # penalty l2/2 (|v/2|² + |v/2|²) is l2/4 |v|², half of its 1/(2 C) |v|² at the same C = 1/l2.
    # So its C must be twice ours.
    strength = 2 * c if len(np.unique(labels[learn])) == 2 else c
    model = LogisticRegression(C=strength, solver="lbfgs", tol=1e-10, max_iter=20_000)
    model.fit(scaler.transform(x[learn].astype(np.float64)), labels[learn], weights[learn])
    p: NDArray[np.float64] = model.predict_proba(scaler.transform(x.astype(np.float64)))
    return p


def probabilities(heads: LinearHeads, p: int = 0) -> NDArray[np.float64]:
    """`(N, K)` of problem p."""
    return softmax(heads.logits[:, p].T)


def gap(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Largest difference of two tables of probabilities."""
    return float(np.abs(found - expected).max())


def make_path(
    x: Floats | FeatureBlocks, labels: Ints, weights: Floats | None = None, **options: Any
) -> LogisticPath:
    features = Blocks(x) if isinstance(x, np.ndarray) else x
    weights = np.ones((1, len(labels)), np.float32) if weights is None else weights
    return LogisticPath(features, labels, int(labels.max()) + 1, weights, **options)


def solve(x: Floats | FeatureBlocks, labels: Ints, c: float, weights: Floats | None = None) -> LinearHeads:
    return make_path(x, labels, weights).solve(1 / c)


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize(("n", "d"), [(60, 200), (500, 40)])
def test_agrees_with_sklearn(n: int, d: int, n_classes: int, c: float) -> None:
    x, labels = problem(n, d, n_classes)
    heads = solve(x, labels, c)
    assert gap(probabilities(heads), by_sklearn(x, labels, c)) < TOLERANCE


@pytest.mark.parametrize("n_classes", [2, 5])
def test_coarse_solutions_are_good_enough_to_choose_by(n_classes: int) -> None:
    x, labels = problem(300, 80, n_classes)
    path, rows = make_path(x, labels), np.arange(300)
    for c in (1e-3, 1e-1, 1.0):
        coarse = probabilities(path.solve(1 / c, tolerance=1e-5))
        losses = [-np.log(p[rows, labels]).mean() for p in (coarse, by_sklearn(x, labels, c))]
        assert abs(losses[0] - losses[1]) < 1e-3


@pytest.mark.parametrize("n_classes", [2, 5])
def test_coarse_solution_can_be_refined(n_classes: int) -> None:
    x, labels = problem(300, 80, n_classes)
    coarse = make_path(x, labels).solve(10.0, tolerance=1e-4)
    expected = by_sklearn(x, labels, 0.1)
    assert gap(probabilities(coarse), expected) > TOLERANCE
    refined = make_path(x, labels, start=(coarse.weight, coarse.bias)).solve(10.0)
    assert gap(probabilities(refined), expected) < TOLERANCE


def test_solution_is_no_step_from_itself() -> None:
    x, labels = problem(200, 30, 3)
    solved = solve(x, labels, 0.1)
    again = make_path(x, labels, start=(solved.weight, solved.bias)).solve(10.0, tolerance=1e-7)
    assert gap(probabilities(again), probabilities(solved)) < 1e-5


def test_logits_are_those_of_the_heads_on_raw_features() -> None:
    x, labels = problem(80, 30, 3)
    heads = solve(x, labels, 0.1)
    by_hand = x.astype(np.float64) @ heads.weight[:, 0].T + heads.bias[:, 0]
    assert np.abs(by_hand - heads.logits[:, 0].T).max() < 1e-3


@pytest.mark.parametrize("n_classes", [2, 5])
def test_weighted_rows_agree_with_sklearn(n_classes: int) -> None:
    x, labels = problem(300, 30, n_classes)
    weights = np.random.default_rng(1).uniform(0.1, 3, len(x)).astype(np.float32)
    weights[::7] = 0  # left out, of the mean and the scale too
    heads = solve(x, labels, 0.1, weights[None])
    assert gap(probabilities(heads), by_sklearn(x, labels, 0.1, weights)) < TOLERANCE


def test_integer_weights_are_repeated_rows() -> None:
    x, labels = problem(120, 20, 3)
    times = np.random.default_rng(2).integers(1, 3, len(x))
    # The repeats move the mean and scale that a row's weight does not, so both sets share them.
    repeated, repeats = np.repeat(x, times, axis=0), np.repeat(labels, times)
    ours = solve(x, labels, 1.0, times[None].astype(np.float32))
    scaler = StandardScaler().fit(x.astype(np.float64))
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=20_000)
    model.fit(scaler.transform(repeated.astype(np.float64)), repeats)
    expected = model.predict_proba(scaler.transform(x.astype(np.float64)))
    assert gap(probabilities(ours), expected) < TOLERANCE


def test_problems_solved_together_are_those_solved_alone() -> None:
    x, labels = problem(400, 60, 4)
    rng = np.random.default_rng(3)
    masks = np.ones((5, len(x)), np.float32)
    for p in range(1, 5):
        masks[p, rng.random(len(x)) < 0.2 * p] = 0
    together = solve(x, labels, 0.1, masks)
    for p, mask in enumerate(masks):
        alone = solve(x, labels, 0.1, mask[None])
        assert gap(probabilities(together, p), probabilities(alone)) < TOLERANCE
        assert gap(probabilities(together, p), by_sklearn(x, labels, 0.1, mask)) < TOLERANCE


def test_a_class_left_out_of_a_problem_is_improbable() -> None:
    x, labels = problem(300, 20, 3)
    mask = (labels != 1).astype(np.float32)[None]
    p = probabilities(solve(x, labels, 1.0, mask))
    assert p[:, 1].max() < 0.2
    assert (p[labels == 0].argmax(axis=1) == 0).mean() > 0.6


@pytest.mark.parametrize("n_classes", [2, 5])
def test_streaming_blocks_equal_the_whole(n_classes: int) -> None:
    x, labels = problem(301, 50, n_classes)
    whole, streamed = solve(x, labels, 0.1), solve(Blocks(x, 3), labels, 0.1)
    assert gap(probabilities(whole), probabilities(streamed)) < TOLERANCE
    assert np.abs(whole.weight - streamed.weight).max() < 1e-2 * np.abs(whole.weight).max()


def test_stacked_tables_equal_one_table() -> None:
    x, labels = problem(200, 30, 3)
    stacked = StackedBlocks((Blocks(x[:90], 2), Blocks(x[90:], 3)))
    assert (len(stacked), stacked.dim) == (200, 30)
    assert (np.concatenate([block for _, block in stacked.blocks()]) == x).all()
    assert [rows.start for rows, _ in stacked.blocks()] == [0, 45, 90, 126, 163]
    assert gap(probabilities(solve(stacked, labels, 0.1)), probabilities(solve(x, labels, 0.1))) < TOLERANCE


def test_warm_start_equals_cold() -> None:
    x, labels = problem(300, 80, 4)
    path = make_path(x, labels)
    for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        warm, cold = path.solve(1 / c), solve(x, labels, c)
        assert gap(probabilities(warm), probabilities(cold)) < TOLERANCE
        assert gap(probabilities(warm), by_sklearn(x, labels, c)) < TOLERANCE


def test_solutions_along_a_path_are_left_alone() -> None:
    x, labels = problem(100, 20, 3)
    path = make_path(x, labels)
    first = path.solve(100.0)
    kept = first.logits.copy(), first.weight.copy()
    path.solve(0.1)
    assert (first.logits == kept[0]).all()
    assert (first.weight == kept[1]).all()


def test_shared_directions_change_nothing() -> None:
    x, labels = problem(200, 300, 3)
    shared = make_path(x, labels, directions=leading_directions(Blocks(x)))
    assert (shared.solve(10.0).logits == solve(x, labels, 0.1).logits).all()


def test_leading_directions_are_the_correlations_eigenvectors() -> None:
    x, _ = problem(400, 30, 3)
    correlation = np.corrcoef(x.astype(np.float64), rowvar=False)
    expected = np.linalg.eigvalsh(correlation)[::-1]
    found = leading_directions(Blocks(x, 3))
    assert np.abs(found.eigenvalues - expected).max() < 1e-3
    v = found.eigenvectors.astype(np.float64)
    assert np.abs(v.T @ v - np.eye(30)).max() < 1e-4
    assert np.abs(v[:, 0] @ correlation @ v[:, 0] - expected[0]) < 1e-3


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("l2", [1.0, 100.0])
def test_the_ridge_pulls_towards_the_prior(n_classes: int, l2: float) -> None:
    x, labels = problem(80, 6, n_classes)
    rng = np.random.default_rng(1)
    prior = rng.standard_normal((n_classes, 1, 6)).astype(np.float32) / x.std(axis=0)
    path = LogisticPath(Blocks(x), labels, n_classes, np.ones((1, 80), np.float32), prior=prior)
    found = probabilities(path.solve(l2))
    z = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float64)
    centre = prior[:, 0] * x.std(axis=0)

    def objective(flat: NDArray[np.float64]) -> float:
        w, b = flat[:-n_classes].reshape(n_classes, 6), flat[-n_classes:]
        fit = -np.log(softmax(z @ w.T + b)[np.arange(80), labels]).sum()
        return float(fit + l2 / 2 * np.square(w - centre).sum())

    best = minimize(objective, np.zeros(n_classes * 7), method="BFGS", options={"gtol": 1e-3}).x
    expected = softmax(z @ best[:-n_classes].reshape(n_classes, 6).T + best[-n_classes:])
    assert gap(found, expected) < 1e-3


def test_a_strong_ridge_ends_at_the_prior_and_a_prior_of_0_is_none() -> None:
    x, labels = problem(80, 6, 3)
    weights = np.stack([np.ones(80), np.arange(80) % 2]).astype(np.float32)
    prior = np.random.default_rng(1).standard_normal((3, 2, 6)).astype(np.float32)
    heads = LogisticPath(Blocks(x), labels, 3, weights, prior=prior).solve(1e7)
    np.testing.assert_allclose(heads.weight, prior, rtol=1e-3, atol=1e-3)
    plain, zero = (
        LogisticPath(Blocks(x), labels, 3, weights, prior=mean).solve(1.0)
        for mean in (None, np.zeros_like(prior))
    )
    assert (plain.weight == zero.weight).all()


def test_constant_features_do_no_harm() -> None:
    x, labels = problem(150, 20, 3)
    extra = np.concatenate([x, np.full((150, 1), 7.0, np.float32), np.zeros((150, 2), np.float32)], axis=1)
    heads = solve(extra, labels, 1.0)
    assert np.isfinite(heads.weight).all()
    assert gap(probabilities(heads), probabilities(solve(x, labels, 1.0))) < TOLERANCE


def test_features_far_from_zero_keep_their_precision() -> None:
    x, labels = problem(200, 20, 2)
    far = x + np.float32(1000)
    assert gap(probabilities(solve(far, labels, 1.0)), by_sklearn(far, labels, 1.0)) < 10 * TOLERANCE


def test_separable_classes_end_with_certain_probabilities() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 50)
    x = (rng.standard_normal((100, 10)) + 20 * labels[:, None]).astype(np.float32)
    heads = solve(x, labels, 100.0)
    assert np.isfinite(heads.logits).all()
    assert probabilities(heads)[np.arange(100), labels].min() > 0.99


def test_same_input_gives_the_same_bytes() -> None:
    x, labels = problem(200, 40, 3)
    first, second = solve(x, labels, 0.3), solve(x, labels, 0.3)
    assert digest(first.weight.tobytes()) == digest(second.weight.tobytes())
    assert digest(first.logits.tobytes()) == digest(second.logits.tobytes())


@pytest.mark.parametrize("c", [1e-3, 1e-1])
def test_agrees_with_sklearn_on_stored_features(
    photo_sets: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory, c: float
) -> None:
    root = tmp_path_factory.mktemp("hotdogs")
    for name in ("hotdog", "not-hotdog"):
        (root / name).mkdir()
        for path in sorted((photo_sets / "hotdog" / "test" / name).iterdir())[:60]:
            (root / name / path.name).symlink_to(path)
    dataset = Dataset.read(root)
    trunk = open_trunk(find_backbone("lite0"), cache)
    files = [sample.file for sample in dataset.samples]
    sample = read_sample([file.path for file in files], trunk.preprocessing, 16)
    runtime = choose_runtime(trunk, sample)
    store = open_store(cache, trunk, runtime.name)
    assert extract(files, trunk, runtime, {"center": store}) == {}
    table = store.table([file.key for file in files])
    labels = dataset.class_indices()
    heads = solve(table, labels, c)
    assert gap(probabilities(heads), by_sklearn(table.matrix(), labels, c)) < TOLERANCE
