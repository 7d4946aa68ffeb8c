"""`headstart check`."""

import json
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console, printable
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import CheckConfig
from headstart.errors import ConfigError
from headstart.evaluation.checks.finding import SEVERITIES

if TYPE_CHECKING:
    from headstart.api.check import CheckResult
    from headstart.evaluation.checks.finding import Finding

EXIT_SPOILT = 1

_DEFAULTS = CheckConfig()
_SHOWN_A_KIND = 5
_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}
_COUNTED = {"error": "that spoil it", "warning": "to look at", "info": "good to know"}


def check(  # noqa: PLR0913 - one parameter a flag
    data: Path | None = None,
    *,
    config: Annotated[CheckConfig, Parameter(name="*")] = _DEFAULTS,
    html: Path | None = None,
    fix: Path | None = None,
    apply: Path | None = None,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Look for what would spoil a training on these images; exits with 1 if something would.

    Parameters
    ----------
    data
        Labelled images, as for train.
    html
        Write a page with thumbnails there.
    fix
        Write a review queue there, a CSV: mark keep, relabel or drop in it, then --apply it.
    apply
        A review with your decisions: writes a new manifest for train. No file is moved or deleted.
    out
        The new manifest of --apply. Default: REVIEW-manifest.csv.
    """
    if apply is not None:
        if data is not None or html is not None or fix is not None:
            raise ConfigError("--apply takes the data from the review; leave out DATA, --html and --fix.")
        _apply(apply, out, quiet=quiet, json_=json_)
        return
    if data is None:
        raise ConfigError("Name the images to check, or a review to --apply.")
    if out is not None:
        raise ConfigError("--out names what --apply writes; a check writes --html and --fix.")
    from headstart.api.check import check as run_check  # seconds that --help doesn't need

    result = run_check(data, config, html=html, fix=fix, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        told = {"findings": [f.to_json() for f in result.findings], "notes": result.notes}
        print(json.dumps(told, ensure_ascii=False))  # noqa: T201
    else:
        _print(result, html, fix)
    if result.spoilt:
        sys.exit(EXIT_SPOILT)


def _apply(review: Path, out: Path | None, *, quiet: bool, json_: bool) -> None:
    from headstart.api.check import apply_review

    target = out or review.with_name(f"{review.stem}-manifest.csv")
    dataset = apply_review(review, target, progress=make_progress(quiet=quiet))
    if json_:
        print(json.dumps({"manifest": str(target), "images": len(dataset)}, ensure_ascii=False))  # noqa: T201
        return
    console = make_results_console()
    console.print(f"Saved {target}: {len(dataset):,} images.", markup=False, soft_wrap=True)
    console.print(f"headstart train {shlex.quote(str(target))}", style="dim", markup=False, soft_wrap=True)


def _print(result: "CheckResult", html: Path | None, fix: Path | None) -> None:
    """The findings, a few of each kind, and where the rest is."""
    console = make_results_console()
    counts = Counter(f.severity for f in result.findings)
    told = ", ".join(f"{counts[s]:,} {_COUNTED[s]}" for s in SEVERITIES if counts[s]) or "nothing to tell"
    verdict = "Something would spoil the result" if result.spoilt else "Nothing would spoil the result"
    console.print(f"{verdict}: {len(result.dataset):,} images, {told}.", style="bold", markup=False)
    shown: Counter[tuple[str, str]] = Counter()
    for finding in result.findings:
        group = finding.severity, finding.kind
        shown[group] += 1
        if shown[group] <= _SHOWN_A_KIND:
            line, style = printable(_line(finding)), _STYLES[finding.severity]
            console.print(line, style=style, markup=False, soft_wrap=True)
    rest = sum(max(count - _SHOWN_A_KIND, 0) for count in shown.values())
    if rest:
        where = f"{html}" if html else "--html FILE or --json"
        console.print(f"and {rest:,} more: see {where}.", style="dim", markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(printable(note), style="dim", markup=False, soft_wrap=True)
    for name, file in (("page", html), ("review", fix)):
        if file:
            console.print(f"Saved the {name} {file}.", markup=False, soft_wrap=True)


def _line(finding: "Finding") -> str:
    files = ", ".join(finding.files[:2]) + (
        f" and {len(finding.files) - 2:,} more" if len(finding.files) > 2 else ""
    )
    return f"{finding.kind}: {files + ': ' if files else ''}{finding.message}"
