"""What a preview of augmentation shows."""

from dataclasses import dataclass

from headstart.config.train import TrainConfig
from headstart.config.tune import TuneConfig
from headstart.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    """What a preview shows. Each field is a command-line flag, and means what it means in a training."""

    augment: str = TuneConfig().augment
    """Policy: none, flip, light, strong, trivial or photo-shift; then, if wanted, parts of it set
    otherwise: strong,rotation=0,vertical_flip=0.5."""

    images: int = 6
    """Pictures, of each class alike many; a row each."""

    views: int = 6
    """Views of each picture: those of the first epochs."""

    model: str = TrainConfig().model
    """Backbone whose views these are, as for train."""

    input_px: int | None = None
    """Side of the views. Default: what the backbone was made for, or four times the pictures' own where
    these are small."""

    seed: int = 0
    """Chooses the pictures, and decides their views as it does in a training."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = [
            f"--{name.replace('_', '-')} must lie between {least} and {most}, not {value}"
            for name, value, least, most in (
                ("images", self.images, 1, 100),
                ("views", self.views, 1, 50),
                ("input_px", self.input_px, 8, 1024),
                ("seed", self.seed, 0, 2**32 - 1),
            )
            if value is not None and not least <= value <= most
        ]
        if problems:
            raise ConfigError("; ".join(problems) + ".")
