"""How a run is served."""

from dataclasses import dataclass
from math import inf

from headstart.config.choices import choice_problems
from headstart.config.train import RuntimeChoice
from headstart.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """What a server allows. Each field is a command-line flag of the same name."""

    host: str = "127.0.0.1"
    """Address to listen on. Other than this machine's own, it demands --token or --no-auth."""

    port: int = 8000
    """Port to listen on; 0 takes a free one."""

    token: str | None = None
    """What clients must send as `Authorization: Bearer TOKEN`. Better given by the environment variable
    HEADSTART_TOKEN, as other users of this machine can read command lines."""

    no_auth: bool = False
    """Answer anybody who reaches the address, without a token."""

    watch: bool = False
    """Take up a new run as soon as one is saved at the same place, or the link RUN points to another."""

    unknown_below: float = 0.0
    """Answer "unknown" where the best class's probability is below this, in [0, 1]."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone; auto takes that of the training if this machine has it."""

    max_upload_mb: float = 32.0
    """Megabytes a request; more is refused before it is read to its end."""

    max_megapixels: float = 50.0
    """Megapixels an image; more is refused before it is decoded."""

    max_images: int = 32
    """Images a request."""

    queue: int = 256
    """Images that may wait; further requests are told to come again."""

    timeout_s: float = 30.0
    """Seconds that a request may take to arrive, and again to be answered."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self) + [
            f"--{name.replace('_', '-')} must {wanted}, not {value}"
            for name, value, fits, wanted in (
                ("port", self.port, 0 <= self.port < 2**16, "lie between 0 and 65535"),
                ("unknown_below", self.unknown_below, 0 <= self.unknown_below <= 1, "lie between 0 and 1"),
                (
                    "max_upload_mb",
                    self.max_upload_mb,
                    0 < self.max_upload_mb <= 2048,
                    "be above 0, up to 2048",
                ),
                ("max_megapixels", self.max_megapixels, 0 < self.max_megapixels < inf, "be above 0"),
                ("max_images", self.max_images, self.max_images >= 1, "be at least 1"),
                ("queue", self.queue, self.queue >= 1, "be at least 1"),
                ("timeout_s", self.timeout_s, 0 < self.timeout_s < inf, "be above 0"),
            )
            if not fits
        ]
        if self.max_images > self.queue:
            problems.append(f"--max-images {self.max_images} could never fit into --queue {self.queue}")
        if self.token is not None and self.no_auth:
            problems.append("--token and --no-auth exclude each other")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token):
            problems.append("--token must be printable ASCII characters, at least one")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
