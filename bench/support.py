"""What the benchmarks share: where the data are, fresh processes, alternation, tables.

Imports nothing heavy: a child's peak memory counts from its parent's (see `run`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).resolve().parent
HEADSTART = str(Path(sys.executable).with_name("headstart"))


@dataclass(frozen=True)
class Finished:
    """A process that ended well: wall seconds, peak resident memory, standard output."""

    seconds: float
    peak_mb: float
    output: str


def data_folder(name: str) -> Path:
    """One of the photo sets, from $HEADSTART_TEST_DATA or beside the repository."""
    root = Path(os.environ.get("HEADSTART_TEST_DATA") or BENCH.parent.parent / "shared" / "data")
    if not (root / name).is_dir():
        sys.exit(f"No photo set {root / name}. Set HEADSTART_TEST_DATA to the folder that holds it.")
    return root / name


def run(command: Sequence[str | Path], fine: Sequence[int] = (0,)) -> Finished:
    """Run a fresh process to its end and time it from before its start; another exit code ends the benchmark.

    On Linux a child's peak memory is at least what its parent held when it was started, so
    scripts that measure memory must stay small themselves.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode not in fine:
            sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{err.read()[-2000:]}")
        kilobytes = usage.ru_maxrss if sys.platform != "darwin" else usage.ru_maxrss / 1024
        return Finished(seconds, kilobytes / 1024, out.read())


def run_json(script: str, *arguments: str | Path) -> dict[str, Any]:
    """Run another benchmark of this folder with --json and return what it measured."""
    found: dict[str, Any] = json.loads(run([sys.executable, BENCH / script, *arguments, "--json"]).output)
    return found


@contextmanager
def scratch_cache() -> Iterator[Path]:
    """A cache in a temporary folder with lite0 converted and timed, without any features; removed after.

    Runs fit beside it: its parent is temporary, too. TMPDIR moves it.
    """
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as folder:
        cache = Path(folder) / "cache"
        run([HEADSTART, "env", "--time", "--cache", cache, "--quiet"])
        yield cache


def alternate(repeats: int, jobs: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run jobs A B A B …, so that a slow minute of the machine hits all alike; what each returned."""
    results: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            results[name].append(job())
    return results


def seconds_of(job: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def middle(values: Sequence[float], digits: int = 2) -> str:
    """The median, and the extremes where there are several."""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def verdict(reached: bool) -> str:
    """For a table's last column."""
    return "yes" if reached else "NO"


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table under the machine it was measured on, and how busy others kept that."""
    from headstart.run.environment import available_cores, cpu_model

    print(f"\n{title}\n{cpu_model()}, {available_cores()} cores{_describe_others()}\n")
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def _busy_s() -> tuple[float, float]:
    """Core-seconds since boot that were spent on anything, and on this process with its ended children."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    own = os.times()
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK"), sum(own[:4])


def _describe_others() -> str:
    """How much of the machine others took since the script's start; ratios of a busy machine mean little."""
    if not _AT_START:
        return ""
    (busy_before, own_before, before), (busy, own) = _AT_START, _busy_s()
    capacity_s = (time.monotonic() - before) * (os.cpu_count() or 1)
    share = max(0.0, (busy - busy_before) - (own - own_before)) / capacity_s
    return f", {share:.0%} of them taken by other processes meanwhile"


_AT_START = (*_busy_s(), time.monotonic()) if sys.platform == "linux" else None


def make_parser(docstring: str | None, repeats: int | None = None) -> argparse.ArgumentParser:
    """A parser that shows the script's docstring, with --repeats if asked for."""
    parser = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if repeats is not None:
        parser.add_argument(
            "--repeats", type=int, default=repeats, help=f"medians of so many (default {repeats})"
        )
    return parser
