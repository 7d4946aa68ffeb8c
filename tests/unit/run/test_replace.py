"""A better run takes the place of a worse one, whole or not at all."""

from pathlib import Path

import pytest

from headstart.run.folder import RunFolder, building_run
from headstart.run.replace import replacing_run


def save(run: RunFolder, text: str) -> None:
    run.config_json.write_text(text)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    with building_run(tmp_path / "run") as run:
        save(run, "worse")
        run.results_csv.write_text("of the worse run")
    return tmp_path / "run"


def test_the_better_run_is_there_alone(saved: Path) -> None:
    with replacing_run(saved) as run:
        save(run, "better")
        assert RunFolder(saved).config_json.read_text() == "worse"
    assert RunFolder(saved).config_json.read_text() == "better"
    assert [path.name for path in saved.iterdir()] == ["config.json"]
    assert list(saved.parent.iterdir()) == [saved]


def test_a_failure_leaves_the_old_run(saved: Path) -> None:
    def fail() -> None:
        with replacing_run(saved) as run:
            save(run, "half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert RunFolder(saved).config_json.read_text() == "worse"
    assert list(saved.parent.iterdir()) == [saved]
