"""Headstart: a folder of labelled images becomes an accurate, honestly measured classifier.

    import headstart as hs

    result = hs.train("photos/")
    model = hs.load(result.run)
    model.predict(["new.jpg"])

Names load what they need on first use, so `import headstart` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.api.check import CheckResult, apply_review, check
    from headstart.api.compare import compare
    from headstart.api.compared import Comparison
    from headstart.api.curve import LearningCurve, curve
    from headstart.api.explain import Explanation, explain
    from headstart.api.export import ExportResult, export
    from headstart.api.gain import PairedGain, gain
    from headstart.api.load import load
    from headstart.api.lr_find import LrFound, lr_find
    from headstart.api.predict import Predicted, predict
    from headstart.api.preview import preview
    from headstart.api.report import Report, report
    from headstart.api.shift import ShiftReport, shift
    from headstart.api.train import train
    from headstart.api.trained import TrainResult
    from headstart.classifier import Classifier, Prediction
    from headstart.cli.console import make_progress
    from headstart.config import (
        CheckConfig,
        CompareConfig,
        CurveConfig,
        ExplainConfig,
        ExportConfig,
        LrFindConfig,
        PredictConfig,
        Preprocessing,
        PreviewConfig,
        ServeConfig,
        ShiftConfig,
        TrainConfig,
        TuneConfig,
    )
    from headstart.data.dataset import Dataset
    from headstart.errors import HeadstartError
    from headstart.metrics.scores import Scores
    from headstart.web.server import serve

_HOMES = {
    "CheckConfig": "headstart.config",
    "CheckResult": "headstart.api.check",
    "Classifier": "headstart.classifier",
    "CompareConfig": "headstart.config",
    "Comparison": "headstart.api.compared",
    "CurveConfig": "headstart.config",
    "Dataset": "headstart.data.dataset",
    "ExplainConfig": "headstart.config",
    "Explanation": "headstart.api.explain",
    "ExportConfig": "headstart.config",
    "ExportResult": "headstart.api.export",
    "HeadstartError": "headstart.errors",
    "LearningCurve": "headstart.api.curve",
    "LrFindConfig": "headstart.config",
    "LrFound": "headstart.api.lr_find",
    "PairedGain": "headstart.api.gain",
    "PredictConfig": "headstart.config",
    "Predicted": "headstart.api.predict",
    "Prediction": "headstart.classifier",
    "Preprocessing": "headstart.config",
    "PreviewConfig": "headstart.config",
    "Report": "headstart.api.report",
    "Scores": "headstart.metrics.scores",
    "ServeConfig": "headstart.config",
    "ShiftConfig": "headstart.config",
    "ShiftReport": "headstart.api.shift",
    "TrainConfig": "headstart.config",
    "TrainResult": "headstart.api.trained",
    "TuneConfig": "headstart.config",
    "apply_review": "headstart.api.check",
    "check": "headstart.api.check",
    "compare": "headstart.api.compare",
    "curve": "headstart.api.curve",
    "explain": "headstart.api.explain",
    "export": "headstart.api.export",
    "gain": "headstart.api.gain",
    "load": "headstart.api.load",
    "lr_find": "headstart.api.lr_find",
    "make_progress": "headstart.cli.console",
    "predict": "headstart.api.predict",
    "preview": "headstart.api.preview",
    "report": "headstart.api.report",
    "serve": "headstart.web.server",
    "shift": "headstart.api.shift",
    "train": "headstart.api.train",
}

__all__ = [
    "CheckConfig",
    "CheckResult",
    "Classifier",
    "CompareConfig",
    "Comparison",
    "CurveConfig",
    "Dataset",
    "ExplainConfig",
    "Explanation",
    "ExportConfig",
    "ExportResult",
    "HeadstartError",
    "LearningCurve",
    "LrFindConfig",
    "LrFound",
    "PairedGain",
    "PredictConfig",
    "Predicted",
    "Prediction",
    "Preprocessing",
    "PreviewConfig",
    "Report",
    "Scores",
    "ServeConfig",
    "ShiftConfig",
    "ShiftReport",
    "TrainConfig",
    "TrainResult",
    "TuneConfig",
    "apply_review",
    "check",
    "compare",
    "curve",
    "explain",
    "export",
    "gain",
    "load",
    "lr_find",
    "make_progress",
    "predict",
    "preview",
    "report",
    "serve",
    "shift",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
