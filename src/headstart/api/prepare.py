"""What every recipe starts with: the data listed, the backbone ready, every image embedded."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from headstart.api.load import check_weights
from headstart.api.places import cache_folder
from headstart.api.stopwatch import Stopwatch
from headstart.backbones.catalogue import (
    Backbone,
    OnnxFile,
    RandomWeights,
    WeightsFile,
    find_backbone,
    source_run,
)
from headstart.backbones.choice import choose_runtime
from headstart.backbones.runtime import Runtime
from headstart.backbones.trunk import Trunk, open_trunk
from headstart.config import TrainConfig
from headstart.data.dataset import Dataset, check_nothing_skipped, check_trainable
from headstart.data.files import ImageFile, Skipped
from headstart.errors import ConfigError, WeightsNotFoundError
from headstart.features.embed import Embedder, View, read_sample
from headstart.features.extract import Sight, extract, open_store
from headstart.features.store import FeatureStore
from headstart.features.thumbnails import Thumbnails
from headstart.heads.source import match_classes
from headstart.progress import Progress, Silent
from headstart.run.folder import RunFolder
from headstart.training.processes import Processes

_CHECKED_IMAGES = 32
_MIRROR_MAX_IMAGES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All that a recipe needs to begin.

    Attributes:
        config: What was asked for.
        cache: Where features and pixels are kept.
        backbone: What the user named.
        trunk: Its converted form.
        runtime: What runs it.
        dataset: Without the files that can't be decoded.
        stores: The features of each view; from scratch, thumbnails, which tell near-duplicates.
        progress: Told how the work moves.
        clock: Has timed the stages so far.
        processes: Those that train together.
    """

    config: TrainConfig
    cache: Path
    backbone: Backbone
    trunk: Trunk
    runtime: Runtime
    dataset: Dataset
    stores: dict[View, FeatureStore]
    progress: Progress
    clock: Stopwatch
    processes: Processes = field(default_factory=Processes)


def prepare(
    data: str | Path | Dataset,
    config: TrainConfig,
    cache: str | Path | None,
    progress: Progress | None,
) -> Prepared:
    """List the images, open the backbone and embed what the feature store lacks.

    Raises:
        HeadstartError: The data, the backbone or the disk need the user.
    """
    progress, cache, clock = progress or Silent(), cache_folder(cache), Stopwatch()
    backbone = _backbone(config)
    if backbone.lineage:
        progress.note(f"Starting from {backbone.lineage.describe()}.")
    with clock.stage("listing"):
        read = _read(data, config, progress)
        check_trainable(read)
    with clock.stage("backbone"):
        trunk = open_trunk(backbone, cache, progress=progress)
        _check_source(config, read, trunk)
        runtime = _open_runtime(trunk, read, config, progress)
    with clock.stage("embedding"):
        if config.recipe == "scratch":
            thumbnails = Thumbnails()
            stores: dict[View, FeatureStore] = {"center": thumbnails.open_store(cache)}
            dataset = _embed(read, thumbnails, thumbnails, stores, config, progress)
        else:
            stores = {view: open_store(cache, trunk, runtime.name, view) for view in _views(read, config)}
            dataset = _embed(read, trunk, runtime, stores, config, progress)
    return Prepared(config, cache, backbone, trunk, runtime, dataset, stores, progress, clock)


def _read(data: str | Path | Dataset, config: TrainConfig, progress: Progress) -> Dataset:
    """List the images, unless that was done before.

    Raises:
        DataError: They can't be listed; or `strict`, and something had to be skipped.
    """
    if not isinstance(data, Dataset):
        return Dataset.read(data, strict=config.strict, progress=progress)
    if config.strict:
        check_nothing_skipped(data.root, data.skipped)
    return data


def _check_source(config: TrainConfig, dataset: Dataset, trunk: Trunk) -> None:
    """See at once, not after the embedding, that there are source rows to start from.

    Raises:
        ConfigError: The weights come without a classifier, or a class named is none of the data's or its.
    """
    if config.head_init == "source" and not len(trunk.source_head[1]):
        raise ConfigError(
            f"The weights of {config.from_ or config.model} come without a classifier, so --head-init source "
            "finds no rows to start from. Leave it out, or take weights with their classifier."
        )
    match_classes(config.source_class, dataset.classes, trunk.source_classes)


def _backbone(config: TrainConfig) -> Backbone:
    """What the user named; untrained for the recipe scratch.

    Raises:
        UnknownBackboneError: There is no such name.
        WeightsNotFoundError: It has no pretrained weights, which the recipe needs.
        ConfigError: It can't be trained, and the recipe would.
        RunError: It is a run that is not there, or damaged.
    """
    found = source_run(config.from_) if config.from_ else find_backbone(config.model)
    if isinstance(found.weights, OnnxFile) and config.recipe != "probe":
        raise ConfigError(
            f"--recipe {config.recipe} trains the network itself, but {config.model} is an ONNX file, a "
            "computation without the modules that training needs. Leave the recipe out, to solve a head on "
            "its features; or give its weights to timm's architecture: --model ARCHITECTURE@FILE"
        )
    if config.recipe == "scratch":
        return found.untrained
    if found.lineage and isinstance(found.weights, WeightsFile):
        check_weights(RunFolder(found.weights.path.parent))
    if isinstance(found.weights, RandomWeights):
        raise WeightsNotFoundError(
            f"{config.model} has no pretrained weights for the recipe {config.recipe} to start from. "
            f"Train it with --recipe scratch, or give weights of your own: --model {config.model}@FILE"
        )
    return found


def _open_runtime(trunk: Trunk, dataset: Dataset, config: TrainConfig, progress: Progress) -> Runtime:
    """The runtime asked for, or the one that suits a trunk and these pictures."""
    sample = read_sample([f.path for f in _learning(dataset)], trunk.preprocessing, _CHECKED_IMAGES)
    return choose_runtime(trunk, sample, config.runtime, progress=progress)


def _learning(dataset: Dataset) -> list[ImageFile]:
    """The files that may be learnt from: all but the validation and test splits'."""
    return [sample.file for sample in dataset.samples if sample.split in (None, "train")]


def _views(dataset: Dataset, config: TrainConfig) -> tuple[View, ...]:
    small = len(_learning(dataset)) <= _MIRROR_MAX_IMAGES
    mirror = config.mirror == "on" or (config.mirror == "auto" and small)
    return ("center", "mirror") if mirror else ("center",)


def _embed(
    dataset: Dataset,
    trunk: Sight,
    runtime: Embedder,
    stores: dict[View, FeatureStore],
    config: TrainConfig,
    progress: Progress,
) -> Dataset:
    """Embed what the stores lack; return the data set without the files that can't be decoded.

    Raises:
        UnreadableImagesError: `strict`, and there are such files.
        TooFewImagesError: Too little is left to train on.
    """
    learning = _learning(dataset)
    measuring = [sample.file for sample in dataset.samples if sample.split not in (None, "train")]
    failures = extract(learning, trunk, runtime, stores, progress=progress)
    failures |= extract(measuring, trunk, runtime, {"center": stores["center"]}, progress=progress)
    if not failures:
        return dataset
    skipped = [
        Skipped(sample.file.path, failures[sample.file.key])
        for sample in dataset.samples
        if sample.file.key in failures
    ]
    if config.strict:
        check_nothing_skipped(dataset.root, skipped)
    kept = tuple(sample for sample in dataset.samples if sample.file.key not in failures)
    left = replace(dataset, samples=kept, skipped=(*dataset.skipped, *skipped))
    check_trainable(left)
    return left
