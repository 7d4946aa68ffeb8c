"""A comparison's folder is found again, and only if the same is compared."""

from pathlib import Path

import pytest

from headstart.errors import ResumeError
from headstart.run.comparison import ComparisonFolder

FACTS = {"images": "abc", "lr": "None"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_folders_are_numbered_and_the_one_of_the_same_facts_is_found() -> None:
    first = ComparisonFolder.begin(None, "photos", FACTS)
    other = ComparisonFolder.begin(None, "photos", {**FACTS, "lr": "0.1"})
    assert [folder.path.name for folder in (first, other)] == ["photos-compare-1", "photos-compare-2"]
    assert ComparisonFolder.resume(None, "photos", FACTS) == first
    assert ComparisonFolder.resume(other.path, "photos", {**FACTS, "lr": "0.1"}) == other


def test_other_facts_are_refused_with_the_difference() -> None:
    ComparisonFolder.begin(None, "photos", FACTS)
    with pytest.raises(
        ResumeError, match=r"photos-compare-1 compares other .*: lr was None and is 0\.1\. Give"
    ):
        ComparisonFolder.resume(None, "photos", {**FACTS, "lr": "0.1"})


def test_nothing_to_go_on_with_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"no comparison at runs/photos-compare-\* to go on with"):
        ComparisonFolder.resume(None, "photos", FACTS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "facts.json").write_text("{")
    with pytest.raises(ResumeError, match="no comparison at out to go on with"):
        ComparisonFolder.resume(Path("out"), "photos", FACTS)


def test_runs_of_names_that_look_alike_stay_apart(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    models = ["a/b", "a:b", "a b", "a-b", "x" * 300, "x" * 301]
    names = [folder.run("finetune", model, 12).name for model in models]
    assert len(set(names)) == len(models)
    assert names[3] == "finetune-a-b-seed12"
    assert all(name.endswith("-seed12") and len(name) <= 70 for name in names)
