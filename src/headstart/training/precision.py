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

_STEPS = 2
_TRIAL_IMAGES = 2
_HOPELESS = 8  # times slower than float32 on the trial, warming up included


def time_precisions(
    module: nn.Module, folder: Path, name: str, example: torch.Tensor
) -> dict[Precision, float]:
    """Images a second of a few training steps in each precision, timed once and remembered.

    Args:
        module: What will be trained; a copy is timed.
        folder: Where the answer is kept: the trunk's.
        name: Tells apart what of the trunk is trained at which size.
        example: A batch of inputs.

    Raises:
        StorageError: The answer can't be written.
    """
    remembered = folder / f"steps-{machine_key()}-{name}.json"
    try:
        found = json.loads(remembered.read_text(encoding="utf-8"))["images_per_s"]
        return {precision: float(found[precision]) for precision in get_args(Precision)}
    except (OSError, ValueError, KeyError, TypeError):
        speeds: dict[Precision, float] = {"fp32": time_steps(module, "fp32", example)}
        speeds["bf16"] = time_steps(module, "bf16", example[:_TRIAL_IMAGES], 0)
        if _HOPELESS * speeds["bf16"] >= speeds["fp32"]:  # else this processor only imitates it
            speeds["bf16"] = time_steps(module, "bf16", example)
        write_json(remembered, {"images_per_s": speeds})
        return speeds


def time_steps(
    module: nn.Module,
    precision: Precision,
    example: torch.Tensor,
    steps: int = _STEPS,
    *,
    least_s: float = 0.0,
) -> float:
    """Images a second: the best of some training steps, everything learning, after one to warm up.

    Args:
        module: What will be trained; a copy is timed.
        precision: Of the arithmetic.
        example: A batch of inputs.
        steps: At least so many; with none, the warming up alone is timed.
        least_s: And for so long: short steps are disturbed more easily.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    place = device or torch.device("cpu")
    timed = copy.deepcopy(module).to(place).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(timed.parameters(), lr=1e-6)
    labels = torch.zeros(len(example), dtype=torch.long)
    best, spent, step = float("inf"), 0.0, 0
    while step <= steps or 0 < spent < least_s:
        started = time.perf_counter()
        with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = timed(example.to(place))
        loss = cross_entropy(logits.float(), labels.to(place))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        seconds = time.perf_counter() - started
        if step or not steps:
            best, spent = min(best, seconds), spent + seconds
        step += 1
    return len(example) / best
