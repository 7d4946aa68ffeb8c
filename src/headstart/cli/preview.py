"""`headstart preview`."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import PreviewConfig

_DEFAULTS = PreviewConfig()


def preview(
    data: Path,
    *,
    config: Annotated[PreviewConfig, Parameter(name="*")] = _DEFAULTS,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Draw training pictures beside what augmentation makes of them, as a PNG.

    Parameters
    ----------
    data
        Labelled images, as for train; of data with splits, the training part alone is shown.
    out
        The PNG; numbered where it exists. Default: DATA-preview.png.
    """
    from headstart.api.preview import preview as draw  # seconds of torch that --help doesn't need

    drawn = draw(data, config, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        paths = [sample.file.path for sample in drawn.samples]
        report = {"file": str(drawn.file), "images": paths, "views": drawn.views, "policy": drawn.policy}
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
        return
    n, k = len(drawn.samples), drawn.views
    pictures, views = "picture" if n == 1 else "pictures", "view" if k == 1 else "views"
    made = f"{n} {pictures} and {k} {views} of each, as training would see them"
    console = make_results_console()
    console.print(f"Saved {drawn.file}: {made}.", markup=False, soft_wrap=True)
    console.print(f"Augmentation: {drawn.policy}", style="dim", markup=False, soft_wrap=True)
