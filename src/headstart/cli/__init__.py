"""The command line: one file a command, each imported only when it is called."""

import errno
import os
import sys
import time
import warnings
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from headstart.cli.arguments import convert, describe_mistake
from headstart.cli.console import printable
from headstart.errors import ConfigError, HeadstartError
from headstart.run.launch import check_alone, process_rank

app = App(
    name="headstart",
    help="A folder of labelled images becomes an accurate, honestly measured, deployable classifier.",
    version=lambda: __import__("importlib.metadata").metadata.version("headstart"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(converter=convert),
)

_COMMANDS = {
    "train": "Train a classifier on a folder of labelled images, measure it and save it.",
    "check": "Look for what would spoil a training on these images; exits with 1 if something would.",
    "compare": "Train recipes with models and seeds on one split, side by side; exits with 1 if some fail.",
    "evaluate": "Measure a trained run on other labelled images.",
    "gain": "Measure how far some runs are ahead of others on the same test images.",
    "predict": "Predict images with a trained run; exits with 1 if some can't be read.",
    "export": "Export a run to other runtimes; exits with 1 if the export answers otherwise.",
    "report": "Make one self-contained HTML page of a run, or of a comparison.",
    "shift": "Measure whether a run survives darker, warmer, blurrier or smaller pictures.",
    "preview": "Draw training pictures beside what augmentation makes of them, as a PNG.",
    "lr-find": "Train a few steps at rising learning rates, and tell which rate suits a recipe.",
    "explain": "Draw where a run looked, beside the most similar training images; 1 if some can't be read.",
    "curve": "Accuracy against the number of images, and what twice as many would bring.",
    "serve": "Answer over HTTP what a trained run says of images, and on a page of its own.",
    "demo": "Show the main job offline: 1,797 handwritten digits become a measured classifier.",
    "env": "Show what this machine has, and which runtime was chosen how fast.",
    "cache": "Show or clear what can be made again: trunks, features, pixels.",
}
for _name, _help in _COMMANDS.items():
    _module = _name.replace("-", "_")
    app.command(f"headstart.cli.{_module}:{_module}", name=_name, help=_help)

_EMBEDDING = {"train", "check", "compare", "curve", "explain", "demo"}
"""Commands that put features into the store, where the next one finds them."""

_FIRST_SPEAKS_S = 3.0

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141
"""What a shell sees of a program that SIGPIPE has ended, as it does most others."""


def main() -> None:
    """Run the command line; the user's errors exit with 2 and no traceback, bugs keep theirs."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata; what matters is reported
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal can't show must not end the work
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    command = sys.argv[1] if sys.argv[1:] else ""
    try:
        try:
            if command != "train":
                check_alone(f"headstart {command}".strip())
            app(sys.argv[1:], exit_on_error=False, print_error=False)
        finally:
            sys.stdout.flush()  # a full disk or a closed pipe must show here, not after us
    except CycloptsError as error:
        _end(describe_mistake(error))
    except HeadstartError as error:
        _end(str(error))
    except KeyboardInterrupt:
        kept = "; what was embedded is kept" if command in _EMBEDDING else ""
        _end(f"interrupted{kept}", EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _drop_output()
        sys.exit(EXIT_CLOSED_PIPE)
    except PermissionError as error:
        place = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        _end(f"permission denied{place}. Give yourself the right, or name another place.")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        _end("the disk is full, so the output is cut short. Free some space.")


def _end(message: str, code: int = EXIT_USER_ERROR) -> NoReturn:
    """Print and exit; of processes that train together, the first speaks for all whom the same befell."""
    try:
        is_first = process_rank() == 0
    except ConfigError:  # that is what the message says
        is_first = True
    if not is_first:
        if code == EXIT_INTERRUPTED:
            sys.exit(code)
        time.sleep(_FIRST_SPEAKS_S)  # where the first ends, too, torchrun ends this one meanwhile
    print(f"headstart: {printable(message, lines=True)}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _drop_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter would try to write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
