"""What was not looked at, or more coarsely, and why: a check that is silent must not be taken for praise."""

from collections.abc import Iterator

from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.labels import LEAST_A_CLASS, too_few_to_doubt
from headstart.evaluation.checks.outliers import MIN_PICTURES
from headstart.evaluation.checks.predictions import OutOfFold
from headstart.evaluation.checks.shortcuts import MAX_CLASSES


def find_limits(evidence: Evidence, said: OutOfFold | None) -> Iterator[str]:
    """Sentences."""
    n_classes = int((evidence.counts > 0).sum())
    if not evidence.in_test.any():
        yield "There is no test split, so nothing can have leaked into it."
    if len(evidence) < MIN_PICTURES:
        yield f"With fewer than {MIN_PICTURES} pictures outliers can't be told."
    if said is None:
        yield (
            "One class, or too few different pictures, can't be cross-validated: wrong labels, confusable "
            "classes and shortcuts were not looked for."
        )
        return
    if too_few_to_doubt(evidence):
        yield (
            f"Half of the classes have fewer than {LEAST_A_CLASS} pictures: wrong labels were not looked for."
        )
    if said.head == "discriminant analysis":
        yield (
            f"{len(evidence):,} pictures of {n_classes:,} classes are so many that discriminant analysis "
            "foretold their labels: much faster than logistic regression, and a little less accurate."
        )
    if n_classes > MAX_CLASSES:
        yield f"Shortcuts were looked for among the {MAX_CLASSES} largest classes."
