"""Two examples run from their first line to their last, in a tiny setting; all of them start."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from networks import TINY, save_random
from support import TIMEOUT_S, take

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY_SETTING = {"epochs": 1, "steps": 2, "batch": 8}

Main = Callable[..., None]


@pytest.fixture
def main(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """The example's `main`, in a folder of its own."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return importlib.import_module(request.param).main


def few(source: Path, target: Path) -> Path:
    """Sixteen pictures of each class to learn from, and eight to measure with."""
    take(source / "train", target / "train", 16)
    take(source / "test", target / "test", 8)
    return target


@pytest.fixture(scope="module")
def hotdogs(photo_sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few(photo_sets / "hotdog", tmp_path_factory.mktemp("hotdogs"))


@pytest.fixture(scope="module")
def pets(photo_sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few(photo_sets / "cats_dogs", tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{TINY}@{save_random(tmp_path_factory.mktemp('weights'))}"


def rows_of(text: str) -> list[list[str]]:
    """The cells of the table that was printed, without its heading."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


only = pytest.mark.parametrize


@only("main", ["hotdog"], indirect=True)
def test_hotdog(
    main: Main, hotdogs: Path, tiny: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(hotdogs, model=tiny, px=64, cache=cache, **TINY_SETTING)
    out = capsys.readouterr().out
    rows = rows_of(out)
    assert [row[0] for row in rows] == [
        *("from scratch", "frozen", "frozen, head solved", "fine-tuned", "head from hot dog", "reloaded")
    ]
    fine_tuned = rows[3][2].split()[0]
    assert re.search(rf"reloads with test accuracy {fine_tuned}\.\n", out)
    assert "Gain: " in out
    assert Path("runs/hotdog/photos.png").is_file()


@only("main", ["frozen_resnet50"], indirect=True)
def test_frozen_resnet50(
    main: Main, pets: Path, tiny: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(pets, model=tiny, ignorant=TINY, cache=cache, **TINY_SETTING)
    out = capsys.readouterr().out
    assert [row[0] for row in rows_of(out)] == [tiny, f"{TINY}, random weights"]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_each_example_explains_its_words(name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--help"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--full" in done.stdout
