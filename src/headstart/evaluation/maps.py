"""Where a network looked: maps of what spoke for a class, as fine as its last activations.

A linear head on features that are the mean of a feature map can be applied to that map place by place: an
exact class activation map, whose mean plus the bias is the logit (Zhou et al., "Learning deep features for
discriminative localization", 2016). Other networks with feature maps get Grad-CAM (Selvaraju et al., 2017),
and transformers the gradient times the activation of each token as it enters the last block (Shrikumar et
al., "Not just a black box", 2016), both by captum.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.backbones.network import Normalize, embed, load_model
from headstart.classifier import Classifier
from headstart.errors import ConfigError

Method = Literal["class-activation", "grad-cam", "token-relevance"]

_BATCH = 16
_EXAMPLES = 2
_SAME = 1e-4

Views = NDArray[np.uint8]
Maps = NDArray[np.float32]


class _Upper(nn.Module):
    """Activations to logits: all that comes after the feature maps."""

    def __init__(self, backbone: nn.Module, head: nn.Module, *, channels_last: bool) -> None:
        super().__init__()
        self.maps = nn.Identity()
        self.backbone, self.head, self.channels_last = backbone, head, channels_last

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Logits `(N, K)` of maps `(N, C, h, w)`."""
        maps = self.maps(maps)
        backbone: Any = self.backbone
        handed = maps.permute(0, 2, 3, 1) if self.channels_last else maps
        logits: torch.Tensor = self.head(backbone.forward_head(handed, pre_logits=True))
        return logits


class _Whole(nn.Module):
    """Normalised pixels to logits."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits `(N, K)` of pixels `(N, 3, H, W)`."""
        logits: torch.Tensor = self.head(embed(self.backbone, pixels))
        return logits


@dataclass(frozen=True, slots=True, eq=False)
class Mapper:
    """Draws maps of one classifier's network, in float32.

    Make one with `open_mapper`.

    Attributes:
        method: How maps come about.
        backbone: timm's model, its classifier unused.
        head: Features to calibrated logits.
        normalize: Views to pixels.
        channels_last: Whether the feature maps are `(N, h, w, C)`.
        n_prefix: Tokens before those of places, of a transformer.
    """

    method: Method
    backbone: nn.Module
    head: nn.Sequential
    normalize: Normalize
    channels_last: bool
    n_prefix: int

    def maps(self, views: Views, classes: NDArray[np.int64]) -> Maps:
        """What speaks for a class, and against it where negative, place by place: `(N, h, w)`.

        Args:
            views: `(N, H, W, 3)`.
            classes: Of each view the class that is asked about, `(N,)`.
        """
        parts = [
            self._maps(_tensor(views[start : start + _BATCH]), classes[start : start + _BATCH])
            for start in range(0, len(views), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 1, 1), np.float32)

    def logits(self, views: Views) -> NDArray[np.float32]:
        """Calibrated logits `(N, K)` of views by the same network."""
        whole = _Whole(self.backbone, self.head)
        with torch.inference_mode():
            starts = range(0, len(views), _BATCH)
            parts = [whole(self.normalize(_tensor(views[s : s + _BATCH]))) for s in starts]
        logits: NDArray[np.float32] = torch.cat(parts).numpy()
        return logits

    def _maps(self, views: torch.Tensor, classes: NDArray[np.int64]) -> Maps:
        target = torch.from_numpy(classes)
        if self.method == "token-relevance":
            return self._relevance(self.normalize(views), target)
        backbone: Any = self.backbone
        with torch.no_grad():
            activations = _to_grid(
                backbone.forward_features(self.normalize(views)), self.channels_last, self.n_prefix
            )
        if self.method == "grad-cam":
            return self._grad_cam(activations, target)
        weight: Any = self.head[0].weight
        exact: Maps = torch.einsum("nchw,nc->nhw", activations, weight.detach()[target]).numpy()
        return exact

    def _grad_cam(self, activations: torch.Tensor, target: torch.Tensor) -> Maps:
        from captum.attr import LayerGradCam

        upper = _Upper(self.backbone, self.head, channels_last=self.channels_last)
        found = LayerGradCam(upper, upper.maps).attribute(activations, target)
        maps: Maps = found[:, 0].detach().numpy().astype(np.float32)
        return maps

    def _relevance(self, pixels: torch.Tensor, target: torch.Tensor) -> Maps:
        from captum.attr import LayerGradientXActivation

        backbone: Any = self.backbone
        whole = _Whole(self.backbone, self.head)
        found = LayerGradientXActivation(whole, backbone.blocks[-1]).attribute(
            pixels, target, attribute_to_layer_input=True
        )
        tokens = (found[0] if isinstance(found, tuple) else found).sum(dim=2, keepdim=True)
        maps: Maps = _to_grid(tokens, False, self.n_prefix)[:, 0].detach().numpy().astype(np.float32)
        return maps


def open_mapper(classifier: Classifier) -> Mapper:
    """Rebuild a classifier's network in torch and see how its maps can be drawn.

    Raises:
        ConfigError: The architecture has no spatial maps.
    """
    trunk = classifier.trunk
    if trunk.is_onnx:
        raise ConfigError(
            f"{trunk.architecture} comes from an ONNX file, which gives features and no spatial maps, so "
            "nothing tells where it looked. Explain a run of one of timm's networks."
        )
    backbone: Any = load_model(trunk).eval()
    normalize, head = Normalize(trunk.preprocessing), _make_head(classifier)
    px = trunk.preprocessing.crop_px
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (_EXAMPLES, px, px, 3), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        pixels = normalize(views)
        activations = backbone.forward_features(pixels)
        features = embed(backbone, pixels)
    n_prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    channels_last = (
        activations.ndim == 4
        and activations.shape[-1] == backbone.num_features
        and activations.shape[1] != backbone.num_features
    )
    grid = _grid_or_none(activations, channels_last, n_prefix)
    has_blocks = isinstance(getattr(backbone, "blocks", None), nn.Sequential | nn.ModuleList)
    if grid is None or grid.shape[2] * grid.shape[3] < 2 or (activations.ndim == 3 and not has_blocks):
        raise ConfigError(
            f"{trunk.architecture} has no spatial maps: its last activations have the shape "
            f"{tuple(activations.shape[1:])}, so nothing tells where it looked. Explain a run of a "
            "convolutional network or a vision transformer."
        )
    means = grid.mean(dim=(2, 3))
    is_mean = means.shape == features.shape and torch.allclose(means, features, rtol=_SAME, atol=_SAME)
    method: Method = "token-relevance" if activations.ndim == 3 else "grad-cam"
    if is_mean and len(head) == 1:
        method = "class-activation"
    return Mapper(method, backbone, head, normalize, channels_last, n_prefix)


def _tensor(views: Views) -> torch.Tensor:
    """A copy, for decoded pictures may be read-only."""
    return torch.from_numpy(views.copy())


def _make_head(classifier: Classifier) -> nn.Sequential:
    """The run's head as torch layers."""
    layers: list[nn.Module] = []
    for weight, bias in classifier.hidden:
        layers += [_linear(weight, bias), nn.ReLU()]
    return nn.Sequential(*layers, _linear(classifier.weight, classifier.bias)).eval()


def _linear(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        layer.bias.copy_(torch.from_numpy(bias.copy()))
    return layer


def _grid_or_none(activations: torch.Tensor, channels_last: bool, n_prefix: int) -> torch.Tensor | None:
    if activations.ndim == 3:
        side = math.isqrt(max(activations.shape[1] - n_prefix, 0))
        if side * side != activations.shape[1] - n_prefix:
            return None
    elif activations.ndim != 4:
        return None
    return _to_grid(activations, channels_last, n_prefix)


def _to_grid(activations: torch.Tensor, channels_last: bool, n_prefix: int) -> torch.Tensor:
    """Maps `(N, C, h, w)` of maps in either order, or of tokens `(N, T, C)`."""
    if activations.ndim == 3:
        places = activations[:, n_prefix:]
        side = math.isqrt(places.shape[1])
        return places.transpose(1, 2).reshape(len(places), -1, side, side)
    return activations.permute(0, 3, 1, 2) if channels_last else activations
