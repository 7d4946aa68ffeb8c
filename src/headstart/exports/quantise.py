"""8-bit integers by post-training quantisation, calibrated on training images.

Which tool rounds a network well depends on the network. So each that can is tried, and the one kept
that errs least on training images it was not calibrated on; no test image takes part.
"""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.openvino import load_openvino, without_telemetry
from headstart.config import ExportFormat
from headstart.data.decode import read_view
from headstart.errors import ConfigError, UnreadableImageError
from headstart.exports import onnx, openvino
from headstart.exports.source import Exported, Source, Views, check_installed
from headstart.metrics.calibration import softmax

N_IMAGES = 300
"""To read; of five, four calibrate and one takes part in the choice."""

_CHOOSING_SHARE = 0.2
_FEWEST = 10
_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """Training images, and what the run says of them.

    Attributes:
        views: `(N, H, W, 3) uint8`.
        labels: `(N,)`, positions in the model's classes.
        probabilities: `(N, K)`, of the run in float32.
    """

    views: Views
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @classmethod
    def read(cls, source: Source, paths: Sequence[str], labels: Sequence[int]) -> "TrainingImages":
        """Read image files; those that can't be are left out.

        Raises:
            ConfigError: Too few are left.
        """
        views, kept = [], []
        for path, label in zip(paths, labels, strict=True):
            with contextlib.suppress(UnreadableImageError):
                views.append(read_view(path, source.classifier.trunk.preprocessing))
                kept.append(label)
        if len(views) < _FEWEST:
            raise ConfigError(
                f"--int8 is calibrated on training images, at least {_FEWEST}; only {len(views)} of "
                f"{len(paths)} can be read where the run has them. Name them: --calibrate FOLDER"
            )
        stacked = np.stack(views)
        features = source.classifier.runtime.embed(stacked)
        return cls(stacked, np.array(kept, np.int64), softmax(source.classifier.logits(features)))

    def part(self, rows: NDArray[np.bool_]) -> "TrainingImages":
        """Some of them."""
        return TrainingImages(self.views[rows], self.labels[rows], self.probabilities[rows])

    def halves(self) -> "tuple[TrainingImages, TrainingImages]":
        """Those to calibrate on, and every fifth, to choose by."""
        choosing = np.arange(len(self.views)) % round(1 / _CHOOSING_SHARE) == 0
        return self.part(~choosing), self.part(choosing)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tool's attempt, judged on images that it was not calibrated on.

    Attributes:
        tool: Library and method.
        wrong: Images whose class it gets wrong.
        images: Of how many.
        drift: Mean absolute difference of a probability from the run's.
    """

    tool: str
    wrong: int
    images: int
    drift: float


def check(to: ExportFormat) -> None:
    """Find out whether what quantises is installed.

    Raises:
        ConfigError: It is not.
    """
    check_installed(("nncf", "onnxruntime") if to == "onnx" else ("nncf",), "onnx")


def write(source: Source, to: ExportFormat, images: TrainingImages, folder: Path) -> list[Candidate]:
    """Write the export of `folder` in int8; return the tools that were tried, the chosen one first.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    calibrating, choosing = images.halves()
    module: Any = onnx if to == "onnx" else openvino
    tried: list[tuple[Candidate, Path]] = []
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=folder) as aside, _quiet():
        for tool, quantise in _TOOLS[to].items():
            place = Path(aside) / tool
            place.mkdir()
            module.write(source, place)
            quantise(source, place, calibrating.views)
            tried.append((_judge(tool, module.open_exported(place), choosing), place))
        tried.sort(key=lambda pair: (pair[0].wrong, pair[0].drift))
        for file in tried[0][1].iterdir():
            shutil.move(file, folder / file.name)
    return [candidate for candidate, _ in tried]


def describe(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """As JSON."""
    return [asdict(candidate) for candidate in candidates]


def _judge(tool: str, exported: Exported, images: TrainingImages) -> Candidate:
    starts = range(0, len(images.views), _BATCH)
    p = np.concatenate([exported.predict(images.views[start : start + _BATCH]) for start in starts])
    wrong = int(np.sum(p.argmax(axis=1) != images.labels))
    return Candidate(tool, wrong, len(p), float(np.abs(p - images.probabilities).mean()))


def _by_onnxruntime(source: Source, folder: Path, views: Views) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it comes without types
        def __init__(self) -> None:
            self._left = iter(views)

        def get_next(self) -> dict[str, Views] | None:
            view = next(self._left, None)
            return None if view is None else {"views": view[None]}

    import onnx as library

    file, prepared, rounded = folder / onnx.FILE, folder / "prepared.onnx", folder / "rounded.onnx"
    quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(rounded), Reader(), per_channel=True, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    onnx.save(file, library.load(rounded), source)
    prepared.unlink()
    rounded.unlink()


def _by_nncf_in_onnx(source: Source, folder: Path, views: Views) -> None:
    import onnx as library

    file = folder / onnx.FILE
    onnx.save(file, _nncf(library.load(file), views, "views"), source)


def _by_nncf_in_openvino(source: Source, folder: Path, views: Views) -> None:
    model = _nncf(openvino.to_ir(source), views, 0)
    openvino.save(folder / openvino.FILE, model, source)


def _nncf(model: Any, views: Views, name: str | int) -> Any:
    load_openvino()
    with without_telemetry():
        import nncf
    nncf.set_log_level(logging.ERROR)
    data = nncf.Dataset(list(views), lambda view: {name: view[None]})
    return nncf.quantize(model, data, subset_size=len(views), preset=nncf.QuantizationPreset.MIXED)


_TOOLS: dict[ExportFormat, dict[str, Callable[[Source, Path, Views], None]]] = {
    "onnx": {"onnxruntime": _by_onnxruntime, "nncf": _by_nncf_in_onnx},
    "openvino": {"nncf": _by_nncf_in_openvino},
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' bars and warnings off the streams; standard output is for results."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    silent = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(level)
