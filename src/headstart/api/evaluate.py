"""Evaluate: a run on labelled images it may not have seen."""

from dataclasses import dataclass, replace
from pathlib import Path

from headstart.api.findings import describe_conflicts, describe_seen, describe_skipped
from headstart.classifier import Classifier
from headstart.data.dataset import Dataset, check_nothing_skipped
from headstart.data.files import Skipped
from headstart.errors import DamagedRunError
from headstart.metrics.scores import Scores
from headstart.progress import Progress
from headstart.run.folder import RunFolder
from headstart.run.tables import read_split


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        scores: Of all readable images.
        dataset: What was measured on.
        skipped: Files of the data that can't be used, and why.
        findings: What was noticed about the data, a line each.
    """

    scores: Scores
    dataset: Dataset
    skipped: tuple[Skipped, ...]
    findings: tuple[str, ...]


def evaluate(
    classifier: Classifier,
    data: str | Path,
    *,
    run: Path | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a classifier on a folder or manifest; of one with splits, on its test split.

    Args:
        classifier: What is measured.
        data: Labelled images.
        run: The classifier's run folder, which tells the images that it knows.
        strict: Refuse if any file can't be used.
        progress: Told how the work moves.

    Raises:
        DataError: The data can't be read, or has classes that the model lacks; or `strict`, and a file
            can't be used.
    """
    read = Dataset.read(data, strict=strict, progress=progress)
    dataset = read.measured()
    scores, undecodable = classifier.judge(dataset, progress=progress)
    if strict:
        check_nothing_skipped(dataset.root, undecodable)
    skipped = (*read.skipped, *undecodable)
    lost = {skip.path for skip in undecodable}
    measured = replace(dataset, samples=tuple(s for s in dataset.samples if s.file.path not in lost))
    findings = (
        *describe_skipped(skipped),
        *describe_conflicts(measured),
        *(describe_seen(measured, _known_to(run)) if run else ()),
    )
    return Evaluation(scores, measured, skipped, findings)


def _known_to(run: Path) -> frozenset[str]:
    """Content keys of the images that a run learnt from or was chosen by; of one that has lost them, none.

    Validation images choose an epoch or a rung; a solved head is chosen by cross-validation.
    """
    folder = RunFolder(run)
    try:
        table, facts = read_split(folder.split_parquet), folder.read_config()["headstart"]
    except DamagedRunError:
        return frozenset()
    parts = {"train"} if facts.get("tuning") is None else {"train", "val"}
    return frozenset(key for key, part in zip(table.keys, table.splits, strict=True) if part in parts)
