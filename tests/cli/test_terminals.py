"""Bars, colours, closed pipes and full standard output."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import TIMEOUT_S


def on_a_terminal(words: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run with standard output and error on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "headstart", *words],
        cwd=cwd,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux: the other end was closed
                break
            if not data:
                break
            shown += data
        return process.wait(timeout=10), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_bars_on_a_terminal_and_no_colours_where_none_are_wanted(
    pets_run: Path, small_set: Path, cache: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["evaluate", str(pets_run), str(small_set), "--cache", str(cache)]
    code, shown = on_a_terminal(words, tmp_path, {**environment, "COLUMNS": "80"})
    assert code == 0, shown
    assert "Reading headers" in shown
    assert "━" in shown
    assert "40/40" in shown
    assert "of 40 test images right" in shown
    coloured = re.compile(r"\x1b\[[\d;]*3\dm")
    assert coloured.search(shown)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.rpartition("40/40")[2])
    summary, found, findings = plain.replace("\r", "\n").partition("! leakage")
    assert found
    assert max(len(line) for line in summary.splitlines()[1:]) <= 80
    assert findings.strip().count("\n") == 0  # the terminal may break it; it stays whole to be copied
    code, shown = on_a_terminal(words, tmp_path, {**environment, "NO_COLOR": "1"})
    assert code == 0, shown
    assert not coloured.search(shown)


def test_the_table_stays_on_a_terminal_under_the_bar(
    pets_run: Path, small_set: Path, cache: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["predict", str(pets_run), str(small_set / "cats"), "--cache", str(cache)]
    code, shown = on_a_terminal(words, tmp_path, {**environment, "COLUMNS": "100"})
    assert code == 0, shown
    bar, end, table = shown.rpartition("20/20")
    assert end
    assert "predicted" not in bar
    assert table.count("cats") >= 20


@pytest.mark.parametrize(
    "words", [["env"], ["predict", "RUN", "PETS"], ["predict", "RUN", "PETS", "--format", "csv"]]
)
def test_a_reader_that_leaves_early_ends_the_command_quietly(
    words: list[str], pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str]
) -> None:
    names = {"RUN": str(pets_run), "PETS": str(small_set)}
    with subprocess.Popen(
        [sys.executable, "-m", "headstart", *(names.get(w, w) for w in words), "--cache", str(cache)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(TIMEOUT_S) == 141  # as of a program that SIGPIPE ended
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert "headstart:" not in err


def test_head_gets_its_line(
    pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str]
) -> None:
    command = '"$0" -m headstart predict "$1" "$2" --format csv --cache "$3" | head -1'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(pets_run), str(small_set / "cats"), str(cache)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout == "path,predicted,confidence,error\n"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["env"], ["predict", "RUN", "PETS", "--format", "csv"]])
def test_standard_output_on_a_full_disk_is_an_error_without_traceback(
    words: list[str], pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str]
) -> None:
    names = {"RUN": str(pets_run), "PETS": str(small_set)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headstart", *(names.get(w, w) for w in words), "--cache", str(cache)],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 2
    assert "headstart: the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
