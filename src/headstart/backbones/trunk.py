"""The frozen trunk: a pretrained network without its classifier, converted once and cached.

A trunk folder holds all that later processes need, so that they import neither torch
nor timm: `trunk.json` (facts), `weights.safetensors` (timm's names, source classifier
included) and `trunk.xml`/`trunk.bin` (OpenVINO; uint8 NHWC in, features out, normalisation
inside). It is written aside and renamed; a damaged one is made again.
"""

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.catalogue import ONNX, Backbone, OnnxFile
from headstart.config import Preprocessing
from headstart.errors import ConfigError
from headstart.progress import Progress, Silent
from headstart.run.atomic import storage_error, write_json

_FORMAT = 3
_FACTS = "trunk.json"
_WEIGHTS = "weights.safetensors"
_OPENVINO = ("trunk.xml", "trunk.bin")


@dataclass(frozen=True)
class Trunk:
    """A converted trunk on disk; opening one costs milliseconds.

    Attributes:
        folder: Where its files are.
        architecture: timm's name.
        digest: SHA-256 over the backbone's tensors; the same for every head on it.
        source_digest: SHA-256 over all tensors, the source classifier's included.
        feature_dim: Length d of a feature vector.
        classifier: Name of the classifier layer in timm's state dict.
        preprocessing: The view that it takes.
        licence: Of the weights.
        source_classes: Names of the source classifier's classes, in order; empty where unknown.
        openvino: Whether OpenVINO could convert it.
        fixed_input: Whether it takes views of its own size only, as most transformers do.
    """

    folder: Path
    architecture: str
    digest: str
    source_digest: str
    feature_dim: int
    classifier: str
    preprocessing: Preprocessing
    licence: str
    source_classes: tuple[str, ...]
    openvino: bool
    fixed_input: bool = False

    @property
    def openvino_path(self) -> Path:
        """OpenVINO's description of the trunk."""
        return self.folder / _OPENVINO[0]

    @property
    def is_onnx(self) -> bool:
        """Whether it is a computation that torch can neither run nor train."""
        return self.architecture == ONNX

    @property
    def onnx_path(self) -> Path:
        """Of the file that it was converted from, if it was one; its sidecar is beside it."""
        return self.folder / "backbone.onnx"

    @property
    def weights_path(self) -> Path:
        """All tensors under timm's names."""
        return self.folder / _WEIGHTS

    def view_at(self, crop_px: int | None) -> Preprocessing:
        """The view at another size; as it is for None.

        Raises:
            ConfigError: It takes no other size.
        """
        if self.fixed_input and crop_px not in {None, self.preprocessing.crop_px}:
            raise ConfigError(
                f"{self.architecture} takes views of {self.preprocessing.crop_px} pixels only, so --input-px "
                f"{crop_px} can't be. Leave it out, or take a convolutional network."
            )
        return self.preprocessing.at(crop_px)

    def fingerprint(self, runtime: str) -> str:
        """Address of this trunk's features in the store: weights, cut, input and runtime precision."""
        facts = [self.architecture, self.digest, "pre_logits", asdict(self.preprocessing), runtime]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every tensor under timm's name, as numpy arrays."""
        from safetensors.numpy import load_file  # only those who write a run need it

        tensors: dict[str, NDArray[Any]] = load_file(self.weights_path)
        return tensors

    @cached_property
    def source_head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The source classifier: weight `(n_source, d)` and bias `(n_source,)`; no rows where it has none."""
        from safetensors import safe_open

        with safe_open(self.weights_path, framework="numpy") as file:
            if f"{self.classifier}.weight" not in file.keys():  # noqa: SIM118 - it is no mapping
                return np.zeros((0, self.feature_dim), np.float32), np.zeros(0, np.float32)
            return file.get_tensor(f"{self.classifier}.weight"), file.get_tensor(f"{self.classifier}.bias")

    def source_logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the source classifier says of features `(N, d)`: logits `(N, n_source)`, perhaps none."""
        weight, bias = self.source_head
        logits: NDArray[np.float32] = features @ weight.T + bias
        return logits


def open_trunk(backbone: Backbone, cache: Path, *, progress: Progress | None = None) -> Trunk:
    """Open a backbone's converted trunk, converting it first where the cache lacks it.

    Converting imports torch and timm and takes seconds; opening does not.

    Raises:
        BackboneError: The weights can't be had or don't fit.
        StorageError: The cache can't be written.
    """
    trunks = cache / "trunks"
    alias = trunks / "names" / f"{backbone.alias}.json"
    known = _known_folder(backbone)
    name = known or _read_alias(alias)
    if name is not None and (found := _read(trunks / name)):
        return _name_classes(found, backbone)
    trunk = convert_trunk(backbone, trunks, progress or Silent())
    if known is None:
        write_json(alias, {"folder": trunk.folder.name})
    return _name_classes(trunk, backbone)


def _name_classes(trunk: Trunk, backbone: Backbone) -> Trunk:
    """With the backbone's own names, if it has any: the same tensors may have been converted without."""
    return replace(trunk, source_classes=backbone.source_classes) if backbone.source_classes else trunk


def convert_trunk(backbone: Backbone, trunks: Path, progress: Progress) -> Trunk:
    """Convert a backbone into its folder under `trunks`; imports torch.

    Raises:
        BackboneError: The weights can't be had or don't fit.
        StorageError: The cache can't be written.
    """
    if isinstance(backbone.weights, OnnxFile):
        from headstart.backbones.onnx import convert_onnx

        onnx = backbone.weights.path
        with progress.stage(f"Converting {backbone.name} for this machine (once)", None):
            return _write(trunks, lambda folder: convert_onnx(onnx, folder))
    from headstart.backbones.convert import convert

    with progress.stage(f"Converting {backbone.name} for this machine (once)", None):
        return _write(trunks, lambda folder: convert(backbone, folder, progress))


def find_trunk(trunks: Path, architecture: str, digest: str, preprocessing: Preprocessing) -> Trunk | None:
    """The trunk whose tensors all have this digest, with this view; None where absent or damaged."""
    return _read(trunks / _folder_name(architecture, digest, preprocessing))


def list_trunks(cache: Path) -> list[Trunk]:
    """Every whole trunk in the cache."""
    found = [_read(path.parent) for path in sorted((cache / "trunks").glob(f"*/{_FACTS}"))]
    return [trunk for trunk in found if trunk is not None]


def digest_tensors(tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, shapes and values, in the order of the names; floats count as float32."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        kind = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, kind).tobytes())
    return digest.hexdigest()


def digest_onnx(content: bytes, output: str | None, preprocessing: Preprocessing) -> str:
    """SHA-256 over an ONNX file, the tensor taken from it, and the view."""
    facts = [hashlib.sha256(content).hexdigest(), output, asdict(preprocessing)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known_folder(backbone: Backbone) -> str | None:
    """Where its trunk would be; None where only loading its weights tells."""
    if backbone.digest is None or backbone.preprocessing is None:
        return None
    return _folder_name(backbone.architecture, backbone.digest, backbone.preprocessing)


def _folder_name(architecture: str, digest: str, preprocessing: Preprocessing) -> str:
    """The same tensors with another view are another trunk: it normalises and crops, too."""
    facts = json.dumps([digest, asdict(preprocessing)])
    return f"{architecture}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def _read_alias(alias: Path) -> str | None:
    try:
        return str(json.loads(alias.read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(folder: Path) -> Trunk | None:
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        files = facts.pop("files")
        if facts.pop("format") != _FORMAT or any(file_digest(folder / n) != d for n, d in files.items()):
            return None
        facts["preprocessing"] = Preprocessing.from_json(facts["preprocessing"])
        facts["source_classes"] = tuple(facts["source_classes"])
        return Trunk(folder=folder, **facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(trunks: Path, convert: Callable[[Path], Trunk]) -> Trunk:
    """Convert into a folder aside, then rename; a damaged folder of the same name is replaced."""
    try:
        trunks.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".converting-", dir=trunks))
    except OSError as error:
        raise storage_error(error, trunks) from error
    try:
        trunk = convert(aside)
        files = {p.name: file_digest(p) for p in sorted(aside.iterdir())}
        facts = {key: value for key, value in asdict(trunk).items() if key != "folder"}
        write_json(aside / _FACTS, {"format": _FORMAT, **facts, "files": files})
        final = trunks / _folder_name(trunk.architecture, trunk.source_digest, trunk.preprocessing)
        if final.exists() and _read(final) is None:
            shutil.rmtree(final)
        if not final.exists():
            aside.replace(final)
    except OSError as error:
        raise storage_error(error, trunks) from error
    except RuntimeError as error:
        if "iostream error" not in str(error):
            raise
        raise storage_error(OSError(errno.ENOSPC, str(error)), trunks) from error  # all that OpenVINO says
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    found = _read(final)
    if found is None:
        raise storage_error(OSError(5, "the converted trunk can't be read back"), final)
    return found
