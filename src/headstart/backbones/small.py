"""Small networks to train from scratch, in timm's registry once this module is imported.

They have no pretrained weights. timm's `create_model` makes them by their names, with underscores.
"""

from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
_GRID_PX = 4
_HIDDEN = 1024


class SimpleVgg(nn.Module):
    """VGG cut down to pictures of 64 pixels (after Simonyan and Zisserman, 2015).

    Four blocks of 3x3 convolutions, each halved by max pooling, then two hidden layers of 1,024 with
    dropout: 8,192 to 1,024 to 1,024 to the classes. Pictures of other sizes are pooled to the same grid.
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.5) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = _HIDDEN
        blocks = []
        for widths in _BLOCKS:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [nn.Conv2d(in_chans, width, 3, padding=1), nn.ReLU(inplace=True)]
                in_chans = width
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(_GRID_PX)
        self.hidden = nn.Sequential(
            *(nn.Flatten(), nn.Linear(in_chans * _GRID_PX**2, _HIDDEN), nn.ReLU(inplace=True)),
            *(
                nn.Dropout(drop_rate),
                nn.Linear(_HIDDEN, _HIDDEN),
                nn.ReLU(inplace=True),
                nn.Dropout(drop_rate),
            ),
        )
        self.classifier = nn.Linear(_HIDDEN, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # He et al. 2015: without norms, signals must last
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def group_matcher(self, *, coarse: bool = False) -> dict[str, Any]:  # noqa: ARG002 - as timm calls it
        """Patterns of the parameters' names, from the input to the output."""
        return {"stem": r"^blocks\.0", "blocks": [(r"^blocks\.(\d+)", None), (r"^hidden", (len(_BLOCKS),))]}

    def get_classifier(self) -> nn.Module:
        """The layer that makes logits."""
        return self.classifier

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels `(N, 3, H, W)` to maps `(N, 512, H / 16, W / 16)`."""
        maps: torch.Tensor = self.blocks(pixels)
        return maps

    def forward_head(self, maps: torch.Tensor, *, pre_logits: bool = False) -> torch.Tensor:
        """Maps to logits `(N, K)`, or to the features `(N, 1024)` before them."""
        features: torch.Tensor = self.hidden(self.pool(maps))
        return features if pre_logits else self.classifier(features)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits of pixels."""
        return self.forward_head(self.forward_features(pixels))


class CifarResNet(ResNet):
    """ResNet-18 for pictures of 32 pixels: a 3x3 stem of stride 1 and no max pooling.

    (He et al. 2016; the stem as in Dive into Deep Learning, "Image Classification (CIFAR-10) on Kaggle".)
    """

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, global_pool: str = "avg", drop_rate: float = 0.0
    ) -> None:
        super().__init__(
            BasicBlock,  # type: ignore[arg-type]  # timm's hint names an instance
            (2, 2, 2, 2),
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )
        stem = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        self.add_module("conv1", stem)
        self.add_module("maxpool", nn.Identity())


def _cfg(size_px: int, classifier: str, first_conv: str) -> dict[str, Any]:
    return {
        "input_size": (3, size_px, size_px),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "num_classes": 1000,
        "classifier": classifier,
        "first_conv": first_conv,
    }


default_cfgs = generate_default_cfgs(
    {
        "simple_vgg.untrained": _cfg(64, "classifier", "blocks.0.0"),
        "resnet18_cifar.untrained": _cfg(32, "fc", "conv1"),
    }
)


@register_model
def simple_vgg(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The VGG for 64 pixels."""
    model: nn.Module = build_model_with_cfg(SimpleVgg, "simple_vgg", pretrained, **kwargs)
    return model


@register_model
def resnet18_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The ResNet-18 for 32 pixels."""
    model: nn.Module = build_model_with_cfg(CifarResNet, "resnet18_cifar", pretrained, **kwargs)
    return model
