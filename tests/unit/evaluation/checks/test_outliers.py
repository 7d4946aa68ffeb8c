from pathlib import Path

import numpy as np
import pytest

from evidence import clusters, make_evidence
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.outliers import far_by, find_outliers
from headstart.evaluation.checks.predictions import OutOfFold

N = 80
ODD = 33


@pytest.fixture
def with_an_odd_one(tmp_path: Path) -> Evidence:
    """Two classes, and a picture in a direction of its own."""
    labels = np.arange(N) % 2
    features = clusters(labels)
    features[:, -1] = 0
    features[ODD] = 0
    features[ODD, -1] = 9
    return make_evidence(tmp_path, labels, features)


def certain(evidence: Evidence, undecided: tuple[int, ...] = ()) -> OutOfFold:
    """A head that is sure of every label but some."""
    probabilities = np.full((len(evidence), 2), 0.02, np.float32)
    probabilities[np.arange(len(evidence)), evidence.labels] = 0.98
    probabilities[list(undecided)] = 0.5
    return OutOfFold(probabilities, probabilities.argmax(axis=1), None, "logistic regression")


def test_a_picture_unlike_all_others_is_an_outlier(with_an_odd_one: Evidence) -> None:
    for said in (None, certain(with_an_odd_one)):
        (found,) = find_outliers(with_an_odd_one, said)
        assert (found.kind, found.severity, found.files) == ("outlier", "info", ("/set/b/33.jpg",))
        assert "labelled 'b'" in found.message


def test_if_the_head_is_undecided_it_is_of_none_of_the_classes(with_an_odd_one: Evidence) -> None:
    (found,) = find_outliers(with_an_odd_one, certain(with_an_odd_one, (ODD, 3)))
    assert (found.kind, found.severity, found.files) == ("none_of_the_classes", "warning", ("/set/b/33.jpg",))


def test_a_copy_does_not_make_an_outlier_ordinary(tmp_path: Path, with_an_odd_one: Evidence) -> None:
    features = with_an_odd_one.features.matrix()
    features[ODD + 2] = features[ODD]
    labels = with_an_odd_one.labels
    alone = make_evidence(tmp_path / "copy", labels, features, near=[(ODD, ODD + 2)])
    assert {f.files[0] for f in find_outliers(alone, None)} == {"/set/b/33.jpg", "/set/b/35.jpg"}


def test_of_few_pictures_none_is_odd(tmp_path: Path) -> None:
    labels = np.arange(20) % 2
    features = clusters(labels)
    features[3] = -features[3]
    assert list(find_outliers(make_evidence(tmp_path, labels, features), None)) == []


def test_spreads_are_counted_from_the_median() -> None:
    z = np.random.default_rng(0).normal(0.5, 0.1, 10_000).astype(np.float32)
    far = far_by(np.tanh(z).astype(np.float32))
    assert np.median(far) == pytest.approx(0, abs=1e-3)
    assert far == pytest.approx((0.5 - z) / 0.1, abs=0.15)
