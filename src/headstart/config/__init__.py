"""The settings that travel: how pixels are prepared, and what each command was asked to do.

Frozen dataclasses without torch, one file a command. Command-line flags, the saved
`config.json` and the Python API all derive from these.
"""

from headstart.config.check import CheckConfig
from headstart.config.compare import CompareConfig
from headstart.config.curve import CurveConfig
from headstart.config.duration import parse_duration
from headstart.config.explain import ExplainConfig
from headstart.config.export import ExportConfig, ExportFormat
from headstart.config.lr_find import LrFindConfig
from headstart.config.predict import ROW_FORMATS, PredictConfig, RowFormat
from headstart.config.preprocessing import Interpolation, Preprocessing
from headstart.config.preview import PreviewConfig
from headstart.config.serve import ServeConfig
from headstart.config.shift import ShiftConfig
from headstart.config.train import (
    HeadInit,
    HeadName,
    MirrorChoice,
    RecipeName,
    RuntimeChoice,
    RuntimeName,
    TrainConfig,
)
from headstart.config.tune import (
    BatchSizeChoice,
    NormStatistics,
    OptimizerName,
    Precision,
    PrecisionChoice,
    ScheduleName,
    TuneConfig,
)

__all__ = [
    "ROW_FORMATS",
    "BatchSizeChoice",
    "CheckConfig",
    "CompareConfig",
    "CurveConfig",
    "ExplainConfig",
    "ExportConfig",
    "ExportFormat",
    "HeadInit",
    "HeadName",
    "Interpolation",
    "LrFindConfig",
    "MirrorChoice",
    "NormStatistics",
    "OptimizerName",
    "Precision",
    "PrecisionChoice",
    "PredictConfig",
    "Preprocessing",
    "PreviewConfig",
    "RecipeName",
    "RowFormat",
    "RuntimeChoice",
    "RuntimeName",
    "ScheduleName",
    "ServeConfig",
    "ShiftConfig",
    "TrainConfig",
    "TuneConfig",
    "parse_duration",
]
