"""Take up a new run where the old one was, without dropping a request."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from headstart.errors import HeadstartError
from headstart.run.folder import RunFolder
from headstart.web.engine import Engine
from headstart.web.model import ServedModel

_POLL_S = 1.0

Identity = tuple[str, int, int] | None


async def watch(
    engine: Engine, run: Path, open_model: Callable[[], ServedModel], note: Callable[[str], None]
) -> None:
    """Look each second whether another run stands at the place; if so, load it beside and exchange.

    A request under way is answered by the model that it began with. A run that can't be loaded is told of
    once, and the old one stays; so it does where the run is removed.

    Args:
        engine: Whose model is exchanged.
        run: The place, a folder or a link to one.
        open_model: Loads what is there.
        note: Told each exchange and each failure.
    """
    served = tried = identify(run)
    while True:
        await asyncio.sleep(_POLL_S)
        found = identify(run)
        if found is None or found in (served, tried):
            continue
        tried = found
        try:
            model = await asyncio.to_thread(open_model)
        except HeadstartError as error:
            note(f"the new run can't be served, so {engine.model.name} stays: {error}")
            continue
        engine.model, served = model, found
        note(f"serving {model.name} from now on")


def identify(run: Path) -> Identity:
    """What tells a run from another at the same place: where it is, and which `config.json` it has.

    As a run's `config.json` comes last, or with the whole folder, another one means another whole run.
    """
    try:
        place = run.resolve()
        status = RunFolder(place).config_json.stat()
    except OSError:
        return None
    return str(place), status.st_ino, status.st_mtime_ns
