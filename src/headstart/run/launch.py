"""Whether torchrun or `accelerate launch` has started several processes to do one work together."""

import os

from headstart.errors import ConfigError


def process_count() -> int:
    """How many processes were started together; 1 if this one was started alone."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


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
