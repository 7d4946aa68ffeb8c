"""Labels that are likely wrong, and classes that are mistaken for each other."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.checks.evidence import Evidence
from headstart.evaluation.checks.finding import Finding
from headstart.evaluation.checks.predictions import OutOfFold
from headstart.metrics.intervals import wilson_interval

SPOILT_SHARE = 0.02
"""Share of surely wrong labels above which they spoil the result."""

LEAST_A_CLASS = 5
"""Pictures of the middling class below which no label is doubted: of fewer, no head learns what is usual."""

_SURE = 0.9
_BLOCK_ROWS = 2048
_CONFUSED_SHARE, _SHOWN_PAIRS, _SHOWN_FILES = 0.05, 10, 12


def find_label_errors(evidence: Evidence, said: OutOfFold) -> Iterator[Finding]:
    """Labels to review, the least credible first.

    Confident learning (Northcutt, Jiang and Chuang, 2021; cleanlab) says how many labels are wrong. As many
    of the least credible, that is of the lowest out-of-fold probability, are likely wrong; as many again
    are worth a look, for counting errs more than ranking does.
    """
    if too_few_to_doubt(evidence):
        return
    credible = said.of(evidence.labels)
    doubted = np.flatnonzero(said.predicted != evidence.labels)
    doubted = doubted[np.argsort(credible[doubted], kind="stable")]
    expected = count_label_errors(evidence.labels, said.probabilities)
    top = said.probabilities.max(axis=1)
    spoilt = np.mean((top >= _SURE) & (said.predicted != evidence.labels)) >= SPOILT_SHARE
    for rank, row in enumerate(doubted[: 2 * expected].tolist()):
        likely = rank < expected
        given = evidence.dataset.classes[evidence.labels[row]]
        better = evidence.dataset.classes[said.predicted[row]]
        yield Finding(
            "label_error",
            ("error" if spoilt and top[row] >= _SURE else "warning") if likely else "info",
            (evidence.paths[row],),
            1 - float(credible[row]),
            f"labelled {given!r}, {'likely' if likely else 'perhaps'} {better!r} "
            f"(probability {top[row]:.2f}, of its label {credible[row]:.2f})",
            "Look at it; --fix review.csv lists it for keep, relabel or drop.",
        )


def too_few_to_doubt(evidence: Evidence) -> bool:
    """Whether classes are too small for their labels to be doubted."""
    return bool(np.median(evidence.counts[evidence.counts > 0]) < LEAST_A_CLASS)


def count_label_errors(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> int:
    """How many labels are wrong, by confident learning.

    Args:
        labels: `(N,)`; some classes may have no picture.
        probabilities: Out-of-fold, `(N, K)`.
    """
    from cleanlab.experimental.label_issues_batched import LabelInspector  # half a second of pandas

    present, dense = np.unique(labels, return_inverse=True)
    inspector = LabelInspector(num_class=len(present), store_results=False, verbose=False)
    blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, len(dense), _BLOCK_ROWS)]
    for look in (inspector.update_confident_thresholds, inspector.score_label_quality):
        for rows in blocks:
            among = probabilities[rows][:, present].astype(np.float64)
            look(dense[rows], among / np.maximum(among.sum(axis=1, keepdims=True), 1e-12))
    return int(inspector.get_num_issues())


def find_confusable(evidence: Evidence, said: OutOfFold) -> Iterator[Finding]:
    """Pairs of classes of which surely more than a twentieth is taken for the other."""
    n_classes = len(evidence.dataset.classes)
    mistakes = np.flatnonzero(said.predicted != evidence.labels)
    pairs = np.sort(np.stack([evidence.labels[mistakes], said.predicted[mistakes]], axis=1), axis=1)
    codes, counts = np.unique(pairs[:, 0] * n_classes + pairs[:, 1], return_counts=True)
    for code, count in sorted(zip(codes.tolist(), counts.tolist(), strict=True), key=lambda p: -p[1]):
        pair = divmod(code, n_classes)
        total = int(evidence.counts[list(pair)].sum())
        low, high = wilson_interval(count, total)
        if low <= _CONFUSED_SHARE:
            continue
        rows = mistakes[(pairs == pair).all(axis=1)]
        rows = rows[np.argsort(said.of(evidence.labels)[rows], kind="stable")][:_SHOWN_FILES]
        a, b = (evidence.dataset.classes[k] for k in pair)
        yield Finding(
            "confusable",
            "info",
            tuple(evidence.paths[row] for row in rows),
            count / total,
            f"{a!r} and {b!r}: {count:,} of {total:,} are taken for the other (95 % interval "
            f"{100 * low:.0f} to {100 * high:.0f} %)",
            "See whether their labels follow one rule; if so, more pictures of both, or a recipe that trains "
            "the backbone, may tell them apart.",
        )
