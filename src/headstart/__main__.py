"""The command `headstart`, and `python -m headstart`."""

import sys


def main() -> None:
    """Run the command line; an interruption ends it without a traceback even while it is loaded."""
    try:
        from headstart import cli
    except KeyboardInterrupt:
        print("headstart: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)  # `cli.EXIT_INTERRUPTED`, which is not there yet
    cli.main()


if __name__ == "__main__":
    main()
