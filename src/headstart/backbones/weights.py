"""Load pretrained tensors into a timm model, and refuse those that don't fit."""

import socket
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

from headstart.backbones.catalogue import (
    Backbone,
    HubWeights,
    PackagedWeights,
    WeightsFile,
    unknown_backbone,
)
from headstart.backbones.trunk import digest_tensors
from headstart.config import Preprocessing
from headstart.errors import WeightsMismatchError, WeightsNotFoundError

_CONNECT_TIMEOUT_S = 5.0


def build_source(backbone: Backbone) -> nn.Module:
    """Make the timm model with its pretrained tensors, classifier included, in eval mode.

    Raises:
        UnknownBackboneError: timm has no such architecture; the nearest are suggested.
        WeightsNotFoundError: The weights are neither here nor to be downloaded.
        WeightsMismatchError: They belong to another architecture, or their digest is wrong.
    """
    name = backbone.architecture
    if not timm.is_model(name):
        raise unknown_backbone(name, timm.list_models() + timm.list_pretrained())
    match backbone.weights:
        case HubWeights():
            model = _from_hub(name)
        case PackagedWeights() as packaged:
            model = timm.create_model(name)
            model.load_state_dict(_in_order(_read(packaged.locate()), model.state_dict(), backbone))
        case WeightsFile(path):
            tensors = _read(path)
            model = timm.create_model(name, num_classes=_count_classes(tensors, name))
            _load_strictly(model, tensors, path)
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


def classifier_name(model: nn.Module) -> str:
    """Name of the one linear layer that makes logits from features, such as `classifier` or `fc`.

    Raises:
        WeightsMismatchError: The architecture's classifier is not one linear layer.
    """
    name = vars(model)["pretrained_cfg"].get("classifier")
    layer = model.get_submodule(name) if isinstance(name, str) else None
    if not isinstance(name, str) or not isinstance(layer, nn.Linear):
        raise WeightsMismatchError(
            f"{type(model).__name__}'s classifier {name!r} is not one linear layer; Headstart needs one."
        )
    return name


def numpy_tensors(model: nn.Module) -> dict[str, NDArray[Any]]:
    """The whole state dict as numpy arrays, float32 and int64."""
    return {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor.detach().long())
        .cpu()
        .numpy()
        for name, tensor in model.state_dict().items()
    }


def _from_hub(name: str) -> nn.Module:
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
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever an unpickler makes of a file that is none
        raise WeightsMismatchError(f"{path} can't be read as weights: {error}") from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise WeightsMismatchError(f"{path} holds a {type(loaded).__name__}, not a state dict of tensors.")
    return tensors


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


def _count_classes(tensors: Mapping[str, torch.Tensor], architecture: str) -> int:
    with torch.device("meta"):
        name = classifier_name(timm.create_model(architecture))
    weight = tensors.get(f"{name}.weight")
    if weight is None:
        near = [key for key in tensors if key.endswith(".weight")][-1:]
        raise WeightsMismatchError(
            f"The file has no tensor {name}.weight, which {architecture} needs (its last one is {near}). "
            "Is it another architecture's, or are its names prefixed?"
        )
    return int(weight.shape[0])


def _load_strictly(model: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    misshapen = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    if missing or extra or misshapen:
        raise WeightsMismatchError(
            f"{path} does not fit {type(model).__name__}: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}, {len(misshapen)} of another shape {misshapen[:3]}."
        )
    model.load_state_dict(dict(tensors))
