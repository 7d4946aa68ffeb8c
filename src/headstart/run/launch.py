"""Whether torchrun or `accelerate launch` has started several processes to do one work together."""

import os

from headstart.errors import ConfigError


def process_count() -> int:
    """How many processes were started together; 1 if this one was started alone.

    Raises:
        ConfigError: RANK is set, but WORLD_SIZE or RANK is no number that makes sense.
    """
    if "RANK" not in os.environ:
        return 1
    rank, count = os.environ["RANK"], os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise ConfigError(
            f"RANK is {rank!r} and WORLD_SIZE {count!r}, of which the first must be a number from 0 and "
            "less than the second. Start the processes with torchrun, or unset both variables."
        )
    return int(count)


def process_rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def check_alone(work: str) -> None:
    """Refuse to do the same several times at once.

    Args:
        work: What one process does, the beginning of the message.

    Raises:
        ConfigError: Several processes were started.
    """
    if (count := process_count()) > 1:
        raise ConfigError(
            f"{work} is done by one process, and {count} were started. Start it without torchrun; training "
            "a backbone is what processes share, as in: torchrun --nproc-per-node 2 -m headstart train "
            "DATA --recipe finetune"
        )
