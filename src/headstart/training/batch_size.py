"""How many images a step: by a short measurement of speed and memory, remembered with the training."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from headstart.config import Precision
from headstart.errors import ResumeError
from headstart.run.atomic import write_json
from headstart.training.memory import available_bytes
from headstart.training.precision import time_steps

SMALLEST, _LARGEST = 8, 256
_PAYS = 1.05  # times as fast, for twice the images a step; fewer steps an epoch learn less
_STEPS_AN_EPOCH = 10  # at least
_MEMORY_SHARE = 0.5  # of what is available, for what a step keeps for its gradients


@dataclass(frozen=True, slots=True)
class BatchSize:
    """A batch size and what it was chosen by.

    Attributes:
        size: Images a step.
        images_per_s: Of training steps, by the sizes that were timed.
        image_bytes: That a step keeps for its gradients, an image.
        most: Images a step at most, by memory and the number of images.
    """

    size: int
    images_per_s: dict[int, float]
    image_bytes: int
    most: int

    def describe(self) -> str:
        """In one line."""
        speeds = ", ".join(f"{speed:.0f} at {size}" for size, speed in self.images_per_s.items())
        return (
            f"Batch size {self.size}: {speeds} images/s, and {self.size * self.image_bytes / 2**20:,.0f} MB "
            f"for gradients; at most {self.most} by memory and the number of images."
        )


def find_batch_size(
    file: Path, module: nn.Module, precision: Precision, example: torch.Tensor, n_images: int
) -> BatchSize:
    """The size recorded in a file, so that a resumed training keeps it; else measured, and recorded there.

    Args:
        file: JSON, of the training.
        module: What will be trained; copies are timed.
        precision: Of the training.
        example: Inputs, at least 8 of them.
        n_images: That are learnt from.

    Raises:
        ResumeError: The file is damaged.
        StorageError: It can't be written.
    """
    if file.is_file():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            speeds = {int(size): float(speed) for size, speed in kept["images_per_s"].items()}
            return BatchSize(int(kept["size"]), speeds, int(kept["image_bytes"]), int(kept["most"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResumeError(f"{file} is damaged, so this training can't go on: {error}") from error
    image_bytes = count_kept_bytes(module, precision, example[:SMALLEST]) // len(example[:SMALLEST])
    most = limit_size(n_images, image_bytes, available_bytes())

    def speed(size: int) -> float:
        rows = torch.arange(size) % len(example)
        return time_steps(module, precision, example[rows])

    size, speeds = double_while_it_pays(speed, most)
    found = BatchSize(size, speeds, image_bytes, most)
    write_json(file, asdict(found))
    return found


def limit_size(n_images: int, image_bytes: int, free_bytes: int) -> int:
    """Images a step at most: half the memory for gradients, ten steps an epoch; but 8 if there are 8."""
    by_memory = int(_MEMORY_SHARE * free_bytes) // max(image_bytes, 1)
    by_steps = max(n_images // _STEPS_AN_EPOCH, min(SMALLEST, n_images))
    return max(min(by_memory, by_steps, _LARGEST), 1)


def double_while_it_pays(speed: Callable[[int], float], most: int) -> tuple[int, dict[int, float]]:
    """Begin at 8 images, or fewer if no more fit, and double while steps are 5 % faster an image.

    Returns:
        The size, and the images a second of all sizes that were timed.
    """
    size = min(SMALLEST, most)
    speeds = {size: speed(size)}
    while 2 * size <= most:
        speeds[2 * size] = speed(2 * size)
        if speeds[2 * size] < _PAYS * speeds[size]:
            break
        size *= 2
    return size, speeds


def count_kept_bytes(module: nn.Module, precision: Precision, inputs: torch.Tensor) -> int:
    """What a forward pass keeps for its gradients, weights left out."""
    place = next(module.parameters()).device
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    training = module.training
    buffers = [buffer.clone() for buffer in module.buffers()]
    module.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        module(inputs.to(place))
    module.train(training)
    for buffer, before in zip(module.buffers(), buffers, strict=True):
        buffer.data.copy_(before)
    return sum(kept.values())
