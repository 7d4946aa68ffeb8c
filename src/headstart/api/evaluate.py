"""Evaluate: a run on labelled images it may not have seen."""

from dataclasses import dataclass
from pathlib import Path

from headstart.api.findings import describe_skipped
from headstart.classifier import Classifier
from headstart.data.dataset import Dataset, check_nothing_skipped
from headstart.data.files import Skipped
from headstart.metrics.scores import Scores
from headstart.progress import Progress


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
    classifier: Classifier, data: str | Path, *, strict: bool = False, progress: Progress | None = None
) -> Evaluation:
    """Measure a classifier on a folder or manifest; of one with splits, on its test split.

    Raises:
        DataError: The data can't be read, or has classes that the model lacks; or `strict`, and a file
            can't be used.
    """
    read = Dataset.read(data, strict=strict, progress=progress)
    has_test = any(sample.split == "test" for sample in read.samples)
    dataset = read.part("test") if has_test else read
    scores, undecodable = classifier.judge(dataset, progress=progress)
    if strict:
        check_nothing_skipped(dataset.root, undecodable)
    skipped = (*read.skipped, *undecodable)
    return Evaluation(scores, dataset, skipped, describe_skipped(skipped))
