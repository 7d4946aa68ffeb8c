"""Where Headstart keeps what it can make again."""

from pathlib import Path

import platformdirs


def cache_folder(cache: str | Path | None) -> Path:
    """The cache asked for, or the platform's: trunks, features and pixels."""
    return Path(cache).expanduser().absolute() if cache else platformdirs.user_cache_path("headstart")
