"""Start-up: `headstart --help`, and `headstart predict` of one image on a cached run.

Wall seconds of fresh processes, in turn, median of five. A run is trained on hymenoptera first, so
backbone and run are cached. Whether torch is imported is looked up in `sys.modules` after the same
command has run in a process of its own.

    python bench/startup.py
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from support import (
    HEADSTART,
    alternate,
    data_folder,
    make_parser,
    middle,
    print_table,
    run,
    scratch_cache,
    verdict,
)

MOST_HELP_S, MOST_PREDICT_S = 0.5, 2.5
# Exits through atexit, as the command line may call sys.exit; the last line of output is the answer.
_WATCH = """
import atexit, sys
atexit.register(lambda: print("\\n" + ("torch" if "torch" in sys.modules else "no torch")))
from headstart.cli import main
main()
"""


def imports_torch(command: Sequence[str | Path]) -> bool:
    """Whether the process that ran the command had imported torch at its end."""
    output = run([sys.executable, "-c", _WATCH, *command[1:]]).output
    return output.splitlines()[-1] == "torch"


def main() -> None:
    options = make_parser(__doc__, repeats=5).parse_args()
    data = data_folder("hymenoptera")
    with scratch_cache() as cache:
        out = cache.parent / "run"
        run([HEADSTART, "train", data, "--cache", cache, "--out", out, "--quiet"])
        image = next(path for path in sorted((data / "test").rglob("*.jpg")))
        commands: dict[str, Sequence[str | Path]] = {
            "headstart --help": [HEADSTART, "--help"],
            "headstart predict RUN one.jpg": [HEADSTART, "predict", out, image, "--cache", cache],
        }
        for command in commands.values():
            run(command)  # byte code is compiled, files are in the page cache
        times = alternate(
            options.repeats,
            {name: lambda command=command: run(command).seconds for name, command in commands.items()},
        )
        torch = {name: imports_torch(command) for name, command in commands.items()}
    rows = []
    for (name, seconds), most in zip(times.items(), (MOST_HELP_S, MOST_PREDICT_S), strict=True):
        reached = median(seconds) <= most and not torch[name]
        imported = "imported" if torch[name] else "not imported"
        rows.append([name, middle(seconds), imported, f"<= {most} s, no torch", verdict(reached)])
    print_table("Fresh processes", ["command", "seconds", "torch", "must", "reached"], rows)


if __name__ == "__main__":
    main()
