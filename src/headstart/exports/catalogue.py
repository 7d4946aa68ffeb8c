"""The formats that a run can be exported to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headstart.config import ExportFormat
from headstart.exports import hub, onnx, openvino, timm
from headstart.exports.source import Exported, Source


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is written and opened.

    Attributes:
        artifacts: The files that predict, which are renamed if they must not.
        check: Finds out whether the packages are there that it needs.
        write: Writes into an empty folder.
        open: Opens what was written, in its own runtime.
    """

    artifacts: tuple[str, ...]
    check: Callable[[], None]
    write: Callable[[Source, Path], None]
    open: Callable[[Path], Exported]


FORMATS: dict[ExportFormat, Format] = {
    "onnx": Format(onnx.ARTIFACTS, onnx.check, onnx.write, onnx.open_exported),
    "openvino": Format(openvino.ARTIFACTS, openvino.check, openvino.write, openvino.open_exported),
    "timm": Format(timm.ARTIFACTS, timm.check, timm.write, timm.open_exported),
    "hf": Format(hub.ARTIFACTS, hub.check, hub.write, hub.open_exported),
}
