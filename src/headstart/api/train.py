"""Train: a folder of labelled images becomes a run folder."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from headstart.api.findings import describe_findings
from headstart.api.measure import measure
from headstart.api.places import cache_folder
from headstart.api.plan import SplitPlan, plan_split
from headstart.api.save import Trained, save_run
from headstart.api.stopwatch import Stopwatch
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import choose_runtime
from headstart.backbones.runtime import Runtime
from headstart.backbones.trunk import Trunk, open_trunk
from headstart.config import TrainConfig
from headstart.data.dataset import Dataset, check_nothing_skipped, check_trainable
from headstart.data.files import ImageFile, Skipped
from headstart.features.embed import View, read_sample
from headstart.features.extract import extract, open_store
from headstart.features.store import FeatureStore
from headstart.heads.probe import Probe, fit_probe
from headstart.metrics.scores import Scores
from headstart.progress import Progress, Silent
from headstart.run.folder import check_writable

_CHECKED_IMAGES = 32
_MIRROR_MAX_IMAGES = 1000
_ONE_THREAD_IMAGES = 5000


@dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """What a training left.

    Attributes:
        run: The run folder.
        scores: Of each measured part; the first, `headline`, is the model's.
        headline: `test`, or `cross-validation` where there is no test split.
        findings: What was noticed about the data, a line each.
        dataset: What was trained and measured on.
        seconds: Wall time by stage, and `total`.
    """

    run: Path
    scores: dict[str, Scores]
    headline: str
    findings: tuple[str, ...]
    dataset: Dataset
    seconds: dict[str, float]


def train(
    data: str | Path | Dataset,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a classifier on labelled images, measure it and save it.

    Args:
        data: A folder with one folder per class (inside `train/`, `val/` and `test/`, or not), a
            CSV or Parquet manifest, or a data set that was read before.
        config: What to do; the defaults solve a linear probe on the embedded backbone.
        out: The run folder, numbered where it exists. Default: `runs/DATA-probe-N`.
        cache: Where features and converted backbones are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings, the backbone or the disk need the user.
    """
    config, progress, cache = config or TrainConfig(), progress or Silent(), cache_folder(cache)
    backbone, clock = find_backbone(config.model), Stopwatch()
    check_writable(Path(out or "runs/new"))
    with clock.stage("listing"):
        read = (
            Dataset.read(data, strict=config.strict, progress=progress)
            if not isinstance(data, Dataset)
            else data
        )
        check_trainable(read)
    with clock.stage("backbone"):
        trunk = open_trunk(backbone, cache, progress=progress)
        sample = read_sample([f.path for f in _learning(read)], trunk.preprocessing, _CHECKED_IMAGES)
        runtime = choose_runtime(trunk, sample, config.runtime, progress=progress)
    with clock.stage("embedding"):
        stores = {view: open_store(cache, trunk, runtime.name, view) for view in _views(read, config)}
        dataset = _embed(read, trunk, runtime, stores, config, progress)
    with clock.stage("head"), progress.stage("Solving the head", None), _blas_threads(len(dataset)):
        plan = plan_split(dataset, stores["center"], config)
        probe = _fit(dataset, plan, stores, config)
    with clock.stage("measuring"):
        parts = measure(dataset, plan, probe, stores["center"])
        findings = describe_findings(dataset, plan)
    with clock.stage("saving"), progress.stage("Saving the run", None):
        trained = Trained(config, backbone, trunk, runtime.name, dataset, plan, probe, parts, findings)
        run = save_run(trained, Path(out) if out else None)
    scores: dict[str, Scores] = {name: part.scores for name, part in parts.items()}
    return TrainResult(run, scores, next(iter(scores)), findings, dataset, clock.seconds())


def _blas_threads(n_images: int) -> AbstractContextManager[object]:
    """One BLAS thread for small sets: a second gains little there, and on a busy machine costs twentyfold."""
    return threadpool_limits(1) if n_images <= _ONE_THREAD_IMAGES else nullcontext()


def _learning(dataset: Dataset) -> list[ImageFile]:
    """The files that may be learnt from: all but the validation and test splits'."""
    return [sample.file for sample in dataset.samples if sample.split in (None, "train")]


def _views(dataset: Dataset, config: TrainConfig) -> tuple[View, ...]:
    small = len(_learning(dataset)) <= _MIRROR_MAX_IMAGES
    mirror = config.mirror == "on" or (config.mirror == "auto" and small)
    return ("center", "mirror") if mirror else ("center",)


def _embed(
    dataset: Dataset,
    trunk: Trunk,
    runtime: Runtime,
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


def _fit(dataset: Dataset, plan: SplitPlan, stores: dict[View, FeatureStore], config: TrainConfig) -> Probe:
    rows = plan.rows("train")
    keys = [dataset.samples[row].file.key for row in rows]
    center = stores["center"].table(keys)
    return fit_probe(
        center,
        dataset.class_indices()[rows],
        len(dataset.classes),
        plan.folds[rows],
        mirrored=stores["mirror"].table(keys) if "mirror" in stores else None,
        choose_view=config.mirror == "auto",
        balance=config.balance,
        nested=not (plan.parts == "test").any(),
    )
