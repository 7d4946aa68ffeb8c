"""How the pixels of a picture become what a network takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal, get_args

from headstart.errors import ConfigError

Interpolation = Literal["bicubic", "bilinear", "lanczos"]

_CHANNELS = 3


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `dataclasses.asdict`, through JSON.

        Raises:
            KeyError: Something is missing.
            ValueError: Something is of the wrong kind or range; names it.
        """
        kinds: dict[str, Callable[[Any], bool]] = {
            "resize_px": _is_int,
            "crop_px": _is_int,
            "interpolation": get_args(Interpolation).__contains__,
            "mean": _is_triple,
            "std": lambda value: _is_triple(value) and min(value) > 0,
        }
        for key, is_good in kinds.items():
            if not is_good(value[key]):
                raise ValueError(f"preprocessing's {key} ({value[key]!r})")
        try:
            known = {key: value[key] for key in kinds}
            return cls(**{**known, "mean": tuple(value["mean"]), "std": tuple(value["std"])})
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from error

    def at(self, crop_px: int | None) -> "Preprocessing":
        """The same at another size, as much of a picture kept; as it is for None."""
        if crop_px is None:
            return self
        return replace(self, resize_px=round(crop_px * self.resize_px / self.crop_px), crop_px=crop_px)

    def to_timm(self) -> dict[str, Any]:
        """What timm's `pretrained_cfg` says of it."""
        return {
            "input_size": [_CHANNELS, self.crop_px, self.crop_px],
            "interpolation": self.interpolation,
            "crop_pct": self.crop_px / self.resize_px,
            "crop_mode": "center",
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @property
    def view(self) -> str:
        """Name of the centre view, part of the feature store's address: `center-256-224-bicubic`."""
        return f"center-{self.resize_px}-{self.crop_px}-{self.interpolation}"


def _is_int(value: object) -> bool:
    return type(value) is int  # a truth value is one, too


def _is_triple(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return len(value) == _CHANNELS and all(type(x) in {int, float} and isfinite(x) for x in value)
