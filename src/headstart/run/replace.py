"""Put a better run in the place of one that was saved before."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.run.atomic import converting_errors, sync_folder
from headstart.run.folder import RunFolder, building_run


@contextmanager
def replacing_run(final: Path) -> Iterator[RunFolder]:
    """Give a hidden folder beside `final` to build a run in; whole, it takes the place of `final`.

    Until then `final` stays as it is. It is away for the moment between two renames only, and a kill
    in that moment leaves both runs, whole, under hidden names beside it.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    better = final.with_name(f".{final.name}.better-{os.getpid()}")
    old = final.with_name(f".{final.name}.replaced-{os.getpid()}")
    with building_run(better) as run:
        yield run
    with converting_errors(final):
        final.rename(old)
        better.rename(final)
        sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)
