"""OpenVINO IR: the same inputs, outputs and contract as the ONNX file, for Intel's runtime."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headstart.backbones.openvino import load_openvino, openvino_core
from headstart.backbones.runtime import OpenVinoRuntime
from headstart.exports.source import Probabilities, Source, Views, read_contract
from headstart.run.atomic import converting_errors

FILE = "model.xml"
ARTIFACTS = (FILE, "model.bin")


class OpenVinoExported:
    """An IR in OpenVINO, in float32 where it is not quantised; images are read as Headstart does."""

    def __init__(self, file: Path) -> None:
        from headstart.config import Preprocessing
        from headstart.data.decode import read_view

        model = openvino_core().read_model(file)
        contract = read_contract(str(model.get_rt_info(["headstart"]).value), file)
        self._preprocessing, self._read = Preprocessing.from_json(contract["preprocessing"]), read_view
        self._model = OpenVinoRuntime(model, self._preprocessing.crop_px, "openvino-fp32")
        self.runtime = f"openvino {version('openvino')}"

    def read(self, path: str) -> Views:
        """Read a file as Headstart does."""
        return self._read(path, self._preprocessing)

    def predict(self, views: Views) -> Probabilities:
        """Probabilities, the first output, of views."""
        return self._model.embed(views)


def check() -> None:
    """OpenVINO is always there."""


def write(source: Source, folder: Path) -> None:
    """Write `model.xml` and `model.bin`.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    save(folder / FILE, to_ir(source), source)


def open_exported(folder: Path) -> OpenVinoExported:
    """Open what `write` wrote."""
    return OpenVinoExported(folder / FILE)


def to_ir(source: Source) -> Any:
    """Convert a classifier to a model of OpenVINO, for any number of images a call."""
    from headstart.backbones.convert import to_openvino
    from headstart.exports.network import INPUT, OUTPUTS, build_network

    side = source.classifier.trunk.preprocessing.crop_px
    model = to_openvino(build_network(source.classifier), side)
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    return model


def save(file: Path, model: Any, source: Source) -> None:
    """Save a model with its metadata.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    model.set_rt_info(json.dumps(source.contract(), ensure_ascii=False), ["headstart"])
    model.set_rt_info(source.card, ["model_card"])
    with converting_errors(file):
        load_openvino().save_model(model, file, compress_to_fp16=False)
