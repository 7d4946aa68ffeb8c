"""`headstart env`."""

import json
from typing import Annotated

from cyclopts import Parameter

from headstart.api.env import KnownTrunk, describe_machine, known_trunks, time_runtimes
from headstart.api.places import cache_folder
from headstart.backbones.catalogue import DEFAULT
from headstart.cli.console import make_progress
from headstart.cli.options import Cache, Json, Quiet
from headstart.errors import ConfigError


def env(
    *,
    time: Annotated[bool, Parameter(negative="")] = False,
    model: str | None = None,
    cache: Cache = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Show what this machine has, and which runtime was chosen how fast.

    Parameters
    ----------
    time
        Time the runtimes of --model now, instead of showing what is remembered.
    model
        The backbone to time; lite0 if not said.
    """
    if model is not None and not time:
        raise ConfigError(f"--model {model} says what to time; add --time.")
    folder = cache_folder(cache)
    trunks = (
        [time_runtimes(model or DEFAULT, folder, make_progress(quiet=quiet))]
        if time
        else known_trunks(folder)
    )
    machine = describe_machine()
    if json_:
        known = [
            {
                "architecture": trunk.architecture,
                "input_px": trunk.input_px,
                "images_per_s": trunk.speeds,
                "chosen": next(iter(trunk.speeds), None),
            }
            for trunk in trunks
        ]
        print(json.dumps({**machine, "cache": str(folder), "trunks": known}, ensure_ascii=False))  # noqa: T201
        return
    lines = [
        f"{key:<10} {machine[key]}"
        for key in ("headstart", "python", "platform", "cpu", "cores", "memory_gb")
    ]
    packages: dict[str, str] = machine["packages"]
    lines.append(f"{'packages':<10} {', '.join(f'{name} {version}' for name, version in packages.items())}")
    lines.append(f"{'cache':<10} {folder}")
    for trunk in trunks:
        lines += _describe(trunk)
    if not trunks:
        lines.append("No backbone was converted here yet; `headstart env --time` does that and times it.")
    print("\n".join(lines))  # noqa: T201


def _describe(trunk: KnownTrunk) -> list[str]:
    """A trunk's runtimes, the one that is chosen first."""
    view = f"{trunk.architecture} at {trunk.input_px} pixels"
    if not trunk.speeds:
        return [f"{view}: not timed here yet"]
    lines = [f"  {name:<14} {speed:>7,.0f}" for name, speed in trunk.speeds.items()]
    is_exact = next(iter(trunk.speeds)).endswith("fp32")
    lines[0] += "  chosen" if is_exact else "  chosen where its features agree with float32's"
    return [f"{view}, images a second of the backbone alone:", *lines]
