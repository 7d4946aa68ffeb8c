"""How the commands show progress: bars on a terminal, lines in a pipe, nothing when quiet."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from headstart.progress import Advance, Progress, Silent

if TYPE_CHECKING:
    from rich.console import Console


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
        console.print(line, style=style, markup=False, soft_wrap=not console.is_terminal)
    for finding in findings:
        console.print(f"! {finding}", style="yellow", markup=False, soft_wrap=True)


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
        print(message, file=sys.stderr, flush=True)  # noqa: T201


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
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        counted = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if total else ()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), *counted, TimeElapsedColumn())
        with RichProgress(*columns, console=self._console, redirect_stdout=False) as bar:
            task = bar.add_task(name, total=total)

            def advance(n: int) -> None:
                bar.advance(task, n)

            yield advance
            if total is None:
                bar.update(task, total=1, completed=1)

    def note(self, message: str) -> None:
        """Print the message above the bars."""
        self._console.print(message, style="yellow", markup=False)
