"""Export: a run becomes a file for another runtime, proved to answer as the run does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from headstart.api.load import load
from headstart.classifier import Classifier
from headstart.config import ExportConfig
from headstart.data.dataset import Dataset
from headstart.errors import DamagedRunError, DatasetNotFoundError, RuntimeUnavailableError
from headstart.exports import quantise
from headstart.exports.catalogue import FORMATS, Format
from headstart.exports.quantise import TrainingImages
from headstart.exports.source import Source
from headstart.exports.verify import Verification, verify
from headstart.progress import Progress, Silent
from headstart.run.atomic import write_json
from headstart.run.folder import RunFolder, building_run, check_writable, named_run_folder
from headstart.run.tables import read_predictions, read_split

RECORD = "verification.json"
REJECTED = ".rejected"

_MAX_OWN_IMAGES = 1000
_DEFAULTS = ExportConfig()


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export made.

    Attributes:
        folder: Where it is.
        files: The files that predict; their names end in `.rejected` if they must not.
        size_mb: Of these files.
        runtime: What they were verified with.
        images: Where the images came from that they were verified on.
        verification: What that found.
        quantisers: The tools tried for int8, the chosen one first.
    """

    folder: Path
    files: tuple[Path, ...]
    size_mb: float
    runtime: str
    images: str
    verification: Verification
    quantisers: tuple[quantise.Candidate, ...]

    @property
    def accepted(self) -> bool:
        """Whether it may be used."""
        return not self.verification.refusals


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Image files with their classes' positions, and what to call them."""

    name: str
    paths: list[str]
    labels: list[int]


def export(
    run: str | Path,
    config: ExportConfig = _DEFAULTS,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a run, and verify the export from image files on, in its own runtime.

    Args:
        run: The run folder.
        config: What to make.
        out: The folder to make; numbered where it exists. Default: `RUN/exports/FORMAT`.
        cache: Where converted backbones are kept; default: the platform's cache.
        progress: Told how it moves.

    Raises:
        RunError: There is no run, or it is damaged or from a newer version.
        ConfigError: A package is missing, or the format has no place for this head.
        DataError: The images to verify with or to calibrate on can't be read, or have other classes.
        StorageError: The disk is full, read-only or forbidden.
    """
    progress = progress or Silent()
    folder, format_ = RunFolder.open(Path(run)), FORMATS[config.to]
    format_.check()
    if config.int8:
        quantise.check(config.to)
    target = Path(out) if out is not None else folder.path / "exports" / config.name
    classifier = _load(folder.path, cache, progress)
    images = _images_to_verify(folder, classifier, config, progress)
    training = _images_to_calibrate(folder, classifier, config, progress) if config.int8 else None
    check_writable(target)
    source = Source.of(folder, classifier)
    final = named_run_folder(target)
    with building_run(final) as partial:
        candidates = _write(source, config, format_, training, partial.path, progress)
        exported = format_.open(partial.path)
        found = verify(classifier, exported, images.paths, images.labels, int8=config.int8, progress=progress)
        runtime = exported.runtime
        del exported  # lets go of the files, which some systems can't rename while they are open
        names = _reject(partial.path, format_.artifacts) if found.refusals else format_.artifacts
        size_mb = sum((partial.path / name).stat().st_size for name in names) / 1e6
        write_json(partial.path / RECORD, _record(source, config, runtime, images, found, candidates))
    return ExportResult(
        final, tuple(final / name for name in names), size_mb, runtime, images.name, found, tuple(candidates)
    )


def _load(run: Path, cache: str | Path | None, progress: Progress) -> Classifier:
    """The run in float32, whichever runtime it was trained with."""
    try:
        return load(run, cache=cache, runtime="openvino-fp32", progress=progress)
    except RuntimeUnavailableError:
        return load(run, cache=cache, runtime="torch-fp32", progress=progress)


def _write(
    source: Source,
    config: ExportConfig,
    format_: Format,
    training: _Labelled | None,
    folder: Path,
    progress: Progress,
) -> list[quantise.Candidate]:
    if training is None:
        with progress.stage(f"Exporting to {config.to}", None):
            format_.write(source, folder)
        return []
    with progress.stage(f"Exporting to {config.to}, quantised on {training.name}", None):
        calibration = TrainingImages.read(source, training.paths, training.labels)
        return quantise.write(source, config.to, calibration, folder)


def _reject(folder: Path, artifacts: Sequence[str]) -> tuple[str, ...]:
    """Rename what predicts, so that nobody loads it unawares."""
    for name in artifacts:
        (folder / name).rename(folder / f"{name}{REJECTED}")
    return tuple(f"{name}{REJECTED}" for name in artifacts)


def _record(
    source: Source,
    config: ExportConfig,
    runtime: str,
    images: _Labelled,
    found: Verification,
    candidates: Sequence[quantise.Candidate],
) -> dict[str, Any]:
    return {
        "format": config.to,
        "precision": "int8" if config.int8 else "float32",
        "runtime": runtime,
        "original_runtime": source.classifier.runtime.name,
        "images_from": images.name,
        **found.to_json(),
        "quantisers": quantise.describe(candidates),
        "contract": source.contract(),
        "created": datetime.now(UTC).date().isoformat(),
    }


def _images_to_verify(
    folder: RunFolder, classifier: Classifier, config: ExportConfig, progress: Progress
) -> _Labelled:
    if config.verify is not None:
        return _read_labelled(classifier, config.verify, "test", progress)
    mend = "Name labelled images to verify with: --verify FOLDER"
    try:
        table = read_predictions(folder.predictions_parquet)
    except DamagedRunError as error:
        raise DamagedRunError(f"{error} Or name labelled images to verify with: --verify FOLDER") from error
    split = table.splits[0]
    rows = [row for row, name in enumerate(table.splits) if name == split and table.labels[row] is not None]
    paths, labels = [table.paths[row] for row in rows], [str(table.labels[row]) for row in rows]
    found = _still_there(classifier, f"the run's {split} images", paths, labels, _MAX_OWN_IMAGES)
    if not found.paths:
        raise DatasetNotFoundError(
            f"None of the {len(rows):,} images that this run was measured on is where it was "
            f"({paths[0] if paths else 'there are none'}). {mend}"
        )
    return found


def _images_to_calibrate(
    folder: RunFolder, classifier: Classifier, config: ExportConfig, progress: Progress
) -> _Labelled:
    if config.calibrate is not None:
        chosen = _read_labelled(classifier, config.calibrate, "train", progress)
        rows = _spread(len(chosen.paths), quantise.N_IMAGES)
        return _Labelled(
            chosen.name, [chosen.paths[row] for row in rows], [chosen.labels[row] for row in rows]
        )
    table = read_split(folder.split_parquet)
    rows = [row for row, name in enumerate(table.splits) if name == "train"]
    paths, labels = [table.paths[row] for row in rows], [table.labels[row] for row in rows]
    found = _still_there(classifier, "the run's training images", paths, labels, quantise.N_IMAGES)
    if not found.paths:
        raise DatasetNotFoundError(
            f"None of the {len(rows):,} training images of this run is where it was "
            f"({paths[0] if paths else 'there are none'}), and --int8 is calibrated on such. "
            "Name them: --calibrate FOLDER"
        )
    return found


def _read_labelled(classifier: Classifier, data: str, split: str, progress: Progress) -> _Labelled:
    """A data set's images; of one with that split, the split's."""
    read = Dataset.read(data, progress=progress)
    dataset = read.part(split) if any(sample.split == split for sample in read.samples) else read  # type: ignore[arg-type]  # both are splits
    labels = classifier.labels_of(dataset)
    return _Labelled(data, [sample.file.path for sample in dataset.samples], labels.tolist())


def _still_there(
    classifier: Classifier, name: str, paths: Sequence[str], labels: Sequence[str], most: int
) -> _Labelled:
    """Of a run's images those that are still where they were, at most so many, spread evenly over all."""
    index = {label: position for position, label in enumerate(classifier.classes)}
    there = [row for row, path in enumerate(paths) if Path(path).is_file() and labels[row] in index]
    rows = [there[k] for k in _spread(len(there), most)]
    return _Labelled(name, [paths[row] for row in rows], [index[labels[row]] for row in rows])


def _spread(n: int, most: int) -> list[int]:
    """Up to `most` positions spread evenly over `n`."""
    positions: list[int] = np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)).tolist()
    return positions
