"""How the commands show progress: bars on a terminal, lines in a pipe, nothing when quiet."""

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from headstart.progress import Advance, Progress, Silent

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Escape control characters, `\x1b` say: a file's name must not move the cursor or break a line.

    Args:
        text: What is to be printed.
        lines: Whether its line ends are meant.
    """
    control = _CONTROL_IN_LINES if lines else _CONTROL
    return control.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def make_progress(*, quiet: bool = False) -> Progress:
    """Choose by what standard error is; standard output is for results alone."""
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


def make_results_console(file: TextIO | None = None) -> "Console":
    """What results are printed on: standard output, or a file."""
    from rich.console import Console

    class Results(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1, which means something else here

    return Results(file=file, highlight=False)


def print_findings(summary: Sequence[str], findings: Sequence[str]) -> None:
    """Print a summary, wrapped at words on a terminal, and findings, whose paths stay whole."""
    console = make_results_console()
    for number, line in enumerate(summary):
        style = "bold" if number == 0 else None
        console.print(printable(line), style=style, markup=False, soft_wrap=not console.is_terminal)
    for finding in findings:
        console.print(f"! {printable(finding)}", style="yellow", markup=False, soft_wrap=True)


class Lines:
    """A line when a stage ends, for pipes and logs."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """Print the stage's name, count and seconds at its end."""
        started, done = time.perf_counter(), 0

        def advance(n: int) -> None:
            nonlocal done
            done += n

        yield advance
        seconds = time.perf_counter() - started
        count = f" {done:,}" if done and total != 1 else ""
        rate = f" ({done / seconds:,.0f}/s)" if count and seconds > 1 and done >= seconds else ""
        print(f"{name}:{count} in {seconds:.1f} s{rate}", file=sys.stderr, flush=True)  # noqa: T201

    def note(self, message: str) -> None:
        """Print the message."""
        print(printable(message, lines=True), file=sys.stderr, flush=True)  # noqa: T201


class Bars:
    """A bar a stage, for people at a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(stderr=True, highlight=False)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """Show a bar while the stage lasts, and its count and seconds after."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        counted: tuple[ProgressColumn, ...] = (TextColumn("{task.fields[done]}"),)
        if total:
            counted = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), *counted, TimeElapsedColumn())
        with RichProgress(*columns, console=self._console, redirect_stdout=False) as bar:
            task = bar.add_task(name, total=total, done="")
            done = 0

            def advance(n: int) -> None:
                nonlocal done
                done += n
                bar.update(task, advance=n, done=f"{done:,}")

            yield advance
            if total is None:
                bar.update(task, total=1, completed=1)

    def note(self, message: str) -> None:
        """Print the message above the bars."""
        self._console.print(printable(message, lines=True), style="yellow", markup=False)
