"""Turn a pretrained timm model into a trunk folder. The only way in that needs torch."""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save
from timm.data.imagenet_info import ImageNetInfo
from torch import nn

from headstart.backbones.architecture import find_architecture
from headstart.backbones.catalogue import Backbone
from headstart.backbones.cut import Lower
from headstart.backbones.network import Normalize, embed, load_model
from headstart.backbones.openvino import load_openvino
from headstart.backbones.runtime import OpenVinoRuntime, Runtime, TorchRuntime
from headstart.backbones.trunk import Trunk, digest_tensors
from headstart.backbones.weights import (
    build_source,
    numpy_tensors,
    preprocessing_of,
)
from headstart.config import Preprocessing, RuntimeName
from headstart.progress import Progress
from headstart.run.atomic import write_bytes

_IMAGENET_CLASSES = 1000


class TrunkModule(nn.Module):
    """A timm model from uint8 pixels to features: normalisation first, classifier left out."""

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.normalize = Normalize(preprocessing)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Embed views `(N, H, W, 3) uint8` as features `(N, d)`."""
        return embed(self.model, self.normalize(views))


def convert(backbone: Backbone, folder: Path, progress: Progress) -> Trunk:
    """Write a backbone's tensors and its OpenVINO form into `folder`, and describe them.

    An architecture that OpenVINO can't convert still works, by torch alone.
    """
    model, architecture = build_source(backbone, progress), find_architecture(backbone.architecture)
    preprocessing = backbone.preprocessing or preprocessing_of(model)
    classifier = architecture.classifier
    tensors = numpy_tensors(model)
    write_bytes(folder / "weights.safetensors", save(tensors))
    weight = tensors.get(f"{classifier}.weight")
    return Trunk(
        folder=folder,
        architecture=backbone.architecture,
        digest=digest_tensors({n: t for n, t in tensors.items() if not n.startswith(f"{classifier}.")}),
        source_digest=digest_tensors(tensors),
        feature_dim=architecture.feature_dim,
        classifier=classifier,
        preprocessing=preprocessing,
        licence=backbone.licence if backbone.licence != "unknown" else _licence_of(model),
        source_classes=backbone.source_classes or _class_names(0 if weight is None else len(weight)),
        openvino=_save_openvino(TrunkModule(model, preprocessing).eval(), preprocessing.crop_px, folder),
        fixed_input=architecture.fixed_input,
    )


def load_trunk_module(trunk: Trunk) -> TrunkModule:
    """Rebuild the trunk in torch from its cached tensors, in eval mode."""
    return TrunkModule(load_model(trunk), trunk.preprocessing).eval()


def open_lower(lower: Lower, size_px: int, name: RuntimeName) -> Runtime:
    """Run the lower part of a cut network on a runtime, or on torch where OpenVINO can't."""
    if name.startswith("openvino"):
        try:
            return OpenVinoRuntime(to_openvino(lower, size_px), size_px, name)
        except Exception:  # whatever a converter makes of an architecture that it doesn't know
            name = "torch-fp32"
    return TorchRuntime(lower, name)


def to_openvino(module: nn.Module, size_px: int) -> Any:
    """Convert a module in eval mode that takes views `(N, size_px, size_px, 3) uint8`.

    `openvino.convert_model` does the same, but reports each conversion over the network.
    """
    ov = load_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    example = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit's deprecation, which OpenVINO still uses
        decoder = TorchScriptPythonDecoder(module, example_input=example)
        model = frontend.convert(frontend.load(decoder))
    views = model.inputs[0].get_node()
    views.set_element_type(ov.Type.u8)
    views.set_partial_shape(ov.PartialShape([-1, size_px, size_px, 3]))
    model.validate_nodes_and_infer_types()
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def _save_openvino(module: TrunkModule, crop_px: int, folder: Path) -> bool:
    try:
        converted = to_openvino(module, crop_px)
    except Exception:
        return False
    load_openvino().save_model(converted, folder / "trunk.xml", compress_to_fp16=False)
    return True


def _class_names(n_classes: int) -> tuple[str, ...]:
    if n_classes != _IMAGENET_CLASSES:
        return ()
    info = ImageNetInfo("imagenet-1k")
    return tuple(info.label_descriptions())


def _licence_of(model: nn.Module) -> str:
    return str(getattr(model, "pretrained_cfg", {}).get("license") or "unknown")
