"""What several test files need of networks: a tiny one with random weights, and a process of its own."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from headstart.backbones.trunk import Trunk

Views = NDArray[np.uint8]
TINY = "test_resnet"  # timm's own test model, converted in a moment
SEED = 0
SIDE = 96
N_SOURCE = 7
SIDECAR: dict[str, Any] = {
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "crop_pct": 0.9,
    "interpolation": "bilinear",
}
"""Of an ONNX file: what it can't say itself."""


def save_random(folder: Path, architecture: str = TINY, suffix: str = ".safetensors") -> Path:
    """Random weights of a timm architecture, as a user's own file."""
    torch.manual_seed(SEED)
    path = folder / f"{architecture}{suffix}"
    tensors = timm.create_model(architecture).state_dict()
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def make_model(architecture: str = TINY, **settings: Any) -> nn.Module:
    torch.manual_seed(SEED)
    model: nn.Module = timm.create_model(architecture, **{"num_classes": N_SOURCE, **settings})
    return model.eval()


def save_onnx(
    model: nn.Module, path: Path, sidecar: dict[str, Any] | None = SIDECAR, side: int = SIDE, **export: Any
) -> str:
    """Export as torch does, and write what the file can't say beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, but ten times as fast
        torch.onnx.export(model, (torch.zeros(1, 3, side, side),), path, dynamo=False, **export)
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return str(path)


def some_views(trunk: Trunk, n: int) -> Views:
    side = trunk.preprocessing.crop_px
    return np.random.default_rng(SEED).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def run_python(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
