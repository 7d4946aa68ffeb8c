"""ONNX: one file with the whole classifier, and a script that needs nothing of Headstart."""

import json
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from headstart.exports.source import Probabilities, Source, Views, check_installed, read_contract
from headstart.run.atomic import write_bytes, write_text

FILE = "model.onnx"
SCRIPT = "predict_onnx.py"
ARTIFACTS = (FILE,)

_OPSET = 18


class OnnxExported:
    """An ONNX file in ONNX Runtime; images are read by the script that lies beside it."""

    def __init__(self, file: Path, *, threads: int = 1) -> None:
        import onnxruntime

        from headstart.exports.predict_onnx import read_view

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # several callers, a core each
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._settings = read_contract(metadata.get("headstart", ""), file)["preprocessing"]
        self._read = read_view
        self.runtime = f"onnxruntime {onnxruntime.__version__}"

    def read(self, path: str) -> Views:
        """Read a file as the script does."""
        view: Views = self._read(path, self._settings)
        return view

    def predict(self, views: Views) -> Probabilities:
        """Probabilities of views."""
        (probabilities,) = self._session.run(["probabilities"], {"views": views})
        return np.asarray(probabilities, np.float32)


def check() -> None:
    """Find out whether what writes ONNX is installed.

    Raises:
        ConfigError: It is not.
    """
    check_installed(("onnx", "onnxscript", "onnxruntime"), "onnx")


def write(source: Source, folder: Path) -> None:
    """Write `model.onnx` and `predict_onnx.py`.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    save(folder / FILE, to_onnx(source), source)
    script = resources.files("headstart.exports").joinpath(SCRIPT).read_text(encoding="utf-8")
    write_text(folder / SCRIPT, script)


def open_exported(folder: Path) -> OnnxExported:
    """Open what `write` wrote."""
    return OnnxExported(folder / FILE)


def to_onnx(source: Source) -> Any:
    """Convert a classifier to a model of ONNX, opset 18, for any number of images a call."""
    import torch

    from headstart.exports.network import INPUT, OUTPUTS, build_network

    side = source.classifier.trunk.preprocessing.crop_px
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            build_network(source.classifier),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("images")},),
            opset_version=_OPSET,
        )
    assert program is not None  # noqa: S101 - dynamo=True always gives one
    return program.model_proto


def save(file: Path, model: Any, source: Source) -> None:
    """Check a model, and save it with its metadata.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    import onnx

    metadata = {
        "headstart": json.dumps(source.contract(), ensure_ascii=False),
        "classes": json.dumps(list(source.classifier.classes), ensure_ascii=False),
        "model_card": source.card,
    }
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.doc_string = "headstart", source.card
    onnx.checker.check_model(model, full_check=True)
    write_bytes(file, model.SerializeToString())
