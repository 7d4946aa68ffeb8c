import numpy as np
import pytest

from evidence import clusters
from headstart.heads.discriminants import discriminate
from headstart.heads.lda import fit_lda

N, D, K = 150, 30, 4
LABELS = np.random.default_rng(3).integers(0, K, N)
FEATURES = clusters(LABELS, D, distance=3) * np.linspace(0.1, 5, D, dtype=np.float32) + 7
ALL = np.arange(N)


@pytest.mark.parametrize("rows", [N, 20], ids=["more rows than features", "fewer"])
def test_of_all_rows_it_is_the_probes_own_lda(rows: int) -> None:
    x, y = FEATURES[:rows], LABELS[:rows]
    (logits,) = discriminate(x, y, K, np.ones((1, rows), np.bool_), [ALL[:rows]])
    weight, bias = fit_lda(x, y, K)
    assert logits == pytest.approx(x @ weight.T + bias, abs=2e-2)


def test_subsets_solved_together_are_as_those_solved_alone() -> None:
    folds = ALL % 5
    learning = np.stack([folds != fold for fold in range(5)])
    judged = [np.flatnonzero(folds == fold) for fold in range(5)]
    together = list(discriminate(FEATURES, LABELS, K, learning, judged))
    for one, rows, logits in zip(learning, judged, together, strict=True):
        (alone,) = discriminate(FEATURES, LABELS, K, one[None], [rows])
        assert logits == pytest.approx(alone, abs=1e-2)
    right = sum(
        (logits.argmax(axis=1) == LABELS[rows]).sum() for logits, rows in zip(together, judged, strict=True)
    )
    assert right > 0.85 * N


def test_labels_of_rows_outside_a_subset_do_not_matter() -> None:
    learning = (ALL < 100)[None]
    (before,) = discriminate(FEATURES, LABELS, K, learning, [ALL[100:]])
    changed = np.where(ALL < 100, LABELS, (LABELS + 1) % K)
    (after,) = discriminate(FEATURES, changed, K, learning, [ALL[100:]])
    assert (before == after).all()


def test_a_class_that_a_subset_lacks_is_never_its_answer() -> None:
    learning = (LABELS != 2)[None]
    (logits,) = discriminate(FEATURES, LABELS, K, learning, [ALL])
    assert np.isfinite(logits).all()
    assert 2 not in logits.argmax(axis=1)


def test_features_that_never_change_are_no_trouble() -> None:
    flat = FEATURES.copy()
    flat[:, :5] = 1
    (logits,) = discriminate(flat, LABELS, K, np.ones((1, N), np.bool_), [ALL])
    assert np.isfinite(logits).all()
