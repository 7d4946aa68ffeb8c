"""Which arithmetic trains faster here: bfloat16 is not always the winner on a CPU."""

import copy
import json
import time
from pathlib import Path
from typing import get_args

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from headstart.backbones.machine import machine_key
from headstart.config import Precision
from headstart.run.atomic import write_json

_BATCH = 16
_STEPS = 2


def choose_precision(network: nn.Module, folder: Path, size_px: int) -> Precision:
    """Time a few steps in each precision, once per machine, backbone and size; the answer is remembered.

    Args:
        network: Takes views `(N, H, W, 3) uint8`; a copy is timed.
        folder: The trunk's, where the answer is kept.
        size_px: Side of the views.

    Raises:
        StorageError: The answer can't be written.
    """
    remembered = folder / f"training-{machine_key()}-{size_px}.json"
    try:
        found = json.loads(remembered.read_text(encoding="utf-8"))["images_per_s"]
        speeds: dict[Precision, float] = {name: float(found[name]) for name in get_args(Precision)}
    except (OSError, ValueError, KeyError, TypeError):
        speeds = {name: steps_per_s(network, name, size_px) * _BATCH for name in get_args(Precision)}
        write_json(remembered, {"images_per_s": speeds})
    return max(speeds, key=lambda name: speeds[name])


def steps_per_s(network: nn.Module, precision: Precision, size_px: int) -> float:
    """Bare training steps a second on noise, everything learning: the best of two, after one to warm up."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    place = device or torch.device("cpu")
    timed = copy.deepcopy(network).to(place).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(timed.parameters(), lr=1e-6)
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (_BATCH, size_px, size_px, 3), dtype=torch.uint8, generator=generator)
    labels = torch.zeros(_BATCH, dtype=torch.long)
    best = float("inf")
    for step in range(1 + _STEPS):
        started = time.perf_counter()
        with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = timed(views.to(place))
        loss = cross_entropy(logits.float(), labels.to(place))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        if step:
            best = min(best, time.perf_counter() - started)
    return 1 / best
