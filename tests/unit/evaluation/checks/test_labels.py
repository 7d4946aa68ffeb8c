from pathlib import Path

import numpy as np
import pytest

from evidence import Ints, clusters, make_evidence
from headstart.evaluation.checks import predictions
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.labels import count_label_errors, find_confusable, find_label_errors
from headstart.evaluation.checks.limits import find_limits
from headstart.evaluation.checks.predictions import OutOfFold, predict_out_of_fold


def cross_validate(evidence: Evidence) -> OutOfFold:
    return predict_out_of_fold(evidence, np.zeros(len(evidence), np.bool_))


def mislabelled(folder: Path, n_classes: int, a_class: int, wrong: int) -> tuple[Evidence, Ints]:
    """Clusters, of which evenly spread pictures carry the next class's label."""
    true = np.arange(n_classes * a_class) % n_classes
    rows = np.linspace(1, len(true) - 2, wrong).astype(np.int64)
    labels = true.copy()
    labels[rows] = (true[rows] + 1) % n_classes
    return make_evidence(folder, labels, clusters(true, dim=48, distance=9)), rows


@pytest.mark.parametrize("cells", [predictions.LOGISTIC_CELLS, 0], ids=["logistic", "discriminant"])
def test_wrong_labels_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(predictions, "LOGISTIC_CELLS", cells)
    evidence, wrong = mislabelled(tmp_path, 3, 40, 6)
    said = cross_validate(evidence)
    found = [finding for finding in find_label_errors(evidence, said) if finding.severity != "info"]
    assert {finding.files[0] for finding in found} == {evidence.paths[row] for row in wrong}
    assert found[0].score > 0.9
    assert "likely 'b'" in {f.files[0]: f.message for f in found}[evidence.paths[wrong[0]]]
    assert any("discriminant" in note for note in find_limits(evidence, said)) == (cells == 0)


def test_many_classes_are_searched_too_and_that_is_said(tmp_path: Path) -> None:
    evidence, wrong = mislabelled(tmp_path, 300, 6, 20)
    said = cross_validate(evidence)
    assert said.head == "discriminant analysis"
    flagged = [finding.files[0] for finding in find_label_errors(evidence, said)][: 2 * len(wrong)]
    assert len({evidence.paths[row] for row in wrong} & set(flagged)) >= 0.8 * len(wrong)
    notes = " ".join(find_limits(evidence, said))
    assert "1,800 pictures of 300 classes" in notes
    assert "among the 50 largest classes" in notes


def test_of_tiny_classes_no_label_is_doubted_and_that_is_said(tmp_path: Path) -> None:
    evidence, _ = mislabelled(tmp_path, 12, 4, 5)
    said = cross_validate(evidence)
    assert list(find_label_errors(evidence, said)) == []
    assert "wrong labels were not looked for" in " ".join(find_limits(evidence, said))


def test_what_can_not_be_cross_validated_is_said(tmp_path: Path) -> None:
    notes = " ".join(find_limits(make_evidence(tmp_path, [0] * 20), None))
    assert "can't be cross-validated" in notes
    assert "outliers can't be told" in notes
    assert "no test split" in notes


def test_the_count_is_cleanlabs_also_where_classes_are_missing() -> None:
    from cleanlab.count import num_label_issues

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 5000)
    logits = rng.standard_normal((5000, 4)).astype(np.float32)
    logits[np.arange(5000), labels] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels[:300] = (labels[:300] + 1) % 4
    expected = int(num_label_issues(labels, probabilities))
    assert expected > 200
    assert count_label_errors(labels, probabilities) == pytest.approx(expected, abs=1)
    with_gap = np.insert(probabilities, 2, 0, axis=1)
    assert count_label_errors(np.where(labels >= 2, labels + 1, labels), with_gap) == pytest.approx(
        expected, abs=1
    )


def test_a_confusable_pair_is_named_and_no_other(tmp_path: Path) -> None:
    labels = np.arange(240) % 4
    evidence = make_evidence(tmp_path, labels)
    said = np.full((240, 4), 0.01, np.float32)
    said[np.arange(240), labels] = 0.97
    ones = np.flatnonzero(labels == 1)
    for row in ones[:20]:
        said[row, [1, 2]] = 0.3, 0.68
    said[np.flatnonzero(labels == 0)[0]] = [0.1, 0.1, 0.1, 0.7]  # one mistake is no confusion
    (found,) = find_confusable(evidence, OutOfFold(said, said.argmax(axis=1), None, "logistic regression"))
    assert found.message.startswith(
        "'b' and 'c': 20 of 120 are taken for the other (95 % interval 11 to 24 %)"
    )
    assert set(found.files) <= {evidence.paths[row] for row in ones[:20]}
    assert (found.kind, found.severity) == ("confusable", "info")
