"""A folder that plain timm loads: weights under timm's names, `config.json` and the model card."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.classifier import head_logits
from headstart.exports.source import Probabilities, Source, Views
from headstart.heads.hidden import layers_of
from headstart.metrics.calibration import softmax
from headstart.run.atomic import write_bytes, write_json, write_text
from headstart.run.folder import RunFolder

if TYPE_CHECKING:
    import torch

ARTIFACTS = (RunFolder(Path()).model_safetensors.name,)


class TimmExported:
    """A folder in plain timm: its model, and its evaluation transform on Pillow's pixels."""

    def __init__(self, folder: Path) -> None:
        import timm
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        self._model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        settings: dict[str, Any] = resolve_model_data_config(self._model)  # type: ignore[no-untyped-call]
        self._mean, self._std = (np.float32(settings[name]) * 255 for name in ("mean", "std"))
        self._transform = create_transform(**settings, is_training=False, use_prefetcher=True)
        self._head = _read_head(folder)
        self.runtime = f"timm {version('timm')}"

    def read(self, path: str) -> Views:
        """Read a file by Pillow, and by timm's transform up to the normalisation."""
        from PIL import Image, ImageOps

        with Image.open(path) as image:
            pixels = self._transform(ImageOps.exif_transpose(image).convert("RGB"))
        view: Views = np.ascontiguousarray(np.asarray(pixels).transpose(1, 2, 0))
        return view

    def predict(self, views: Views) -> Probabilities:
        """Probabilities of views, by timm's model, and by `head.safetensors` where it ends in features."""
        import torch

        with torch.inference_mode():
            out = self._model(self.normalise(views)).numpy()
        logits = head_logits(out, self._head[1], self._head[2], self._head[0]) if self._head else out
        return softmax(np.asarray(logits, np.float64)).astype(np.float32)

    def normalise(self, views: Views) -> "torch.Tensor":
        """Pixels `(N, 3, H, W)` as the model takes them."""
        import torch

        pixels: NDArray[np.float32] = ((views - self._mean) / self._std).astype(np.float32)
        return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def check() -> None:
    """Headstart brings timm itself."""


def write(source: Source, folder: Path) -> None:
    """Write the folder; nothing of the machine that trained is in it but what the card says.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    target = RunFolder(folder)
    write_bytes(target.model_safetensors, source.run.model_safetensors.read_bytes())
    if source.classifier.hidden:
        write_bytes(target.head_safetensors, source.run.head_safetensors.read_bytes())
    write_json(target.config_json, describe(source))
    write_text(target.readme, source.card)


def open_exported(folder: Path) -> TimmExported:
    """Open what `write` wrote."""
    return TimmExported(folder)


def describe(source: Source) -> dict[str, Any]:
    """`config.json`: what timm reads, and Headstart's contract."""
    config = source.run.read_config()
    of_timm = ("architecture", "num_classes", "num_features", "label_names", "pretrained_cfg")
    return {name: config[name] for name in of_timm} | {"headstart": source.contract()}


def _read_head(folder: Path) -> Any:
    """The layers that timm has no place for, or None."""
    from safetensors.numpy import load_file

    file = RunFolder(folder).head_safetensors
    return layers_of(load_file(file)) if file.is_file() else None
