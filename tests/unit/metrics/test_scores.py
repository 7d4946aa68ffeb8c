"""Scores equal scikit-learn's, and stay defined where a class has no image."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn import metrics

from headstart.errors import DamagedRunError
from headstart.metrics.calibration import softmax
from headstart.metrics.scores import ClassScores, Scores, confusion_matrix, expected_calibration_error, score


def drawn(n: int, k: int, seed: int = 0, n_true: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return probabilities of a middling model and true labels, of the first `n_true` classes only."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_true or k, size=n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    return softmax(logits), labels


@pytest.mark.parametrize(("n", "k"), [(1, 2), (40, 2), (500, 3), (300, 12)])
def test_scores_equal_scikit_learn(n: int, k: int) -> None:
    p, y = drawn(n, k)
    names = [f"class {index}" for index in range(k)]
    s = score(p, y, names)
    predicted, present = p.argmax(axis=1), np.unique(y)
    assert s.accuracy == pytest.approx(metrics.accuracy_score(y, predicted))
    assert s.macro_f1 == pytest.approx(
        metrics.f1_score(y, predicted, labels=present, average="macro", zero_division=0)
    )
    recalls = metrics.recall_score(y, predicted, labels=present, average=None, zero_division=0)
    assert s.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert s.log_loss == pytest.approx(metrics.log_loss(y, p, labels=list(range(k))))
    assert s.brier == pytest.approx(np.mean(np.sum((p - np.eye(k)[y]) ** 2, axis=1)))
    assert s.confusion == metrics.confusion_matrix(y, predicted, labels=list(range(k))).tolist()
    low, high = s.macro_f1_interval
    assert low <= high
    assert s.n == n


def test_per_class_equals_scikit_learn() -> None:
    p, y = drawn(200, 4)
    s = score(p, y, list("abcd"))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, p.argmax(axis=1))
    for index, name in enumerate("abcd"):
        got = s.per_class[name]
        assert got.support == support[index]
        assert (got.precision, got.recall, got.f1) == pytest.approx(
            (precision[index], recall[index], f1[index])
        )


def test_a_class_without_images_is_left_out_of_averages_and_has_no_recall() -> None:
    p, y = drawn(100, 4, n_true=2)
    p[:, 3] = 0
    p = p / p.sum(axis=1, keepdims=True)
    s = score(p, y, ["a", "b", "only predicted", "never"])
    assert s.per_class["never"] == ClassScores(precision=None, recall=None, f1=None, support=0)
    assert s.per_class["only predicted"].precision == 0.0
    assert s.per_class["only predicted"].recall is None
    a, b = s.per_class["a"], s.per_class["b"]
    assert a.recall is not None
    assert b.recall is not None
    assert s.balanced_accuracy == pytest.approx((a.recall + b.recall) / 2)
    assert s.macro_f1 == pytest.approx(
        metrics.f1_score(y, p.argmax(axis=1), labels=[0, 1], average="macro", zero_division=0)
    )


def test_a_class_never_found_counts_as_zero() -> None:
    s = score([[0.9, 0.1], [0.8, 0.2]], [0, 1], ["a", "b"])
    assert s.per_class["b"] == ClassScores(precision=None, recall=0.0, f1=0.0, support=1)
    assert (s.balanced_accuracy, s.macro_f1) == pytest.approx((0.5, 1 / 3))


def test_certain_and_wrong_is_finite() -> None:
    s = score([[1.0, 0.0]], [1], ["a", "b"])
    assert s.log_loss == pytest.approx(-np.log(np.finfo(float).eps))
    assert (s.brier, s.ece, s.accuracy) == (2.0, 1.0, 0.0)


def test_certain_and_right_has_a_loss_without_a_minus() -> None:
    assert str(score([[1.0, 0.0]], [0], ["a", "b"]).log_loss) == "0.0"


def test_ece_by_hand() -> None:
    p = np.array([[0.9, 0.1]] * 10 + [[0.35, 0.65]] * 10)
    y = np.array([0] * 8 + [1] * 2 + [1] * 7 + [0] * 3)
    assert expected_calibration_error(p, y) == pytest.approx((0.1 * 10 + 0.05 * 10) / 20)
    assert expected_calibration_error([[1.0, 0.0]], [0]) == 0.0


def test_ece_before_calibration_is_that_of_the_other_probabilities() -> None:
    p, y = drawn(300, 3)
    raw = np.eye(3)[p.argmax(axis=1)]
    s = score(p, y, list("abc"), uncalibrated=raw)
    assert s.ece_uncalibrated == pytest.approx(1 - s.accuracy)
    assert score(p, y, list("abc")).ece_uncalibrated is None


@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4)), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_properties(labels: NDArray[np.int64], seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.full(5, 0.3), size=len(labels))
    s = score(p, labels, list("abcde"), seed=seed)
    assert np.sum(s.confusion) == s.n == sum(c.support for c in s.per_class.values())
    assert s.accuracy_interval[0] <= s.accuracy <= s.accuracy_interval[1]
    assert 0 <= s.macro_f1_interval[0] <= s.macro_f1_interval[1] <= 1
    assert 0 <= s.ece <= 1
    assert 0 <= s.brier <= 2
    assert Scores.from_json(json.loads(json.dumps(s.to_json(), allow_nan=False))) == s
    order = np.random.default_rng(1).permutation(5)
    inverse = np.argsort(order)
    shuffled = score(p[:, order], inverse[labels], [list("abcde")[k] for k in order], seed=seed)
    assert shuffled.per_class == s.per_class
    assert shuffled.balanced_accuracy == pytest.approx(s.balanced_accuracy)


def test_from_json_names_what_is_wrong() -> None:
    p, y = drawn(20, 2)
    plain = score(p, y, ["a", "b"]).to_json()
    with pytest.raises(DamagedRunError, match=r"'classes'.*evaluate the model again"):
        Scores.from_json({key: value for key, value in plain.items() if key != "classes"})
    with pytest.raises(DamagedRunError, match="unexpected keyword argument 'colour'"):
        Scores.from_json({**plain, "colour": 1})
    with pytest.raises(DamagedRunError, match="can't be read"):
        Scores.from_json({**plain, "per_class": [1, 2]})


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[1.0, 0.0, 0.0]], [0], r"must be \(N, 2\).*got \(1, 3\)"),
        (np.empty((0, 2)), [], "N of at least 1"),
        ([[3.0, -1.0]], [0], "are they logits"),
        ([[np.nan, 0.5]], [0], "are they logits"),
        ([[0.5, 0.5]], [2], r"within 0..1; got 2..2"),
        ([[0.5, 0.5]], [-1], r"within 0..1; got -1..-1"),
        ([[0.5, 0.5]], [0.0], "integers; got"),
        ([[0.5, 0.5]], [0, 1], r"must be \(1,\) integers; got \(2,\)"),
    ],
)
def test_nonsense_is_refused(probabilities: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(probabilities, labels, ["a", "b"])


def test_uncalibrated_must_be_of_the_same_images() -> None:
    p, y = drawn(20, 2)
    with pytest.raises(ValueError, match=r"shape \(20, 2\) as probabilities; got \(19, 2\)"):
        score(p, y, ["a", "b"], uncalibrated=p[:-1])


def test_confusion_rows_are_true() -> None:
    assert confusion_matrix([0, 0, 1], [1, 1, 1], 3).tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("k", [100, 101, 400])
def test_many_classes_store_only_the_cells_that_are_not_empty(k: int) -> None:
    p, y = drawn(60, k)
    found = score(p, y, [f"class {index}" for index in range(k)])
    stored = json.loads(json.dumps(found.to_json()))
    assert Scores.from_json(stored) == found
    assert isinstance(stored["confusion"], list) == (k == 100)
    if k > 100:
        assert sum(stored["confusion"]["count"]) == 60
        stored["confusion"]["true"][0] = k
        with pytest.raises(DamagedRunError, match="stored scores can't be read"):
            Scores.from_json(stored)
