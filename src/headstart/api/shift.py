"""Shift: whether a run holds on darker, warmer, blurrier, smaller, tilted pictures, and how to make it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart.api.findings import describe_few, describe_skipped
from headstart.api.harden import Hardening
from headstart.api.load import load
from headstart.classifier import Classifier
from headstart.config import ShiftConfig
from headstart.data.dataset import Dataset, Sample
from headstart.data.files import Skipped
from headstart.data.shifts import Kind, find_kinds
from headstart.evaluation.shift import ShiftGain, ShiftScores, compare_shifts, measure_shift
from headstart.evaluation.shift_figure import save_shift
from headstart.progress import Progress, Silent
from headstart.reports.shift import render_shift
from headstart.run.atomic import write_json, write_text
from headstart.run.folder import FORMAT_VERSION, RunFolder, check_writable
from headstart.run.tables import read_split


@dataclass(frozen=True, slots=True)
class Hardened:
    """A run that was trained against the shifts, on the same pictures.

    Attributes:
        run: Its folder.
        recipe: By which it was trained.
        policy: Its augmentation.
        replaced: The recipe of the first run, if that trains no backbone; empty where both have the same.
        scores: What was measured.
        gain: How far it fares better; None if a picture was lost meanwhile.
    """

    run: Path
    recipe: str
    policy: str
    replaced: str
    scores: ShiftScores
    gain: ShiftGain | None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {
            "run": self.run.name,
            "recipe": self.recipe,
            "augment": self.policy,
            "replaced": self.replaced,
            "gain": self.gain.to_json() if self.gain else None,
            **self.scores.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """What a test of shifts found.

    Attributes:
        run: What was measured.
        folder: Where `shift.json`, `shift.png` and `shift.html` are.
        scores: Of the run.
        hardened: A run that was trained against the shifts; None where none was.
        findings: What was noticed about the data, a line each.
    """

    run: Path
    folder: Path
    scores: ShiftScores
    hardened: Hardened | None
    findings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for `shift.json`."""
        told: dict[str, Any] = {"format_version": FORMAT_VERSION, "run": self.run.absolute().name}
        told |= self.scores.to_json()
        if self.hardened:
            told["hardened"] = self.hardened.to_json()
        return {**told, "findings": list(self.findings)}


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """What each model is put to: the same pictures, shifted alike."""

    dataset: Dataset
    config: ShiftConfig
    kinds: Sequence[Kind]
    cache: str | Path | None
    progress: Progress

    def measure(self, classifier: Classifier) -> tuple[ShiftScores, tuple[Skipped, ...]]:
        paths = [sample.file.path for sample in self.dataset.samples]
        labels = classifier.labels_of(self.dataset)
        return measure_shift(
            classifier, paths, labels, self.kinds, seed=self.config.seed, progress=self.progress
        )

    def load(self, run: str | Path) -> Classifier:
        return load(run, cache=self.cache, runtime=self.config.runtime, progress=self.progress)


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

    Writes `shift.json`, `shift.png` and `shift.html`. With `harden`, also trains a run with the
    augmentation that the result advises, beside the first, and measures it on the same pictures.

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
    hardening = Hardening.plan(source, config, progress) if config.harden else None
    dataset, findings = _read(source, data, config, progress)
    test = _Test(dataset, config, kinds, cache, progress)
    scores, skipped = test.measure(test.load(run))
    findings = (*findings, *describe_skipped(skipped), *describe_few(scores.n))
    report = ShiftReport(source.path, place.path, scores, None, findings)
    _write(place, report)
    if hardening and scores.policy:
        report = replace(report, hardened=_harden(hardening, scores, test))
        _write(place, report)
    return report


def _harden(hardening: Hardening, before: ShiftScores, test: _Test) -> Hardened:
    """Train against what harms, and measure that on the same pictures."""
    run = hardening.train(before.policy, test.cache, test.progress)
    scores, _ = test.measure(test.load(run))
    gain = compare_shifts(before, scores) if scores.n == before.n else None
    return Hardened(run, hardening.training.recipe, before.policy, hardening.replaced, scores, gain)


def _write(place: RunFolder, report: ShiftReport) -> None:
    found = report.to_json()
    write_json(place.shift_json, found)
    save_shift(place.shift_png, report.scores, report.hardened.scores if report.hardened else None)
    write_text(place.shift_html, render_shift(found))


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
