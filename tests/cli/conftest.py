"""The command line as a process of its own, or in this one where a process adds nothing."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headstart.cli import main
from pages import SCRIPT
from support import TIMEOUT_S, Done, Runner

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_WITHOUT_CACHE = {"--help", "--version", "--cache", "gain", "report"}
_FROM_OUTSIDE = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "LINES", "PYTHONIOENCODING", "PYTHONUNBUFFERED"}


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of the processes: wide lines and no network."""
    kept = {name: value for name, value in os.environ.items() if name not in _FROM_OUTSIDE}
    return {**kept, "COLUMNS": "200", "TERM": "xterm", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def headstart(environment: dict[str, str], cache: Path) -> Runner:
    """Run `python -m headstart WORDS` in a folder, with the session's cache unless the words name one."""

    def run(*words: str | Path, cwd: Path, stdin: str | None = None, **variables: str) -> Done:
        texts = [str(word) for word in words]
        if not _WITHOUT_CACHE & set(texts):
            texts += ["--cache", str(cache)]
        return subprocess.run(
            [sys.executable, "-m", "headstart", *texts],
            cwd=cwd,
            env={**environment, **variables},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    return run


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> Runner:
    """Run the command line in this process and in `tmp_path`; a bug's exception is the test's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in _FROM_OUTSIDE:
        monkeypatch.delenv(name, raising=False)

    def run(*words: str | Path) -> Done:
        texts = [str(word) for word in words]
        if not _WITHOUT_CACHE & set(texts):
            texts += ["--cache", str(cache)]
        monkeypatch.setattr(sys, "argv", ["headstart", *texts])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(texts, code, out, err)

    return run


@pytest.fixture(scope="session")
def trained(headstart: Runner, small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """`train PETS --json` in a folder of its own; `args` ends in that run's folder."""
    folder = tmp_path_factory.mktemp("trained")
    done = headstart("train", small_set, "--json", cwd=folder)
    done.args = [*done.args, str(folder / "runs" / "pets-probe-1")]
    return done


@pytest.fixture(scope="session")
def pets_run(trained: Done) -> Path:
    """A run on the small set."""
    assert trained.returncode == 0, trained.stderr
    return Path(trained.args[-1])


@pytest.fixture(scope="session")
def hostile(headstart: Runner, small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classes and files have names that would break a careless page; `photos.csv` beside it."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = []
    for name, label in (("cats", SCRIPT), ("dogs", '"><img src=x onerror=alert(2)>{{ 7*7 }}')):
        for k, path in enumerate(sorted((small_set / name).iterdir())[:12]):
            copy = folder / f"{k}'\"><b onclick=alert(3)>{name}&amp;.jpg"
            shutil.copy(path, copy)
            rows.append([copy.name, label if k % 4 or name == "cats" else SCRIPT])
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *rows])
    done = headstart("train", "photos.csv", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def pets(small_set: Path, tmp_path: Path) -> Path:
    """A copy of the small set that a test may damage; its features are stored already."""
    return Path(shutil.copytree(small_set, tmp_path / "pets"))


@pytest.fixture
def as_a_user(headstart: Runner, environment: dict[str, str], cache: Path) -> Runner:
    """Run without the right to ignore permissions, which root has."""
    setpriv = shutil.which("setpriv")
    if os.geteuid():
        return headstart
    if not setpriv:
        pytest.skip("root ignores permissions, and setpriv isn't there to give that up")

    def run(*words: str | Path, cwd: Path) -> Done:
        command = [setpriv, "--bounding-set=-all", "--inh-caps=-all", "--"]
        command += [sys.executable, "-m", "headstart", *map(str, words)]
        command += [] if "--cache" in words else ["--cache", str(cache)]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium; skips where it is absent, fails in CI."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no chromium; install Debian's")
        pytest.skip("no chromium here")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, headless=True, args=flags)
        yield opened
        opened.close()
