"""The command `headstart`, and `python -m headstart`."""

import signal
import sys
import threading
from types import FrameType

_EXIT_INTERRUPTED = 130
"""As `cli.EXIT_INTERRUPTED`, which may not be there yet."""

_AGAIN_S = 0.05


def main() -> None:
    """Run the command line; an interruption ends it without a traceback, even while it is loaded."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from headstart import cli

        cli.main()
    except KeyboardInterrupt:  # before there was anything to tell of
        print("headstart: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(_EXIT_INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt once nothing is being imported; in the midst, it could get lost or become another error."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(_AGAIN_S, signal.raise_signal, [number])
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
