"""What timm knows of an architecture before there are any weights."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn

import headstart.backbones.small  # noqa: F401 - so that timm knows its networks
from headstart.backbones.catalogue import unknown_backbone
from headstart.errors import UnknownBackboneError, WeightsMismatchError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """A network without values.

    Attributes:
        name: timm's.
        model: Its modules, on torch's device `meta`, with a classifier of two classes.
        classifier: Name of the classifier layer, such as `fc` or `head.fc`.
        feature_dim: What the classifier takes, d.
        shapes: Of all tensors but the classifier's, by name.
        fixed_input: Whether it takes pictures of one size only.
    """

    name: str
    model: nn.Module
    classifier: str
    feature_dim: int
    shapes: dict[str, Shape]
    fixed_input: bool


@lru_cache(maxsize=64)
def find_architecture(name: str) -> Architecture:
    """Build an architecture without allocating it; takes a fraction of a second.

    Raises:
        UnknownBackboneError: timm has no such architecture; the nearest are suggested.
        WeightsMismatchError: Its classifier is not one linear layer.
    """
    if not timm.is_model(name):
        raise unknown_backbone(name, timm.list_models() + timm.list_pretrained())
    plain, _, tag = name.partition(".")
    if tag and timm.get_pretrained_cfg(plain) and tag not in (tags := _tags(plain)):
        raise UnknownBackboneError(
            f"{plain} has no weights called {tag!r}. There are {', '.join(tags) or 'none'}."
        )
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, num_classes=2)
    classifier = classifier_name(model)
    shapes = {
        key: tuple(tensor.shape)
        for key, tensor in model.state_dict().items()
        if not key.startswith(f"{classifier}.")
    }
    layer: Any = model.get_submodule(classifier)
    fixed_input = bool(vars(model)["pretrained_cfg"].get("fixed_input_size"))
    return Architecture(name, model, classifier, int(layer.in_features), shapes, fixed_input)


def _tags(name: str) -> list[str]:
    """What an architecture's published weights are called: `a1_in1k`, and so on."""
    found = timm.list_models(f"{name}.*", include_tags=True)
    return [other.partition(".")[2] for other in found]


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
