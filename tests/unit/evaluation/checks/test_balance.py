from pathlib import Path

import pytest

from evidence import make_evidence
from headstart.data.splits import Split
from headstart.evaluation.checks.balance import find_balance


def kinds(folder: Path, counts: list[int], tested: list[int] | None = None) -> dict[str, str]:
    """Kind and `severity: message` of what is found with so many pictures a class."""
    labels = [k for k, count in enumerate(counts) for _ in range(count)]
    splits: list[Split | None] = [None if tested is None else "train"] * len(labels)
    for k, count in enumerate(tested or []):
        labels += [k] * count
        splits += ["test"] * count
    found = list(find_balance(make_evidence(folder, labels, splits=splits).dataset))
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: f"{finding.severity}: {finding.message}" for finding in found}


def test_large_and_even_classes_are_well(tmp_path: Path) -> None:
    assert kinds(tmp_path, [60, 50]) == {}


@pytest.mark.parametrize(("few", "severity"), [(40, "info"), (12, "warning")])
def test_imbalance_is_told_and_grows_grave(tmp_path: Path, few: int, severity: str) -> None:
    message = kinds(tmp_path, [120, few, 100], [40, 40, 40])["imbalance"]
    times = f"{120 / few:.1f} times as many"
    assert message == f"{severity}: 'a' has 120 training pictures, 'b' {few}: {times}"


def test_a_class_too_small_to_measure(tmp_path: Path) -> None:
    found = kinds(tmp_path, [60, 60], [40, 9])
    assert found.keys() == {"too_few_to_measure"}
    assert found["too_few_to_measure"].startswith("warning: 'b' (9): so few pictures in the test split that")
    assert "in all" in kinds(tmp_path, [60, 22])["too_few_to_measure"]


def test_one_class_and_classes_that_can_not_be_learnt(tmp_path: Path) -> None:
    found = kinds(tmp_path, [60, 1], [40, 40])
    assert found["too_few_to_learn"] == "error: 'b' (1) have fewer than 2 training pictures"
    assert kinds(tmp_path, [60])["one_class"].endswith("of one class only, 'a'")
