"""One thing noticed about the data."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "one_class",
    "leak",
    "conflict",
    "shortcut",
    "unreadable",
    "truncated",
    "too_few_to_learn",
    "too_few_to_measure",
    "label_error",
    "none_of_the_classes",
    "outlier",
    "near_duplicate",
    "exact_duplicate",
    "imbalance",
    "confusable",
    "wrong_extension",
    "rotated",
    "tiny",
    "odd_aspect",
    "greyscale",
    "blurry",
    "dark",
    "bright",
    "no_information",
]
"""In the order in which findings of one severity are told."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Severity = Literal["error", "warning", "info"]
"""`error`: the result would be spoilt. `warning`: look at it. `info`: know it."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was noticed, of which files, and what to do.

    Attributes:
        kind: Of which sort it is.
        severity: How much it matters.
        files: Absolute paths, the worst or the kept one first.
        score: How strong it is, from 0 to 1.
        message: What was seen, in one sentence.
        advice: What to do about it.
    """

    kind: Kind
    severity: Severity
    files: tuple[str, ...]
    score: float
    message: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "files": list(self.files), "score": round(self.score, 4)}


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then by kind, then by score."""
    return tuple(
        sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), KINDS.index(f.kind), -f.score, f.files))
    )
