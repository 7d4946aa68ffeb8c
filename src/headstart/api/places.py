"""Where Headstart keeps what it can make again."""

import os
from pathlib import Path

import platformdirs


def cache_folder(cache: str | Path | None) -> Path:
    """The cache asked for, or the platform's: trunks, features and pixels."""
    # not Path.expanduser, which raises where nobody has the home
    return Path(os.path.expanduser(cache)).absolute() if cache else platformdirs.user_cache_path("headstart")  # noqa: PTH111
