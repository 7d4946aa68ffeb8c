"""Load pretrained tensors into a timm model, and refuse those that don't fit."""

import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants as hub
from numpy.typing import NDArray
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from torch import nn

from headstart.backbones.architecture import find_architecture
from headstart.backbones.catalogue import (
    Backbone,
    HubWeights,
    PackagedWeights,
    RandomWeights,
    WeightsFile,
)
from headstart.backbones.fitting import fit
from headstart.backbones.trunk import digest_tensors
from headstart.config import Preprocessing
from headstart.errors import WeightsMismatchError, WeightsNotFoundError
from headstart.progress import Progress, Silent

_CONNECT_TIMEOUT_S = 5.0


def build_source(backbone: Backbone, progress: Progress | None = None) -> nn.Module:
    """Make the timm model with its pretrained tensors, its classifier if it has one, in eval mode.

    Args:
        backbone: Says which.
        progress: Told what had to be done to a file's tensors.

    Raises:
        UnknownBackboneError: timm has no such architecture; the nearest are suggested.
        WeightsNotFoundError: The weights are neither here nor to be downloaded.
        WeightsMismatchError: They belong to another architecture, or their digest is wrong.
    """
    name = find_architecture(backbone.architecture).name
    match backbone.weights:
        case HubWeights():
            model = _from_hub(name)
        case RandomWeights():
            model = _random(name)
        case PackagedWeights() as packaged:
            model = timm.create_model(name)
            model.load_state_dict(_in_order(_read(packaged.locate()), model.state_dict(), backbone))
        case WeightsFile(path):
            found_there = fit(_read(path), name, str(path))
            model = found_there.load(str(path))
            if done := found_there.describe():
                (progress or Silent()).note(f"{path}: {done}.")
    found = digest_tensors(numpy_tensors(model))
    if backbone.digest is not None and found != backbone.digest:
        raise WeightsMismatchError(
            f"The tensors of {backbone.name} have the digest {found[:16]}…, not {backbone.digest[:16]}…: "
            "the installed package is damaged or another version. Reinstall it."
        )
    return model.eval()


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Read timm's evaluation preprocessing of a model."""
    settings: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    crop_px = int(settings["input_size"][-1])
    interpolation = settings["interpolation"]
    return Preprocessing(
        resize_px=round(crop_px / settings["crop_pct"]),
        crop_px=crop_px,
        interpolation=interpolation if interpolation in ("bilinear", "lanczos") else "bicubic",
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )


def numpy_tensors(model: nn.Module) -> dict[str, NDArray[Any]]:
    """The whole state dict as numpy arrays, float32 and int64."""
    return {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor.detach().long())
        .cpu()
        .numpy()
        for name, tensor in model.state_dict().items()
    }


def _random(name: str) -> nn.Module:
    """The same random weights every time, without a classifier."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(name, num_classes=0)
    return model


def _from_hub(name: str) -> nn.Module:
    if not timm.is_model_pretrained(name):
        raise WeightsNotFoundError(
            f"There are no pretrained weights of {name!r}. Train it with --recipe scratch, or give a file of "
            f"your own: --model {name}@FILE"
        )
    try:
        with nullcontext() if _hub_answers() else _offline():
            return timm.create_model(name, pretrained=True)
    except Exception as error:  # timm and the hub raise whatever their transports raise
        raise WeightsNotFoundError(
            f"The weights of {name!r} are not on this machine and can't be downloaded "
            f"({type(error).__name__}). On a machine with internet, save the model.safetensors of "
            f"huggingface.co/timm/{name} and pass it here: --model {name}@model.safetensors"
        ) from error


def _hub_answers() -> bool:
    """Whether a connection opens within seconds; the hub's own retries take the better part of a minute."""
    if getproxies():
        return True  # only the proxy knows
    address = urlsplit(hub.ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), _CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


@contextmanager
def _offline() -> Iterator[None]:
    """Let the hub look into its cache only."""
    before, hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a file, without running anything that it holds.

    Raises:
        WeightsMismatchError: It is no such file, holds none, or holds Python objects beside them.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([Namespace]):  # timm's trainer saves its flags so
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever an unpickler makes of a file that is none
        raise WeightsMismatchError(
            f"{path} can't be read as weights: {_why_unreadable(path, error)}"
        ) from error
    tensors = dict(_flatten(loaded))
    if not tensors:
        raise WeightsMismatchError(
            f"{path} holds a {type(loaded).__name__} without tensors, not a state dict."
        )
    return tensors


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors in dictionaries inside dictionaries, under names joined by dots."""
    if isinstance(value, torch.Tensor) and name:
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))


def _why_unreadable(path: Path, error: Exception) -> str:
    """The objects that only running the file's own code would make, or what the library says.

    Of torch's message only what is not its advice to run the file's code.
    """
    if path.suffix == ".safetensors" or isinstance(error, OSError):
        return f"{str(error).rstrip('.')}. Check the file."
    try:
        objects = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a torch file at all
        objects = []
    if not objects:
        return (
            "it is damaged, or no file that torch.save wrote. Give a .safetensors, .pth, .pt or .ckpt file "
            "that holds a state dict."
        )
    return (
        f"it holds Python objects ({', '.join(objects[:3])}), which are code to run. Where it was made, save "
        "the tensors alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
    )


def _in_order(
    tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], backbone: Backbone
) -> dict[str, torch.Tensor]:
    """Give tensors that stand in timm's order timm's names, checking every shape."""
    found, expected = [t.shape for t in tensors.values()], [t.shape for t in wanted.values()]
    if found != expected:
        raise WeightsMismatchError(
            f"The package of {backbone.name} holds {len(found)} tensors whose shapes are not those of "
            f"{backbone.architecture} ({len(expected)} tensors). Reinstall it."
        )
    return dict(zip(wanted, tensors.values(), strict=True))
