"""An ONNX file as a frozen trunk: somebody's network of which nothing but the computation is known.

OpenVINO reads it. What the file can't say stands beside it, in a JSON file of the same name: how
pictures are normalised and cropped. Without it the file is refused, as a wrong guess would go unnoticed
and cost accuracy. Its features are what enters the last matrix product before the output, or the tensor
that is named.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.catalogue import ONNX
from headstart.backbones.openvino import load_openvino, openvino_core
from headstart.backbones.trunk import Trunk, digest_onnx
from headstart.config import Preprocessing
from headstart.config.preprocessing import Interpolation
from headstart.errors import ConfigError, WeightsMismatchError, WeightsNotFoundError
from headstart.run.atomic import write_bytes

EXAMPLE = (
    '{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "crop_pct": 0.875, '
    '"interpolation": "bicubic"}'
)
_NEEDED = {"mean", "std", "crop_pct", "interpolation"}
_CHANNELS = 3
_AFTER_LOGITS = {"Softmax", "LogSoftmax", "Sigmoid"}
_PASSING = {"Result", "Add", "Multiply", "Reshape", "Squeeze", "Convert", *_AFTER_LOGITS}

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What `net.json` beside `net.onnx` says; the keys are those of timm's `pretrained_cfg`.

    Attributes:
        mean: Of each channel, red first, on the scale 0 to 1.
        std: Likewise.
        crop_pct: Side of the view as a share of the picture's shorter side.
        interpolation: By which pictures are resized.
        crop_px: Side of the view; None where the file itself fixes it.
        output: Name of the tensor that holds the features; None takes what enters the last matrix product.
        label_names: Of the classes that the file tells apart.
        licence: Of its weights.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float
    interpolation: Interpolation
    crop_px: int | None = None
    output: str | None = None
    label_names: tuple[str, ...] = ()
    licence: str = "unknown"

    @classmethod
    def read(cls, onnx: Path) -> "Sidecar":
        """Read what stands beside an ONNX file.

        Raises:
            WeightsNotFoundError: Nothing stands there.
            ConfigError: It is no JSON object of these keys and ranges; lists every problem.
        """
        path = onnx.with_suffix(".json")
        mend = f"Write {path} with the values that the network was trained with, such as {EXAMPLE}"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WeightsNotFoundError(
                f"{onnx} does not say how its pictures are normalised and cropped, and a guess would go "
                f"unnoticed. {mend}"
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} can't be read as JSON: {error}. {mend}") from error
        if not isinstance(found, dict):
            raise ConfigError(f"{path} must hold a JSON object, not {type(found).__name__}. {mend}")
        if problems := list(_problems(found)):
            raise ConfigError(f"{path}: {'; '.join(problems)}. {mend}")
        size = found.get("input_size")
        return cls(
            _triple(found["mean"]),
            _triple(found["std"]),
            float(found["crop_pct"]),
            found["interpolation"],
            None if size is None else int(size[-1]),
            found.get("output"),
            tuple(map(str, found.get("label_names", ()))),
            str(found.get("license", "unknown")),
        )

    def preprocessing(self, crop_px: int) -> Preprocessing:
        """The view of a size."""
        return Preprocessing(round(crop_px / self.crop_pct), crop_px, self.interpolation, self.mean, self.std)

    def to_json(self, crop_px: int) -> dict[str, Any]:
        """The inverse of `read`, for a copy of the file."""
        names = {"label_names": list(self.label_names)} if self.label_names else {}
        output = {"output": self.output} if self.output else {}
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
            "input_size": [_CHANNELS, crop_px, crop_px],
            "license": self.licence,
            **output,
            **names,
        }


def convert_onnx(path: Path, folder: Path) -> Trunk:
    """Write an ONNX file, its sidecar, its classifier and the OpenVINO form of its trunk into `folder`.

    Raises:
        WeightsNotFoundError: Its sidecar is missing.
        WeightsMismatchError: OpenVINO can't read it, or it isn't from pictures to features.
        ConfigError: The sidecar is wrong, or doesn't suit the file.
    """
    from safetensors.numpy import save

    sidecar, content = Sidecar.read(path), path.read_bytes()
    with _explaining(path):
        model = _read(content)
        layout, crop_px = _input_of(model, sidecar, path)
        model.reshape([1, _CHANNELS, crop_px, crop_px] if layout == "NCHW" else [1, crop_px, crop_px, 3])
        features, product = _features_of(model, sidecar.output, path)
        head = _affine(features, product, model) if product is not None else {}
        preprocessing = sidecar.preprocessing(crop_px)
        ov = load_openvino()
        trunk = _taking_views(_cut(features, model, path), preprocessing, layout)
        ov.save_model(trunk, folder / "trunk.xml", compress_to_fp16=False)
    n_rows = len(head.get("head.bias", ()))
    write_bytes(folder / "weights.safetensors", save(head))
    write_bytes(folder / "backbone.onnx", content)
    write_bytes(folder / "backbone.json", json.dumps(sidecar.to_json(crop_px), indent=2).encode())
    digest = digest_onnx(content, sidecar.output, preprocessing)
    return Trunk(
        folder=folder,
        architecture=ONNX,
        digest=digest,
        source_digest=digest,
        feature_dim=int(features.get_partial_shape()[1].get_length()),
        classifier="head",
        preprocessing=preprocessing,
        licence=sidecar.licence,
        source_classes=sidecar.label_names if len(sidecar.label_names) == n_rows else (),
        openvino=True,
        fixed_input=True,
    )


def _read(content: bytes) -> Any:
    """The model of a file that holds all its weights itself, constants folded."""
    load_openvino()  # first, so that the import below is silent
    from openvino.passes import ConstantFolding, Manager

    model = openvino_core().read_model(model=content)
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Raise what OpenVINO says as the user's to mend."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsMismatchError(
            f"{path} can't be read: {reason}. OpenVINO must be able to run it, and one file must hold all of "
            "it; onnx.save(onnx.load(PATH), NEW) joins one whose weights are in a second file."
        ) from error


def _input_of(model: Any, sidecar: Sidecar, path: Path) -> tuple[Layout, int]:
    """Where its channels are, and the side of its pictures.

    Raises:
        WeightsMismatchError: It takes something else than one picture of three channels.
        ConfigError: It takes any size, and the sidecar names none; or the two contradict each other.
    """
    shapes = [source.get_partial_shape() for source in model.inputs]
    sizes = [
        [dim.get_length() if dim.is_static else 0 for dim in shape] if shape.rank.is_static else []
        for shape in shapes
    ]
    layout: Layout = "NHWC" if len(sizes[0]) == 4 and sizes[0][1] != _CHANNELS else "NCHW"
    if len(sizes) != 1 or len(sizes[0]) != 4 or sizes[0][1 if layout == "NCHW" else 3] != _CHANNELS:
        raise WeightsMismatchError(
            f"{path} takes {', '.join(map(str, shapes))}. It must take one batch of pictures, (N, 3, H, W) "
            "or (N, H, W, 3)."
        )
    sides = set(sizes[0][2:] if layout == "NCHW" else sizes[0][1:3]) - {0}
    if len(sides) > 1:
        raise WeightsMismatchError(f"{path} takes pictures of {shapes[0]}; they must be square.")
    wanted = {sidecar.crop_px} - {None}
    if len(sides | wanted) != 1:
        raise ConfigError(
            f"{path} takes pictures of {f'{sides.pop()} pixels' if sides else 'any size'}, and its JSON file "
            f"names {f'input_size {sidecar.crop_px}' if wanted else 'no input_size'}. "
            'Give the size that it was trained with: "input_size": [3, 224, 224]'
        )
    return layout, int((sides | wanted).pop() or 0)


def _features_of(model: Any, name: str | None, path: Path) -> tuple[Any, Any]:
    """The output that holds the features, and the matrix product that it enters if that is the classifier.

    Raises:
        WeightsMismatchError: There is no such tensor, it can't be told, or it is not one row an image.
    """
    if name is not None:
        found = [out for op in model.get_ops() for out in op.outputs() if name in out.get_names()]
        if not found:
            raise WeightsMismatchError(f"{path} has no tensor {name!r}, which its JSON file names as output.")
        return _check_rows(found[0], path), None
    if len(model.outputs) != 1:
        names = ", ".join(out.get_any_name() for out in model.outputs)
        raise WeightsMismatchError(
            f"{path} has {len(model.outputs)} outputs: {names}. Say in its JSON file which holds features: "
            f'"output": {json.dumps(model.outputs[0].get_any_name())}'
        )
    node, is_probability = model.outputs[0].get_node(), False
    while node.get_type_name() in _PASSING:
        is_probability |= node.get_type_name() in _AFTER_LOGITS
        node = node.input_value(0).get_node()
    if node.get_type_name() == "MatMul" and node.input_value(1).get_node().get_type_name() == "Constant":
        return _check_rows(node.input_value(0), path), node
    if is_probability:
        raise WeightsMismatchError(
            f"{path} ends in probabilities without a matrix product before them, so its features can't be "
            'told. Name their tensor in its JSON file: "output": NAME'
        )
    return _check_rows(model.outputs[0].get_node().input_value(0), path), None


def _check_rows(output: Any, path: Path) -> Any:
    """The output, if it is `(1, d)`.

    Raises:
        WeightsMismatchError: It is not.
    """
    shape = output.get_partial_shape()
    if shape.rank.is_static and len(shape) == 2 and shape[1].is_static:
        return output
    raise WeightsMismatchError(
        f"The features of {path} must be one row an image, (N, d), but what would be taken is {shape}. Name "
        'another tensor in its JSON file: "output": NAME'
    )


def _affine(features: Any, product: Any, model: Any) -> dict[str, NDArray[np.float32]]:
    """Weight and bias from the features to the logits, `(K, d)` and `(K,)`: what it makes of unit vectors."""
    ov = load_openvino()
    from openvino import opset13 as ops

    logits = model.outputs[0].get_node()
    while logits.get_type_name() in {"Result", *_AFTER_LOGITS}:
        logits = logits.input_value(0).get_node()
    d = int(features.get_partial_shape()[1].get_length())
    units = ops.parameter([1, d], ov.Type.f32)
    product.input(0).replace_source_output(units.output(0))
    head = openvino_core().compile_model(
        ov.Model([logits.output(0)], [units]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    product.input(0).replace_source_output(features)

    def answer(unit: NDArray[np.float32]) -> NDArray[np.float32]:
        row: NDArray[np.float32] = head(unit[None])[0].reshape(-1).copy()
        return row

    bias = answer(np.zeros(d, np.float32))
    columns = [answer(unit) - bias for unit in np.eye(d, dtype=np.float32)]
    return {"head.weight": np.ascontiguousarray(np.stack(columns, axis=1)), "head.bias": bias}


def _cut(features: Any, model: Any, path: Path) -> Any:
    """A model that ends in the features.

    Raises:
        WeightsMismatchError: They don't depend on the picture.
    """
    ov = load_openvino()
    trunk = ov.Model([features], model.get_parameters(), path.stem)
    if not trunk.inputs[0].get_target_inputs():
        raise WeightsMismatchError(f"The features of {path} don't depend on the picture.")
    return trunk


def _taking_views(model: Any, preprocessing: Preprocessing, layout: Layout) -> Any:
    """The model with uint8 views `(1, H, W, 3)` in its input's place, normalised first."""
    ov = load_openvino()
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout(layout))
    normalising = steps.input().preprocess().convert_element_type(ov.Type.f32)
    normalising.mean([255 * value for value in preprocessing.mean])
    normalising.scale([255 * value for value in preprocessing.std])
    steps.output().tensor().set_element_type(ov.Type.f32)
    return steps.build()


def _problems(found: dict[str, Any]) -> Iterator[str]:
    """Everything that is wrong with a sidecar."""
    if missing := sorted(_NEEDED - found.keys()):
        yield f"it lacks {', '.join(missing)}"
    for name in ("mean", "std"):
        if name in found and not _is_triple(found[name], least=0 if name == "mean" else 1e-6):
            yield f"{name} must be three numbers on the scale 0 to 1, not {found[name]}"
    crop, names = found.get("crop_pct", 1), get_args(Interpolation)
    if not isinstance(crop, int | float) or not 0 < crop <= 1:
        yield f"crop_pct must lie above 0 and at most 1, not {crop!r}"
    if (name := found.get("interpolation", names[0])) not in names:
        yield f"interpolation must be one of {', '.join(names)}, not {name!r}"
    size = found.get("input_size", [_CHANNELS, 1, 1])
    if not (isinstance(size, list) and len(size) == 3 and size[0] == _CHANNELS and size[1] == size[2]):
        yield f"input_size must be [3, SIDE, SIDE], not {size!r}"
    if not isinstance(found.get("output") or "", str):
        yield f"output must be the name of a tensor, not {found['output']!r}"
    if not isinstance(found.get("label_names", []), list):
        yield "label_names must be a list"


def _is_triple(value: Any, least: float) -> bool:
    return (
        isinstance(value, list)
        and len(value) == _CHANNELS
        and all(isinstance(one, int | float) and least <= one <= 1 for one in value)
    )


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
