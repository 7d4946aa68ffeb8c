"""A folder that transformers loads and the Hugging Face hub shows; timm loads it as well."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from headstart.errors import ConfigError
from headstart.exports import timm
from headstart.exports.source import Probabilities, Source, Views, check_installed

ARTIFACTS = timm.ARTIFACTS


class HubExported:
    """A folder in transformers, which reads images by timm's transform and normalises them itself."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageClassification
        from transformers.utils.logging import disable_progress_bar

        # it would draw on top of ours, and when told to be quiet
        disable_progress_bar()  # type: ignore[no-untyped-call]
        self._reader = timm.open_exported(folder)
        self._model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
        self.runtime = f"transformers {version('transformers')}"

    def read(self, path: str) -> Views:
        """Read a file as timm does."""
        return self._reader.read(path)

    def predict(self, views: Views) -> Probabilities:
        """Probabilities of views."""
        import torch

        with torch.inference_mode():
            logits = self._model(self._reader.normalise(views)).logits
        return np.asarray(torch.softmax(logits.double(), 1).float().numpy(), np.float32)


def check() -> None:
    """Find out whether transformers is installed.

    Raises:
        ConfigError: It is not.
    """
    check_installed(("transformers",), "hf")


def write(source: Source, folder: Path) -> None:
    """Write the folder.

    Raises:
        ConfigError: The head has hidden layers, which transformers has no place for.
        StorageError: The disk is full, read-only or forbidden.
    """
    if source.classifier.hidden:
        raise ConfigError(
            "The head of this run has hidden layers, and transformers has no place for them. "
            "Export it --to onnx or openvino, which hold the whole, or --to timm, whose card shows how."
        )
    timm.write(source, folder)


def open_exported(folder: Path) -> HubExported:
    """Open what `write` wrote."""
    return HubExported(folder)
