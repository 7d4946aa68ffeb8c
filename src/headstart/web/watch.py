"""Take up a new run where the old one was, without dropping a request."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from headstart.run.folder import RunFolder
from headstart.web.engine import Engine
from headstart.web.model import ServedModel

_POLL_S = 1.0

Identity = tuple[str, tuple[tuple[int, int, int] | None, ...]] | None


async def watch(
    engine: Engine, run: Path, open_model: Callable[[], ServedModel], note: Callable[[str], None]
) -> None:
    """Look each second whether another run stands at the place; if so, load it beside and exchange.

    One that is being copied there is left alone until it has stood still for a second. A request under way is
    answered by the model that it began with. A run that can't be loaded is told of once, and tried again when
    it has changed; meanwhile the old one stays, as it does where the run is removed.

    Args:
        engine: Whose model is exchanged.
        run: The place, a folder or a link to one.
        open_model: Loads what is there.
        note: Told each exchange and each failure.
    """
    served = tried = seen = identify(run)
    while True:
        await asyncio.sleep(_POLL_S)
        before, seen = seen, identify(run)
        if seen is None or seen != before or seen in (served, tried):
            continue
        tried = found = seen
        try:
            model = await asyncio.to_thread(open_model)
        except Exception as error:  # whatever is wrong with the new one, the old one answers
            note(f"the new run can't be served, so {engine.model.name} stays: {error}")
            continue
        engine.model, served = model, found
        note(f"serving {model.name} from now on")


def identify(run: Path) -> Identity:
    """What tells a run from another at the same place: where it is, and which files it has of those served.

    None where there is no `config.json`.
    """
    place = os.path.realpath(run)  # Path.resolve raises where links lead in a circle
    folder = RunFolder(Path(place))
    served = (
        folder.config_json,
        folder.model_safetensors,
        folder.backbone_onnx,
        folder.head_safetensors,
        folder.metrics_json,
        folder.readme,
    )
    statuses = tuple(_status(file) for file in served)
    return (place, statuses) if statuses[0] else None


def _status(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
