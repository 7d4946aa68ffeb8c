"""A trained model that predicts: the one object behind predict, evaluate, export and serve."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.catalogue import ONNX, own_backbone
from headstart.backbones.runtime import RUNTIMES, Runtime, open_runtime
from headstart.backbones.trunk import Trunk, convert_trunk, find_trunk
from headstart.config import Preprocessing, RuntimeChoice, RuntimeName
from headstart.data.pictures import Picture
from headstart.errors import DamagedRunError, RuntimeUnavailableError, UnknownClassError, UnreadableImageError
from headstart.features.embed import embed_files
from headstart.heads.hidden import Hidden, apply_hidden, layers_of
from headstart.metrics.calibration import softmax
from headstart.progress import Progress, Silent
from headstart.run.folder import RunFolder

_SHOWN_CLASSES = 5

if TYPE_CHECKING:
    from headstart.data.dataset import Dataset
    from headstart.data.files import Skipped
    from headstart.metrics.scores import Scores


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: The file, as it was given.
        probabilities: Calibrated, `(K,)`; None where the file can't be read.
        error: Why the file can't be read, or None.
    """

    path: str
    probabilities: NDArray[np.float64] | None
    error: str | None = None


@dataclass(frozen=True, repr=False)
class Classifier:
    """A frozen trunk and a head with named classes, linear unless it has hidden layers.

    Make one with `headstart.load(run)`.

    Attributes:
        classes: K names, in the order of the probabilities.
        trunk: The converted backbone.
        runtime: What runs it.
        weight: `(K, d) float32`, calibrated: softmax of the logits are probabilities.
        bias: `(K,) float32`.
        temperature: Multiply logits by it to undo the calibration.
        hidden: Layers between the features and `weight`, which then is `(K, m)`.
    """

    classes: tuple[str, ...]
    trunk: Trunk
    runtime: Runtime
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    hidden: Hidden = ()

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        cache: Path,
        runtime: RuntimeChoice = "auto",
        progress: Progress | None = None,
    ) -> "Classifier":
        """Load a run's model.

        The run folder is enough: where the cache lacks its converted backbone, that is made again
        from the run's own weights (once, with torch).

        Raises:
            RunNotFoundError: There is no run at this place.
            DamagedRunError: A file of it is missing or damaged.
            RuntimeUnavailableError: The runtime asked for doesn't work here.
        """
        folder = RunFolder.open(Path(run))
        config = folder.read_config()
        try:
            facts = config["headstart"]
            backbone, head = facts["backbone"], facts["head"]
            classes = tuple(config["label_names"])
            wanted = _known_runtime(facts["runtime"]) if runtime == "auto" else runtime
            temperature = _temperature(head["temperature"])
            is_mlp = head.get("kind") == "mlp"
            apart = is_mlp or backbone["architecture"] == ONNX
            view = Preprocessing.from_json(backbone["preprocessing"])
            _check_timm(config, view, 0 if apart else len(classes))
            hidden, weight, bias = (
                _read_apart(folder) if apart else _read_head(folder, backbone["classifier"])
            )
            trunk = _find_or_convert(folder, backbone, view, cache, progress or Silent())
        except (KeyError, ValueError) as error:
            raise DamagedRunError(
                f"{folder.config_json} lacks or garbles {error}. Train again, or restore the file."
            ) from error
        except (AttributeError, TypeError) as error:
            raise DamagedRunError(
                f"{folder.config_json} is not built as it was saved ({error}). Train again, or restore it."
            ) from error
        found = len(weight), (hidden[0][0] if hidden else weight).shape[1]
        if found != (len(classes), trunk.feature_dim) or config.get("num_features") != trunk.feature_dim:
            raise DamagedRunError(
                f"{folder.head_safetensors if apart else folder.model_safetensors} has a head for "
                f"{found[0]} classes of {found[1]} features, but config.json names {len(classes)} "
                f"classes of {config.get('num_features')}, and its backbone makes {trunk.feature_dim}."
            )
        opened = open_runtime(trunk, wanted) if runtime != "auto" else _open_nearest(trunk, wanted)
        return cls(classes, trunk, opened, weight, bias, temperature, hidden)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.classes[:_SHOWN_CLASSES]))
        more = ", …" if len(self.classes) > _SHOWN_CLASSES else ""
        backbone = f"{self.trunk.architecture} on {self.runtime.name}"
        return f"Classifier({len(self.classes)} classes: {names}{more}; {backbone})"

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated logits `(N, K)` of features `(N, d)`."""
        return head_logits(features, self.weight, self.bias, self.hidden)

    def stream(
        self, images: Iterable[str | Picture], *, part_rows: int | None = None
    ) -> Iterator[Prediction]:
        """Predict images in order, in bounded memory; an unreadable one yields its reason.

        Args:
            images: Paths of files, or pictures of a source; asked for a little ahead of the answers.
            part_rows: See `embed_files`.
        """
        chunks = embed_files(
            images, self.trunk.preprocessing, self.runtime, with_looks=False, part_rows=part_rows
        )
        start = 0
        for chunk in chunks:
            reasons, answers = dict(chunk.failures), iter(())
            if len(chunk.rows):
                answers = iter(softmax(self.logits(chunk.features["center"])))
            for row, name in enumerate(chunk.names, start):
                reason = reasons.get(row)
                yield Prediction(name, next(answers) if reason is None else None, reason)
            start += len(chunk.names)

    def fingerprint(self) -> str:
        """Address of what decides the answers: trunk, runtime precision, head and class names."""
        found = hashlib.sha256(self.trunk.fingerprint(self.runtime.name).encode())
        found.update(json.dumps(self.classes).encode())
        for array in (self.weight, self.bias, *(array for layer in self.hidden for array in layer)):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:24]

    def predict_proba(self, images: str | Path | Iterable[str | Path]) -> NDArray[np.float64]:
        """Calibrated probabilities of image files, `(N, K)`, columns in the order of `classes`.

        Raises:
            UnreadableImageError: A file can't be read; `stream` goes on instead.
            TypeError: Something else than a path was given, such as a decoded image.
        """
        rows = []
        for prediction in self.stream(_paths(images)):
            if prediction.probabilities is None:
                raise UnreadableImageError(f"{prediction.path}: {prediction.error}")
            rows.append(prediction.probabilities)
        return np.stack(rows) if rows else np.empty((0, len(self.classes)))

    def predict(self, images: str | Path | Iterable[str | Path]) -> list[str]:
        """The most probable class of each image file.

        Raises:
            UnreadableImageError: A file can't be read; `stream` goes on instead.
        """
        return [self.classes[k] for k in self.predict_proba(images).argmax(axis=1)]

    def labels_of(self, dataset: "Dataset") -> NDArray[np.int64]:
        """Each sample's class index in this model, matched by name, `(N,)`.

        Raises:
            UnknownClassError: The data has images of classes that the model lacks; lists them.
        """
        index = {name: position for position, name in enumerate(self.classes)}
        counts = {name: count for name, count in dataset.counts().items() if count}
        if unknown := {name: count for name, count in counts.items() if name not in index}:
            listed = ", ".join(
                f"{name!r} ({count:,} image{'s' if count > 1 else ''})" for name, count in unknown.items()
            )
            raise UnknownClassError(
                f"{dataset.root} has classes that the model does not know: {listed}. "
                f"It knows {', '.join(map(repr, self.classes))}. "
                "Rename the folders, or train with these classes."
            )
        return np.array([index[sample.label] for sample in dataset.samples], np.int64)

    def evaluate(self, data: "str | Path | Dataset", *, progress: Progress | None = None) -> "Scores":
        """Measure on labelled images; files that can't be decoded are left out, and noted.

        Args:
            data: A folder or manifest, of which a test split alone is measured if it has one; or a data set
                that was read before, of which all is.
            progress: Told how the work moves, and which files were left out.

        Raises:
            UnknownClassError: The data has classes that the model lacks.
            UnreadableImageError: No image can be decoded.
        """
        from headstart.data.dataset import Dataset

        dataset = data if isinstance(data, Dataset) else Dataset.read(data, progress=progress).measured()
        scores, left_out = self.judge(dataset, progress=progress)
        for skipped in left_out:
            (progress or Silent()).note(f"left out: {skipped.path}: {skipped.reason}")
        return scores

    def judge(
        self, dataset: "Dataset", *, progress: Progress | None = None
    ) -> "tuple[Scores, tuple[Skipped, ...]]":
        """Measure on a data set; also return the files that can't be decoded, which are left out.

        Raises:
            UnknownClassError: The data has classes that the model lacks.
            UnreadableImageError: No image can be decoded.
        """
        from headstart.data.files import Skipped
        from headstart.metrics.scores import score

        labels = self.labels_of(dataset)
        predictions = []
        with (progress or Silent()).stage("Predicting", len(dataset)) as advance:
            for prediction in self.stream([sample.file.path for sample in dataset.samples]):
                predictions.append(prediction)
                advance(1)
        readable = [row for row, prediction in enumerate(predictions) if prediction.error is None]
        if not readable:
            raise UnreadableImageError(
                f"None of the {len(predictions)} images of {dataset.root} can be decoded."
            )
        p = np.stack([predictions[row].probabilities for row in readable])  # type: ignore[misc]
        left_out = tuple(Skipped(p.path, p.error) for p in predictions if p.error is not None)
        return score(p, labels[readable], self.classes, uncalibrated=self.uncalibrated(p)), left_out

    def uncalibrated(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the probabilities `(N, K)` were before calibration."""
        return softmax(self.temperature * np.log(np.maximum(probabilities, 1e-300)))


def _paths(images: str | Path | Iterable[str | Path]) -> list[str]:
    """Paths as text.

    Raises:
        TypeError: Something is no path.
    """
    listed = [images] if isinstance(images, str | os.PathLike) or not isinstance(images, Iterable) else images
    paths = []
    for image in listed:
        if not isinstance(image, str | os.PathLike):
            raise TypeError(
                f"Give paths of image files, not {type(image).__module__}.{type(image).__qualname__}: files "
                "are decoded and resized here as they were in training. Save the image, and give its path."
            )
        paths.append(os.fspath(image))
    return paths


def head_logits(
    features: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32], hidden: Hidden = ()
) -> NDArray[np.float64]:
    """Apply a head to features `(N, d)`, row by row.

    One product per row, so that a row's logits have the same bits in whichever batch it comes. Hidden
    layers are too large to be read for each row, so that theirs agree to rounding.
    """
    features = apply_hidden(features, hidden)
    logits = np.stack([weight @ row for row in features]) if len(features) else np.empty((0, len(weight)))
    return (logits + bias).astype(np.float64)


def _find_or_convert(
    folder: RunFolder, backbone: dict[str, Any], view: Preprocessing, cache: Path, progress: Progress
) -> Trunk:
    trunks, own = cache / "trunks", own_backbone(folder)
    for digest in (backbone["source_digest"], backbone["model_digest"]):
        if found := find_trunk(trunks, own.architecture, digest, view):
            return found
    trunk = convert_trunk(own, trunks, progress)
    if trunk.preprocessing != view:  # an ONNX file brings its own
        raise ValueError(f"the preprocessing: it is not that of {folder.backbone_onnx.with_suffix('.json')}")
    return trunk


def _check_timm(config: dict[str, Any], view: Preprocessing, n_logits: int) -> None:
    """Refuse what tells timm otherwise than Headstart.

    Raises:
        ValueError: Something does; names it.
    """
    backbone, told = config["headstart"]["backbone"], config["pretrained_cfg"]
    expected = {**view.to_timm(), "num_classes": n_logits, "classifier": backbone["classifier"]}
    for key, value in expected.items():
        if told[key] != value:
            raise ValueError(f"pretrained_cfg's {key} ({told[key]!r}): the rest of the file says {value!r}")
    for key, value in {"num_classes": n_logits, "architecture": backbone["architecture"]}.items():
        if config[key] != value:
            raise ValueError(f"{key} ({config[key]!r}): the rest of the file says {value!r}")


def _temperature(value: object) -> float:
    if type(value) not in {int, float} or not 0 < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"the head's temperature ({value!r})")
    return float(value)  # type: ignore[arg-type]


def _known_runtime(name: object) -> RuntimeName:
    for known in RUNTIMES:
        if name == known:
            return known
    raise ValueError(f"the runtime {name!r}")


def _read_head(folder: RunFolder, classifier: str) -> tuple[Hidden, NDArray[np.float32], NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder.model_safetensors, framework="numpy") as file:
            return (), file.get_tensor(f"{classifier}.weight"), file.get_tensor(f"{classifier}.bias")
    except (SafetensorError, OSError) as error:
        raise unreadable_tensors(folder.model_safetensors, error) from error


def _read_apart(folder: RunFolder) -> tuple[Hidden, NDArray[np.float32], NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return layers_of(load_file(folder.head_safetensors))
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable_tensors(folder.head_safetensors, error) from error


def unreadable_tensors(path: Path, error: Exception) -> DamagedRunError:
    """Say why tensors can't be read; safetensors takes a file that is forbidden for a missing one."""
    reason, mend = str(error), "Train again, or restore it from a copy."
    try:
        path.open("rb").close()
    except PermissionError:
        reason, mend = "permission denied", "Give yourself the right to read it."
    except OSError:
        pass  # the error at hand says it
    return DamagedRunError(f"{path} can't be read: {reason}. {mend}")


def _open_nearest(trunk: Trunk, wanted: RuntimeName) -> Runtime:
    """The runtime of the training, or float32 where this machine lacks it."""
    try:
        return open_runtime(trunk, wanted)
    except RuntimeUnavailableError:
        return open_runtime(trunk, "openvino-fp32" if trunk.openvino else "torch-fp32")
