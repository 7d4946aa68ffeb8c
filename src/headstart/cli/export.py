"""`headstart export`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import ExportConfig

if TYPE_CHECKING:
    from headstart.api.export import ExportResult
    from headstart.exports.verify import Accuracy

EXIT_REJECTED = 1
_DEFAULTS = ExportConfig()


def export(
    run: Path,
    *,
    config: Annotated[ExportConfig, Parameter(name="*")] = _DEFAULTS,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Export a run to ONNX, OpenVINO, timm or the Hugging Face hub; exits with 1 if it answers otherwise.

    Parameters
    ----------
    run
        The run folder.
    out
        The folder to make; numbered where it exists. Default: RUN/exports/FORMAT.
    """
    from headstart.api.export import export as run_export  # what --help doesn't need

    result = run_export(run, config, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        print(json.dumps(_as_json(result), ensure_ascii=False))  # noqa: T201
    else:
        _print(result)
    if not result.accepted:
        for reason in result.verification.refusals:
            print(f"headstart: refused, as {reason}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_REJECTED)


def _print(result: "ExportResult") -> None:
    found, console = result.verification, make_results_console()
    verb = "Saved" if result.accepted else "Kept aside"
    files = " and ".join(str(file) for file in result.files)
    lines = [f"{verb} {files} ({result.size_mb:.1f} MB)."]
    if result.quantisers:
        tried = ", ".join(f"{c.tool} {c.wrong} of {c.images} wrong" for c in result.quantisers)
        lines.append(f"Quantised by {result.quantisers[0].tool}; on other training images: {tried}.")
    same = f"the same class for {found.agreeing:,} of {found.images:,} ({found.agreeing / found.images:.1%})"
    lines.append(f"Verified by {result.runtime} on {result.images}, from the files on: {same}.")
    pixels = f"Decoded pixels are equal for {found.equal_pixels:,} of {found.images:,}"
    differ = f"probabilities differ by at most {found.difference:.1e}{_where_equal(found.difference_equal)}"
    lines.append(f"{pixels}; {differ}.")
    lines.append(f"Accuracy {_accuracy(found.exported)}; of the run itself {_accuracy(found.original)}.")
    if found.unreadable:
        lines.append(f"{found.unreadable:,} files can't be read and were left out.")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _where_equal(difference: float | None) -> str:
    return "" if difference is None else f", and by {difference:.1e} where pixels are equal"


def _accuracy(accuracy: "Accuracy") -> str:
    low, high = 100 * accuracy.low, 100 * accuracy.high
    return f"{100 * accuracy.value:.1f} % (95 % interval {low:.1f} to {high:.1f})"


def _as_json(result: "ExportResult") -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "files": [str(file) for file in result.files],
        "size_mb": result.size_mb,
        "runtime": result.runtime,
        "images_from": result.images,
        **result.verification.to_json(),
    }
