"""What several test files need of networks: a tiny one with random weights, and a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from headstart.backbones.trunk import Trunk

Views = NDArray[np.uint8]
TINY = "test_resnet"  # timm's own test model, converted in a moment
SEED = 0


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
