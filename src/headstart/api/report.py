"""Report: a run, or a comparison, as one self-contained page."""

from dataclasses import dataclass
from pathlib import Path

from headstart.errors import ConfigError
from headstart.reports.comparison import is_comparison, render_comparison
from headstart.reports.page import render_run
from headstart.run.atomic import write_text
from headstart.run.folder import RunFolder, is_run

_SUFFIXES = {".html", ".htm"}


@dataclass(frozen=True, slots=True)
class Report:
    """A page that was written.

    Attributes:
        file: The page.
        missing: Image files that are not where the run found them.
        notes: What else was left out, a line each.
    """

    file: Path
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def report(run: str | Path, *, out: str | Path | None = None) -> Report:
    """Write the page of a run, or of a comparison, from its folder alone.

    Args:
        run: The run folder, or that of a comparison.
        out: The page, replaced where it exists. Default: `report.html` in the folder.

    Raises:
        RunNotFoundError: There is no run.
        DamagedRunError: Its settings or numbers are missing, damaged, or from a newer version.
        ConfigError: `out` is no name of a page.
        StorageError: The page can't be written; an older one stays.
    """
    folder = RunFolder(Path(run))
    file = _page_file(Path(out)) if out else folder.report_html
    compares = not is_run(folder.path) and is_comparison(folder.path)
    page = render_comparison(folder.path) if compares else render_run(folder.path)
    write_text(file, page.html)
    return Report(file, page.missing, page.notes)


def _page_file(out: Path) -> Path:
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it, such as {out / 'report.html'}.")
    if out.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"--out {out}: this becomes a page, so name it so, such as {out}.html.")
    return out
