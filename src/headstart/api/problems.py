"""All that is wrong with the settings of a training, told at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headstart.errors import ConfigError, FreezeRuleError, HeadstartError


@dataclass(frozen=True, slots=True)
class Problems:
    """What was found so far."""

    found: list[HeadstartError] = field(default_factory=list)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep what is wrong with a setting for later, and go on after the block."""
        try:
            yield
        except (ConfigError, FreezeRuleError) as error:
            self.found.append(error)

    def tell(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            ConfigError: The messages of several, one after the other.
            HeadstartError: The only one.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigError(" ".join(map(str, self.found)))
