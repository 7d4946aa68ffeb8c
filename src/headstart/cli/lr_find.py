"""`headstart lr-find`."""

import json
import shlex
from collections.abc import Collection, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.console import make_progress, make_results_console
from headstart.cli.options import Cache, Json, Quiet
from headstart.config import LrFindConfig, TuneConfig

_DEFAULTS, _TUNING = LrFindConfig(), TuneConfig()


def lr_find(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    config: Annotated[LrFindConfig, Parameter(name="*")] = _DEFAULTS,
    tuning: Annotated[TuneConfig, Parameter(name="*", group="Training the backbone")] = _TUNING,
    out: Path | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train a few steps at rising learning rates, and tell which rate suits a recipe.

    Parameters
    ----------
    data
        Labelled images, as for train.
    out
        A folder for the plot and the losses; numbered where it exists. Default: runs/DATA-lr-find-N.
    """
    from headstart.api.lr_find import lr_find as find  # seconds of torch that --help doesn't need

    found = find(data, config, tuning, out=out, cache=cache, progress=make_progress(quiet=quiet))
    if json_:
        print(json.dumps({"folder": str(found.folder), **found.to_json()}))  # noqa: T201
        return
    console = make_results_console()
    console.print(f"Learning rate {found.lr:.1e}", style="bold", markup=False)
    console.print(f"Why: {found.reason}", markup=False, soft_wrap=not console.is_terminal)
    saved = f"Saved in {found.folder}: lr-find.png, lr-find.csv, lr-find.json."
    console.print(saved, markup=False, soft_wrap=True)
    others = [*_flags(config, _DEFAULTS, besides={"recipe", "start_lr", "end_lr", "steps"})]
    words = [
        str(data),
        "--recipe",
        config.recipe,
        *others,
        *_flags(tuning, _TUNING),
        "--lr",
        f"{found.lr:.1e}",
    ]
    following = f"Next: headstart train {shlex.join(words)}"
    console.print(following, style="dim", markup=False, soft_wrap=True)


def _flags(
    config: LrFindConfig | TuneConfig, default: object, besides: Collection[str] = ()
) -> Iterator[str]:
    """What was set otherwise, as a training takes it: the rate depends on it."""
    for field in fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if field.name in besides or value == getattr(default, field.name):
            continue
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            for word in value if isinstance(value, tuple) else (value,):
                yield from (f"--{flag}", str(word))
