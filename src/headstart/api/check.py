"""Check: what of a data set would spoil the result, and what to look at."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.api.places import cache_folder
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import choose_runtime
from headstart.backbones.trunk import open_trunk
from headstart.config import CheckConfig
from headstart.data.dataset import Dataset
from headstart.data.files import Skipped
from headstart.errors import ConfigError, DatasetNotFoundError
from headstart.evaluation.checks.appearance import measure_appearance
from headstart.evaluation.checks.balance import find_balance
from headstart.evaluation.checks.copies import find_copies, leaked_rows
from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.files import find_file_findings, find_unreadable
from headstart.evaluation.checks.finding import Finding, in_order
from headstart.evaluation.checks.labels import find_confusable, find_label_errors
from headstart.evaluation.checks.limits import find_limits
from headstart.evaluation.checks.looks import find_looks
from headstart.evaluation.checks.outliers import find_outliers
from headstart.evaluation.checks.predictions import OutOfFold, predict_out_of_fold
from headstart.evaluation.checks.review import apply_judgements, read_review, write_manifest, write_review
from headstart.evaluation.checks.shortcuts import find_shortcuts
from headstart.features.duplicates import find_near_duplicates
from headstart.features.embed import read_sample
from headstart.features.extract import extract, open_store
from headstart.progress import Progress, Silent
from headstart.reports.check import write_page

_SAMPLED_IMAGES = 32


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        dataset: Of the pictures that can be decoded; `skipped` holds the others.
        findings: The gravest first.
        notes: What was not looked at, or more coarsely, and why.
        suggestions: The likeliest class of each path by cross-validation; empty where there was none.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    suggestions: dict[str, str]

    @property
    def spoilt(self) -> bool:
        """Whether something would spoil the result of a training."""
        return any(finding.severity == "error" for finding in self.findings)


def check(
    data: str | Path | Dataset,
    config: CheckConfig | None = None,
    *,
    html: str | Path | None = None,
    fix: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Look for what would spoil a training on these images, or its measurement.

    Args:
        data: As for training.
        config: How to check.
        html: Write a page with thumbnails there; replaces an older one.
        fix: Write a review queue there; see `apply_review`.
        cache: Where features are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings or the disk need the user.
    """
    config, progress, folder = config or CheckConfig(), progress or Silent(), cache_folder(cache)
    page, queue = _target(html, ".html"), _target(fix, ".csv")
    read = Dataset.read(data, progress=progress) if not isinstance(data, Dataset) else data
    evidence = _gather(read, config, folder, progress)
    said = _cross_validate(evidence, progress)
    with progress.stage("Checking", None):
        findings = in_order(_look(evidence, said))
    suggestions = {}
    if said is not None:
        names = [evidence.dataset.classes[k] for k in said.predicted]
        suggestions = dict(zip(evidence.paths, names, strict=True))
    result = CheckResult(evidence.dataset, findings, tuple(find_limits(evidence, said)), suggestions)
    if page:
        with progress.stage("Drawing thumbnails", None):
            write_page(page, evidence.dataset, findings, result.notes)
    if queue:
        write_review(queue, evidence.dataset, findings, suggestions)
    return result


def apply_review(review: str | Path, out: str | Path, *, progress: Progress | None = None) -> Dataset:
    """Write a manifest of the pictures as a review decided; the pictures themselves stay as they are.

    Args:
        review: The CSV that `check` wrote, with the user's decisions.
        out: The manifest, a CSV that training accepts; replaces an older one, but never the data's own.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The review, the data or the disk need the user.
    """
    read = read_review(Path(review))
    target = _target(out, ".csv")
    for source in (Path(read.data), Path(review)):
        if target is not None and target.absolute() == source.absolute():
            raise ConfigError(f"--out {out} would replace {source}; name another file.")
    try:
        dataset = Dataset.read(read.data, progress=progress or Silent())
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(f"{review} is of data that have moved. {error}") from error
    decided = apply_judgements(dataset, read)
    write_manifest(Path(out), decided)
    return decided


def _target(path: str | Path | None, suffix: str) -> Path | None:
    """Where to write; refused at once, not after the work, if that is a folder or of another kind."""
    if path is None:
        return None
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it, such as {target / f'check{suffix}'}.")
    if target.suffix.lower() != suffix:
        raise ConfigError(f"{path}: this becomes a {suffix} file, so name it so, such as {path}{suffix}.")
    return target


def _gather(read: Dataset, config: CheckConfig, cache: Path, progress: Progress) -> Evidence:
    """Embed and measure what the cache lacks."""
    backbone = find_backbone(config.model)
    trunk = open_trunk(backbone, cache, progress=progress)
    learning = [s.file.path for s in read.samples if s.split in (None, "train")]
    paths = learning or [s.file.path for s in read.samples]
    sample = read_sample(paths, trunk.preprocessing, _SAMPLED_IMAGES)
    runtime = choose_runtime(trunk, sample, config.runtime, progress=progress)
    store = open_store(cache, trunk, runtime.name)
    failures = extract([s.file for s in read.samples], trunk, runtime, {"center": store}, progress=progress)
    dataset = read
    if failures:
        skipped = [Skipped(s.file.path, failures[s.file.key]) for s in read.samples if s.file.key in failures]
        kept = tuple(s for s in read.samples if s.file.key not in failures)
        dataset = replace(read, samples=kept, skipped=(*read.skipped, *skipped))
    files = [s.file for s in dataset.samples]
    appearance = measure_appearance(files, cache, progress=progress)
    keys = [file.key for file in files]
    table = store.table(keys)
    with progress.stage("Looking for copies", None):
        near = find_near_duplicates(table, store.difference_hashes(keys), dataset.class_indices())
    return Evidence(dataset, table, appearance, near, config.seed)


def _cross_validate(evidence: Evidence, progress: Progress) -> OutOfFold | None:
    """What heads say of pictures that they have not seen; None where no head can be fitted."""
    if not evidence.can_cross_validate:
        return None
    with progress.stage("Cross-validating", None):
        return predict_out_of_fold(evidence, leaked_rows(evidence))


def _look(evidence: Evidence, said: OutOfFold | None) -> Iterator[Finding]:
    """All checks, in no order."""
    yield from find_unreadable(evidence.dataset.skipped)
    yield from find_balance(evidence.dataset)
    yield from find_file_findings(evidence)
    yield from find_looks(evidence)
    yield from find_copies(evidence, said.worth if said else None)
    yield from find_outliers(evidence, said)
    if said is not None:
        yield from find_label_errors(evidence, said)
        yield from find_confusable(evidence, said)
        yield from find_shortcuts(evidence)
