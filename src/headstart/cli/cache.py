"""`headstart cache`."""

import json
from math import inf
from typing import Annotated

from cyclopts import Parameter

from headstart.api.cache import PARTS, Part, clear_cache, measure_cache
from headstart.api.places import cache_folder
from headstart.cli.options import Cache, Json
from headstart.errors import ConfigError


def cache(
    *,
    clear: Annotated[bool, Parameter(negative="")] = False,
    part: Part | None = None,
    older_than: float = 0.0,
    cache: Cache = None,
    json_: Json = False,
) -> None:
    """Show or clear what can be made again: trunks, features, pixels.

    Parameters
    ----------
    clear
        Delete instead of showing.
    part
        Only this part.
    older_than
        With --clear: only files last used more than this many days ago.
    """
    if not 0 <= older_than < inf:
        raise ConfigError(f"--older-than takes days, 0 or more, not {older_than}.")
    if older_than and not clear:
        raise ConfigError("--older-than goes with --clear.")
    folder = cache_folder(cache)
    parts = (part,) if part else PARTS
    if clear:
        sizes = clear_cache(folder, parts, older_than_days=older_than)
    else:
        sizes = [size for size in measure_cache(folder) if size.part in parts]
    if json_:
        rows = {size.part: {"files": size.files, "size_bytes": size.size_bytes} for size in sizes}
        print(json.dumps({"cache": str(folder), "cleared": clear, **rows}))  # noqa: T201
        return
    print(f"{'Cleared from' if clear else 'Cache'} {folder}")  # noqa: T201
    for size in sizes:
        print(f"  {size.part:<9} {size.files:>6,} files  {size.size_bytes / 1e6:>9,.1f} MB")  # noqa: T201
