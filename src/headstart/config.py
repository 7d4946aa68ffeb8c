"""The settings that travel: how pixels are prepared, and what a training was asked to do.

Frozen dataclasses without torch. Command-line flags, the saved `config.json` and
the Python API all derive from these.
"""

from dataclasses import dataclass
from typing import Literal

from headstart.errors import ConfigError

Interpolation = Literal["bicubic", "bilinear", "lanczos"]
RuntimeName = Literal["openvino-bf16", "openvino-fp32", "torch-bf16", "torch-fp32"]
RuntimeChoice = Literal["auto", RuntimeName]
MirrorChoice = Literal["auto", "on", "off"]

_MAX_TEST_FRACTION = 0.9
_MIN_FOLDS, _MAX_FOLDS = 3, 20


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an upright RGB image to the `uint8 (crop_px, crop_px, 3)` that a network takes.

    The shorter side becomes `resize_px`, then the central square of `crop_px` is
    kept. Normalisation by `mean` and `std` (on the scale 0 to 1) is the network's
    own first operation and recorded here only to build it.
    """

    resize_px: int
    crop_px: int
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= self.resize_px:
            raise ConfigError(
                f"Preprocessing needs 1 <= crop_px <= resize_px, not crop_px={self.crop_px} and "
                f"resize_px={self.resize_px}."
            )

    @property
    def view(self) -> str:
        """Name of the centre view, part of the feature store's address: `center-256-224-bicubic`."""
        return f"center-{self.resize_px}-{self.crop_px}-{self.interpolation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What a training is asked to do. Each field is a command-line flag of the same name."""

    model: str = "lite0"
    """Backbone: lite0, lite1, lite2, any timm name, or ARCHITECTURE@FILE for local weights."""

    test_fraction: float | None = None
    """Hold out this share of the images as a test split, in (0, 0.9]. Without it, and without a test
    folder, cross-validation measures."""

    balance: bool = False
    """Weight every class alike, however many images it has."""

    mirror: MirrorChoice = "auto"
    """Train on mirrored images too. auto: where the set is small, and cross-validation says that it helps."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone. auto: the fastest one here whose features can be trusted."""

    folds: int = 5
    """Folds of cross-validation, 3 to 20."""

    seed: int = 0
    """Decides folds and held-out parts, with the images' content."""

    strict: bool = False
    """Refuse to train if any file can't be read, instead of skipping it."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = []
        if self.test_fraction is not None and not 0 < self.test_fraction <= _MAX_TEST_FRACTION:
            problems.append(
                f"--test-fraction must lie above 0 and at most {_MAX_TEST_FRACTION}, not {self.test_fraction}"
            )
        if not _MIN_FOLDS <= self.folds <= _MAX_FOLDS:
            problems.append(f"--folds must lie between {_MIN_FOLDS} and {_MAX_FOLDS}, not {self.folds}")
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed must lie between 0 and 2^32 - 1, not {self.seed}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
