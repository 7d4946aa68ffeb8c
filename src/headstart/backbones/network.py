"""A backbone and the user's head as one network that can learn."""

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from headstart.backbones.trunk import Trunk
from headstart.backbones.weights import numpy_tensors
from headstart.config import Preprocessing


class Normalize(nn.Module):
    """Views `(N, H, W, 3) uint8` to what a pretrained network takes, `(N, 3, H, W)`."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Normalise views, uint8 or mixed ones in floating point."""
        return (views.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


class Network(nn.Module):
    """Views `(N, H, W, 3) uint8` to logits `(N, K)`; normalisation is its first operation.

    Attributes:
        backbone: timm's model with an identity in its classifier's place.
        head: The new classifier.
        preprocessing: The view that it takes.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.normalize = Normalize(preprocessing)
        self.backbone = backbone
        self.head = head

    def features(self, views: torch.Tensor) -> torch.Tensor:
        """Features `(N, d)` of views."""
        return embed(self.backbone, self.normalize(views))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Logits of views."""
        logits: torch.Tensor = self.head(self.features(views))
        return logits


def embed(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Features `(N, d)` of normalised pixels `(N, 3, H, W)` by a timm model, its classifier left out."""
    timm_model: Any = model
    features: torch.Tensor = timm_model.forward_head(timm_model.forward_features(pixels), pre_logits=True)
    return features


def load_model(trunk: Trunk) -> nn.Module:
    """Rebuild a trunk's timm model, source classifier included if any, from its cached tensors."""
    tensors = load_file(trunk.weights_path)
    weight = tensors.get(f"{trunk.classifier}.weight")
    model: nn.Module = timm.create_model(trunk.architecture, num_classes=0 if weight is None else len(weight))
    model.load_state_dict(tensors)
    return model


def make_network(trunk: Trunk, n_classes: int, *, pretrained: bool = True, seed: int = 0) -> Network:
    """Put a new head on a trunk's backbone, on its pretrained weights or on random ones.

    Args:
        trunk: Says what the backbone is, and holds its weights.
        n_classes: K.
        pretrained: Take the weights; else timm initialises the backbone.
        seed: Decides what is random: the head (Xavier, zero bias), and the backbone if not pretrained.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = load_model(trunk) if pretrained else timm.create_model(trunk.architecture)
        head = nn.Linear(trunk.feature_dim, n_classes)
        nn.init.xavier_uniform_(head.weight)
        nn.init.zeros_(head.bias)
    parent, _, name = trunk.classifier.rpartition(".")
    setattr(backbone.get_submodule(parent), name, nn.Identity())
    return Network(backbone, head, trunk.preprocessing)


def set_head(network: Network, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Start the head from a solved one, `(K, d)` and `(K,)`, in place.

    Raises:
        ValueError: They are of another shape than the head.
    """
    wanted = tuple(network.head.weight.shape), tuple(network.head.bias.shape)
    if (weight.shape, bias.shape) != wanted:
        raise ValueError(f"A head of {wanted[0]} can't be set to a weight {weight.shape}, bias {bias.shape}.")
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight))
        network.head.bias.copy_(torch.from_numpy(bias))


def timm_tensors(network: Network, classifier: str) -> dict[str, NDArray[Any]]:
    """Copies of the state under timm's names, the head in the classifier's place; plain timm loads it."""
    head = {f"{classifier}.{name}": tensor for name, tensor in numpy_tensors(network.head).items()}
    tensors = numpy_tensors(network.backbone) | head
    return {name: tensor.copy() for name, tensor in tensors.items()}
