"""What every export is made of: a classifier in float32, and what its run says about it."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.classifier import Classifier
from headstart.errors import ConfigError, DamagedRunError
from headstart.run.folder import RunFolder

CONTRACT_VERSION = 1
"""Of the metadata in an exported file; raised when an older script would no longer read them rightly."""

Views = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class Exported(Protocol):
    """An exported file in its own runtime, with the reading of images that goes with it."""

    @property
    def runtime(self) -> str:
        """Library and version, such as `onnxruntime 1.22.0`."""
        ...

    def read(self, path: str) -> Views:
        """Read an image file as `(crop_px, crop_px, 3)`; OSError or ValueError where it can't be."""
        ...

    def predict(self, views: Views) -> Probabilities:
        """Calibrated probabilities `(N, K)` of views `(N, H, W, 3)`."""
        ...


@dataclass(frozen=True)
class Source:
    """A run that is exported.

    Attributes:
        run: Its folder.
        classifier: Its model, on a float32 runtime.
        card: The model card; empty where the run has none.
    """

    run: RunFolder
    classifier: Classifier
    card: str

    @classmethod
    def of(cls, run: RunFolder, classifier: Classifier) -> "Source":
        """Read what a run says of itself."""
        try:
            card = run.readme.read_text(encoding="utf-8")
        except (OSError, ValueError):  # a bundle alone, without its card, is enough to predict
            card = ""
        return cls(run, classifier, card)

    def contract(self) -> dict[str, Any]:
        """Classes and preprocessing, as the metadata of an exported file tell them."""
        trunk = self.classifier.trunk
        return {
            "contract_version": CONTRACT_VERSION,
            "headstart": version("headstart"),
            "name": self.run.path.resolve().name,
            "architecture": trunk.architecture,
            "licence": trunk.licence,
            "classes": list(self.classifier.classes),
            "preprocessing": asdict(trunk.preprocessing),
        }


def read_contract(text: str, place: object) -> dict[str, Any]:
    """Parse the contract of an exported file.

    Raises:
        DamagedRunError: It lacks one, or has one from a newer version.
    """
    try:
        contract: dict[str, Any] = json.loads(text)
        found = int(contract["contract_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(f"{place} has no contract in its metadata. Export again.") from error
    if found > CONTRACT_VERSION:
        raise DamagedRunError(
            f"{place} has the contract version {found}; this Headstart knows {CONTRACT_VERSION}. Update it."
        )
    return contract


def check_installed(packages: Sequence[str], extra: str) -> None:
    """Find out before the work whether optional packages are there.

    Raises:
        ConfigError: Some are not; says how to install them.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        words = "package" if len(missing) == 1 else "packages"
        raise ConfigError(
            f"This export needs the {words} {', '.join(missing)}. Install: pip install 'headstart[{extra}]'"
        )
