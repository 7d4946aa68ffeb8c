"""Evaluate: a run on labelled images it may not have seen."""

from dataclasses import dataclass
from pathlib import Path

from headstart.classifier import Classifier
from headstart.data.dataset import Dataset
from headstart.metrics.scores import Scores
from headstart.progress import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        scores: Of all readable images.
        dataset: What was measured on.
    """

    scores: Scores
    dataset: Dataset


def evaluate(
    classifier: Classifier, data: str | Path, *, strict: bool = False, progress: Progress | None = None
) -> Evaluation:
    """Measure a classifier on a folder or manifest; of one with splits, on its test split.

    Raises:
        DataError: The data can't be read, or has classes that the model lacks.
    """
    dataset = Dataset.read(data, strict=strict, progress=progress)
    if any(sample.split == "test" for sample in dataset.samples):
        dataset = dataset.part("test")
    return Evaluation(classifier.evaluate(dataset, progress=progress), dataset)
