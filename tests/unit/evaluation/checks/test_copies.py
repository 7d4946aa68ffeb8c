"""Copies are told as the worst that they are, and leaks with what they are worth."""

import re
from pathlib import Path

import numpy as np
import pytest

from evidence import make_evidence
from headstart.data.splits import Split
from headstart.evaluation.checks import predictions
from headstart.evaluation.checks.copies import find_copies, leaked_rows
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.predictions import predict_out_of_fold

TRAIN, TEST, LEAKED = 120, 60, 30


def leaky(folder: Path) -> Evidence:
    """Labels that nothing foretells, and half of the test split near-duplicates of training pictures."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((TRAIN + TEST, 300)).astype(np.float32)
    labels = rng.integers(0, 2, TRAIN + TEST)
    features[TRAIN : TRAIN + LEAKED] = features[:LEAKED] + 0.1 * features[TRAIN : TRAIN + LEAKED]
    labels[TRAIN : TRAIN + LEAKED] = labels[:LEAKED]
    splits: list[Split | None] = [*["train"] * TRAIN, *["test"] * TEST]  # type: ignore[list-item]
    near = [(row, TRAIN + row) for row in range(LEAKED)]
    return make_evidence(folder, labels, features, splits=splits, near=near)


@pytest.mark.parametrize("cells", [predictions.LOGISTIC_CELLS, 0], ids=["logistic", "discriminant"])
def test_near_duplicates_across_splits_are_leaks_with_their_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(predictions, "LOGISTIC_CELLS", cells)
    evidence = leaky(tmp_path)
    worth = predict_out_of_fold(evidence, leaked_rows(evidence)).worth
    assert worth is not None
    assert (worth.leaked, worth.tested) == (LEAKED, TEST)
    assert worth.gain.value > 0.05  # of 30 pictures learnt by heart, half would be right by chance
    assert worth.gain.low > 0
    found = list(find_copies(evidence, worth))
    assert {(f.kind, f.severity, f.score) for f in found} == {("leak", "error", 0.9)}
    assert len(found) == LEAKED
    assert found[0].files == (evidence.paths[TRAIN], evidence.paths[0])
    pattern = (
        r"a test picture has a near-duplicate outside the test split\. The 30 leaked of 60 test pictures are "
        r"worth \+\d+\.\d points of test accuracy \(95 % interval \+\d+\.\d to \+\d+\.\d\)"
    )
    assert re.match(pattern, found[0].message)


def test_the_same_picture_under_two_labels_is_a_conflict(tmp_path: Path) -> None:
    (found,) = find_copies(make_evidence(tmp_path, [0, 1] * 10, near=[(2, 5)]), None)
    assert (found.kind, found.severity) == ("conflict", "error")
    assert found.message == "the same picture is labelled 'a' and 'b'"


def test_copies_of_one_class_and_split_are_harmless_and_friends_of_friends_are_one_set(
    tmp_path: Path,
) -> None:
    (found,) = find_copies(make_evidence(tmp_path, [0, 1] * 10, near=[(2, 4), (4, 8)]), None)
    assert (found.kind, found.severity) == ("near_duplicate", "info")
    assert [Path(file).stem for file in found.files] == ["2", "4", "8"]
