"""The command line: one file a command, each imported only when it is called."""

import errno
import os
import sys
import warnings

from cyclopts import App, CycloptsError

from headstart.errors import HeadstartError

app = App(
    name="headstart",
    help="A folder of labelled images becomes an accurate, honestly measured, deployable classifier.",
    version=lambda: __import__("importlib.metadata").metadata.version("headstart"),
    suppress_keyboard_interrupt=False,
)

_COMMANDS = {
    "train": "Train a classifier on a folder of labelled images, measure it and save it.",
    "evaluate": "Measure a trained run on other labelled images.",
    "predict": "Predict images with a trained run; exits with 1 if some can't be read.",
    "preview": "Draw training pictures beside what augmentation makes of them, as a PNG.",
    "demo": "Show the main job offline: 1,797 handwritten digits become a measured classifier.",
    "env": "Show what this machine has, and which runtime was chosen how fast.",
    "cache": "Show or clear what can be made again: trunks, features, pixels.",
}
for _name, _help in _COMMANDS.items():
    app.command(f"headstart.cli.{_name}:{_name}", name=_name, help=_help)

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; the user's errors exit with 2 and no traceback, bugs keep theirs."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata; what matters is reported
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal can't show must not end the work
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app(sys.argv[1:], exit_on_error=False, print_error=True)
        finally:
            sys.stdout.flush()  # a full disk or a closed pipe must show here, not after us
    except CycloptsError:
        sys.exit(EXIT_USER_ERROR)
    except HeadstartError as error:
        print(f"headstart: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print("headstart: interrupted; what was embedded is kept", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _drop_output()
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        print("headstart: the disk is full, so the output is cut short. Free some space.", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USER_ERROR)


def _drop_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter would try to write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
