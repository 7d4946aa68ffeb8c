"""`headstart explain`."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console, print_findings, printable
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import ExplainConfig

EXIT_SOME_UNREADABLE = 1
_DEFAULTS = ExplainConfig()


def explain(  # noqa: PLR0913 - one parameter a flag
    run: Path,
    images: Annotated[list[str] | None, Parameter(negative="")] = None,
    *,
    config: Annotated[ExplainConfig, Parameter(name="*")] = _DEFAULTS,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Draw where a run's model looked, beside the most similar training images.

    Exits with 1 if some images can't be read.

    Parameters
    ----------
    run
        The run folder.
    images
        Files, folders and globs. Default: the test images of the highest loss.
    out
        A folder, numbered where it holds something. Default: maps, or, without images, the run's own.
    """
    from headstart.api.explain import explain as draw  # seconds of torch that --help doesn't need

    found = draw(run, images, config, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        print(json.dumps({**found.to_json(), "folder": str(found.folder)}, ensure_ascii=False))  # noqa: T201
    else:
        console = make_results_console()
        for image in found.images:
            if image.error is not None:
                line = f"{image.path}: {image.error}"
                console.print(printable(line), markup=False, soft_wrap=True)
                continue
            alike = ", ".join(f"{some.label} {some.cosine:.2f}" for some in image.similar)
            line = f"{image.path}: {image.predicted} {100 * (image.probability or 0):.1f} %"
            line += f"; most like {alike}" if alike else ""
            console.print(printable(line), markup=False, soft_wrap=True)
        n_maps = sum(image.map is not None for image in found.images)
        files = " and ".join([f"{n_maps} {'map' if n_maps == 1 else 'maps'}", *found.sheets])
        print_findings([f"Saved {files} in {found.folder} ({found.method})."], found.findings)
    if found.n_unreadable:
        n = len(found.images)
        files = "file" if n == 1 else "files"
        print(f"headstart: {found.n_unreadable:,} of {n:,} {files} can't be read", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_SOME_UNREADABLE)
