"""Shift: whether a run holds on darker, warmer, blurrier, smaller, tilted pictures, and how to make it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from headstart.api.findings import describe_skipped
from headstart.api.load import load
from headstart.classifier import Classifier
from headstart.config import RecipeName, ShiftConfig, TrainConfig, TuneConfig
from headstart.data.dataset import Dataset, Sample
from headstart.data.files import Skipped, probe_files
from headstart.data.shifts import Kind, find_kinds
from headstart.data.splits import parse_split
from headstart.errors import DataError
from headstart.evaluation.shift import ShiftScores, measure_shift
from headstart.evaluation.shift_figure import save_shift
from headstart.progress import Progress, Silent
from headstart.reports.pictures import common_root
from headstart.run.atomic import write_json
from headstart.run.folder import FORMAT_VERSION, RunFolder, check_writable
from headstart.run.tables import read_split

_NO_BACKBONE_LEARNS = {"probe", "auto"}


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """What a test of shifts found.

    Attributes:
        folder: Where `shift.json` and `shift.png` are.
        scores: Of the run.
        hardened: Of the run that was trained against the shifts, on the same pictures; None where none was.
        hardened_run: Its folder.
        findings: What was noticed about the data, a line each.
    """

    folder: Path
    scores: ShiftScores
    hardened: ShiftScores | None
    hardened_run: Path | None
    findings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for `shift.json`."""
        told: dict[str, Any] = {"format_version": FORMAT_VERSION, **self.scores.to_json()}
        if self.hardened and self.hardened_run:
            told["hardened"] = {"run": self.hardened_run.name, **self.hardened.to_json()}
        return {**told, "findings": list(self.findings)}


def shift(
    run: str | Path,
    data: str | Path | Dataset,
    config: ShiftConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> ShiftReport:
    """Measure a run on labelled pictures as they are and shifted in ten ways, each at five strengths.

    Writes `shift.json` and `shift.png`. With `harden`, also trains a run with the augmentation that the
    result advises, beside the first, and measures it on the same pictures.

    Args:
        run: The run folder.
        data: A folder or manifest; of one with splits, its test split.
        config: What to do.
        out: The folder to write to. Default: the run's.
        cache: Where converted backbones are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The run, the data, the settings or the disk need the user.
    """
    config, progress = config or ShiftConfig(), progress or Silent()
    kinds = find_kinds(config.kinds)
    source = RunFolder.open(Path(run))
    place = RunFolder(Path(out) if out else source.path)
    check_writable(place.shift_json)
    classifier = load(run, cache=cache, runtime=config.runtime, progress=progress)
    dataset, findings = _read(source, data, config, progress)
    labels = classifier.labels_of(dataset)
    paths = [sample.file.path for sample in dataset.samples]
    scores, skipped = measure_shift(classifier, paths, labels, kinds, seed=config.seed, progress=progress)
    report = ShiftReport(place.path, scores, None, None, (*findings, *describe_skipped(skipped)))
    _write(place, report)
    if config.harden and scores.policy:
        hardened_run = _harden(source, scores.policy, config, cache, progress)
        hardened = load(hardened_run, cache=cache, runtime=config.runtime, progress=progress)
        again = _measure_again(hardened, dataset, kinds, config, progress)
        report = replace(report, hardened=again, hardened_run=hardened_run)
        _write(place, report)
    return report


def _write(place: RunFolder, report: ShiftReport) -> None:
    write_json(place.shift_json, report.to_json())
    save_shift(place.shift_png, report.scores, report.hardened)


def _measure_again(
    classifier: Classifier, dataset: Dataset, kinds: Sequence[Kind], config: ShiftConfig, progress: Progress
) -> ShiftScores:
    paths = [sample.file.path for sample in dataset.samples]
    labels = classifier.labels_of(dataset)
    return measure_shift(classifier, paths, labels, kinds, seed=config.seed, progress=progress)[0]


def _read(
    source: RunFolder, data: str | Path | Dataset, config: ShiftConfig, progress: Progress
) -> tuple[Dataset, tuple[str, ...]]:
    """The pictures to measure on, and what was noticed about them."""
    read = Dataset.read(data, progress=progress) if not isinstance(data, Dataset) else data
    has_test = any(sample.split == "test" for sample in read.samples)
    whole = read.part("test") if has_test else read
    samples = _some_of_each(whole, config.images)
    findings = list(describe_skipped(read.skipped))
    if len(samples) < len(whole):
        findings.append(
            f"measured on {len(samples):,} of the {len(whole):,} images, of each class alike many; "
            "--images takes more"
        )
    split = read_split(source.split_parquet)
    known = {key for key, part in zip(split.keys, split.splits, strict=True) if part == "train"}
    if learnt := sum(sample.file.key in known for sample in samples):
        findings.append(
            f"{learnt:,} of the {len(samples):,} images were learnt from, so their accuracy flatters; what "
            "shifts change is told less honestly, too"
        )
    return replace(whole, samples=tuple(samples)), tuple(findings)


def _some_of_each(dataset: Dataset, most: int | None) -> list[Sample]:
    """As many samples as asked for, the classes in turn, chosen by content; in the data set's order."""
    if most is None or len(dataset) <= most:
        return list(dataset.samples)
    labels = dataset.class_indices()
    order = sorted(range(len(dataset)), key=lambda row: dataset.samples[row].file.key)
    turns = np.zeros(len(dataset), np.int64)
    seen = np.zeros(len(dataset.classes), np.int64)
    for row in order:
        turns[row] = seen[labels[row]]
        seen[labels[row]] += 1
    chosen = sorted(order, key=lambda row: turns[row])[:most]
    return [dataset.samples[row] for row in sorted(chosen)]


def _harden(
    source: RunFolder,
    policy: str,
    config: ShiftConfig,
    cache: str | Path | None,
    progress: Progress,
) -> Path:
    """Train on the run's own training images with a policy; a probe's last stages, as it knows no other.

    Raises:
        HeadstartError: The images are gone, or the training can't go on.
    """
    from headstart.api.train import train  # torch, that measuring can do without

    settings = source.read_config()["headstart"]["settings"]
    own: RecipeName = next((one for one in get_args(RecipeName) if one == settings["recipe"]), "partial")
    recipe: RecipeName = "partial" if own in _NO_BACKBONE_LEARNS else own
    training = TrainConfig(
        model=settings["model"], recipe=recipe, seed=config.seed, balance=bool(settings["balance"])
    )
    progress.note(f"Training with --recipe {recipe} --augment {policy}")
    tuning = TuneConfig(augment=policy, epochs=config.epochs)
    out = source.path.with_name(f"{source.path.name}-hardened")
    dataset = _training_data(source, progress)
    return train(dataset, training, tuning, out=out, cache=cache, progress=progress).run


def _training_data(source: RunFolder, progress: Progress) -> Dataset:
    """The images of a run, in the splits that it used.

    Raises:
        DataError: Some of the training images are gone.
    """
    table = read_split(source.split_parquet)
    probed = probe_files(list(table.paths), progress=progress)
    gone = [file for file in probed if isinstance(file, Skipped)]
    if gone:
        raise DataError(
            f"{len(gone):,} of the run's {len(probed):,} images are not where it found them, such as "
            f"{gone[0].path}: {gone[0].reason}. Put them back, or train anew with the --augment advised."
        )
    has_test = "test" in set(table.splits)
    samples = tuple(
        Sample(file, label, parse_split(part) if has_test else None, str(group))
        for file, label, part, group in zip(probed, table.labels, table.splits, table.groups, strict=True)
        if not isinstance(file, Skipped)
    )
    classes = tuple(source.read_config()["label_names"])
    return Dataset(common_root(list(table.paths)), classes, samples, ())
