"""The whole classifier as one torch module, which ONNX and OpenVINO are converted from."""

import torch
from torch import nn

from headstart.backbones.convert import load_trunk_module
from headstart.classifier import Classifier

INPUT = "views"
OUTPUTS = ("probabilities", "features")


class ExportedNetwork(nn.Module):
    """Views `(N, H, W, 3) uint8` to calibrated probabilities `(N, K)` and features `(N, d)`."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.trunk = load_trunk_module(classifier.trunk)
        layers: list[nn.Module] = []
        for weight, bias in classifier.hidden:
            layers += [_linear(weight, bias), nn.ReLU()]
        self.head = nn.Sequential(*layers, _linear(classifier.weight, classifier.bias))

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict and embed; the temperature is in the head's weights already."""
        features = self.trunk(views)
        return torch.softmax(self.head(features), dim=1), features


def build_network(classifier: Classifier) -> ExportedNetwork:
    """Build the module in eval mode, without gradients."""
    return ExportedNetwork(classifier).eval().requires_grad_(False)


def _linear(weight: object, bias: object) -> nn.Linear:
    w, b = torch.as_tensor(weight), torch.as_tensor(bias)
    layer = nn.Linear(w.shape[1], w.shape[0])
    layer.load_state_dict({"weight": w, "bias": b})
    return layer
