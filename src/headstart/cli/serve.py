"""`headstart serve`."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from headstart.cli.options import Cache, Quiet
from headstart.config import ServeConfig
from headstart.errors import ConfigError

_DEFAULTS = ServeConfig()
_TOKEN = "HEADSTART_TOKEN"  # noqa: S105 - the variable's name


def serve(
    run: Path,
    *,
    config: Annotated[ServeConfig, Parameter(name="*")] = _DEFAULTS,
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Answer over HTTP what a trained run says of images, and on a page of its own.

    Parameters
    ----------
    run
        The run folder, or a link to one.
    """
    try:
        from headstart.web.server import serve as run_server
    except ImportError as error:
        raise ConfigError(
            f"The server needs {error.name}, which is not installed: pip install 'headstart[serve]'."
        ) from error
    if config.token is None and not config.no_auth:
        config = replace(config, token=os.environ.get(_TOKEN) or None)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    run_server(
        run,
        config,
        cache=cache,
        on_start=lambda address: say(f"Serving {run} at {address} (API: {address}/docs). Ctrl-C ends."),
        note=say,
    )
