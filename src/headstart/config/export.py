"""What an export is asked to make."""

from dataclasses import dataclass
from typing import Literal

from headstart.config.choices import choice_problems
from headstart.errors import ConfigError

ExportFormat = Literal["onnx", "openvino", "timm", "hf"]

_QUANTISED: tuple[ExportFormat, ...] = ("onnx", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What an export is asked to make. Each field is a command-line flag of the same name."""

    to: ExportFormat = "onnx"
    """onnx: one file for ONNX Runtime. openvino: a file of OpenVINO's, and its weights. timm: a folder that
    plain timm loads. hf: a folder that transformers loads and the Hugging Face hub shows."""

    int8: bool = False
    """Quantise to 8-bit integers, calibrated on training images; of onnx and openvino."""

    verify: str | None = None
    """Labelled images that the exported file must answer as the run does; of data with a test split, that
    split. Default: images that the run was measured on."""

    calibrate: str | None = None
    """Labelled images to calibrate --int8 on. Default: the run's training images, where they still are."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self)
        if not problems and self.int8 and self.to not in _QUANTISED:
            problems.append(f"--int8 is for {' and '.join(_QUANTISED)}; {self.to} keeps 32-bit weights")
        if self.calibrate is not None and not self.int8:
            problems.append("--calibrate needs --int8")
        if problems:
            raise ConfigError("; ".join(problems) + ".")

    @property
    def name(self) -> str:
        """Of the folder that it makes: `onnx`, `onnx-int8`."""
        return f"{self.to}-int8" if self.int8 else self.to
