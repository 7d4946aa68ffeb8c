"""The README's snippets run as they stand, on a small set of real photographs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_README = Path(__file__).parents[2] / "README.md"
_SNIPPET = re.compile(r"<!-- run -->\n```(bash|python)\n(.*?)```", re.DOTALL)
_SNIPPETS = _SNIPPET.findall(_README.read_text(encoding="utf-8"))


@pytest.fixture
def home(small_set: Path, cache: Path, tmp_path: Path) -> Path:
    """A folder with `photos/` in it, whose default cache is the tests' own."""
    shutil.copytree(small_set, tmp_path / "photos")
    first = min((tmp_path / "photos" / "cats").iterdir())
    first.rename(first.with_name("001.jpg"))
    (tmp_path / "xdg").mkdir()
    (tmp_path / "xdg" / "headstart").symlink_to(cache)
    return tmp_path


def test_there_are_snippets_to_run() -> None:
    assert [language for language, _ in _SNIPPETS] == ["bash", "python"]


@pytest.mark.parametrize(("language", "code"), _SNIPPETS, ids=[language for language, _ in _SNIPPETS])
def test_snippet_runs(language: str, code: str, home: Path) -> None:
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(home / "xdg")}
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0." in done.stdout
