"""The review queue: a table of what to decide, and a new manifest made of the decisions.

No picture is ever moved or deleted: whoever is dropped is merely absent from the new manifest.
"""

import csv
import difflib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from headstart.data.dataset import Dataset, Sample
from headstart.errors import ManifestError
from headstart.evaluation.checks.finding import Finding, Kind
from headstart.run.atomic import write_bytes

Decision = Literal["keep", "relabel", "drop"]

COLUMNS = ("decision", "new_label", "path", "label", "kind", "score", "reason", "data")
"""decision: the user's; empty keeps. new_label: for `relabel`, filled in with what the head would say."""

REVIEWED: tuple[Kind, ...] = ("conflict", "leak", "label_error", "none_of_the_classes", "outlier")

_NEEDED = ("decision", "new_label", "path", "data")
_SHOWN_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the user decided about one picture.

    Attributes:
        path: As the review names it.
        decision: What to do.
        new_label: Its class, if it is relabelled.
    """

    path: str
    decision: Decision
    new_label: str


@dataclass(frozen=True, slots=True)
class Review:
    """A review as it was read.

    Attributes:
        file: Where it was read.
        data: The folder or manifest that was checked.
        judgements: One a picture.
    """

    file: Path
    data: str
    judgements: tuple[Judgement, ...]


def write_review(
    path: Path, dataset: Dataset, findings: Iterable[Finding], suggestions: Mapping[str, str]
) -> int:
    """Write the queue, the gravest first, each picture once; return how many.

    Args:
        path: The CSV.
        dataset: What was checked.
        findings: In the order of review.
        suggestions: The likeliest class of each path.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    labels = {sample.file.path: sample.label for sample in dataset.samples}
    rows: dict[str, tuple[str, ...]] = {}
    for finding in findings:
        if finding.kind not in REVIEWED:
            continue
        for file in finding.files:
            row = ("", suggestions.get(file, ""), file, labels[file], finding.kind, f"{finding.score:.3f}")
            rows.setdefault(file, (*row, finding.message, dataset.root))
    write_bytes(path, _as_csv(COLUMNS, rows.values()))
    return len(rows)


def read_review(path: Path) -> Review:
    """Read what the user decided.

    Raises:
        ManifestError: It can't be read, or rows are wrong; all of it at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=header.count))
            columns, table = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(
            f"Can't read the review {path}: {reason}. Name the CSV that --fix wrote."
        ) from error
    if missing := [name for name in _NEEDED if name not in columns]:
        raise ManifestError(
            f"{path} is no review: its header lacks {', '.join(missing)}. Name the CSV that --fix wrote, "
            f"with the columns {', '.join(_NEEDED)}."
        )
    if not table:
        raise ManifestError(
            f"{path} holds no picture: check found nothing to decide. Train on the data as is."
        )
    problems: list[str] = []
    judgements: dict[str, Judgement] = {}
    for line, row in enumerate(table, start=2):
        judgement = _judge(row, f"row {line}", problems)
        if judgement is None:
            continue
        known = judgements.setdefault(judgement.path, judgement)
        if known != judgement:
            problems.append(f"row {line}: {judgement.path} was decided otherwise above")
    sources = {row["data"] for row in table if row["data"]}
    if len(sources) != 1:
        problems.append(f"column data: one folder or manifest must stand there, not {len(sources)}")
    if problems:
        raise _problems(path, problems)
    return Review(path, sources.pop(), tuple(judgements.values()))


def apply_judgements(dataset: Dataset, review: Review) -> Dataset:
    """The data set as decided: some pictures of another class, some left out.

    Raises:
        ManifestError: Pictures or classes that the data set lacks; or nothing would be left.
    """
    by_path = {judgement.path: judgement for judgement in review.judgements}
    known = {sample.file.path for sample in dataset.samples}
    problems = [f"{path} is none of the pictures of {dataset.root}" for path in by_path if path not in known]
    for judgement in review.judgements:
        if judgement.decision == "relabel" and judgement.new_label not in dataset.classes:
            near = difflib.get_close_matches(judgement.new_label, dataset.classes, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            problems.append(f"{judgement.path}: no class is called {judgement.new_label!r}.{hint}")
    kept = [decided for sample in dataset.samples if (decided := _decide(sample, by_path)) is not None]
    if not kept:
        problems.append("every picture would be dropped")
    if problems:
        raise _problems(review.file, problems)
    return replace(dataset, samples=tuple(kept))


def write_manifest(path: Path, dataset: Dataset) -> None:
    """Write a manifest that training accepts, by absolute paths.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    rows = ((s.file.path, s.label, s.split or "", s.group or "") for s in dataset.samples)
    write_bytes(path, _as_csv(("path", "label", "split", "group"), rows))


def _judge(row: Mapping[str, str | None], place: str, problems: list[str]) -> Judgement | None:
    """One row; None where it is wrong, which is added to `problems`."""
    decision = (row["decision"] or "").strip().lower() or "keep"
    path, new_label = (row["path"] or "").strip(), (row["new_label"] or "").strip()
    if decision not in get_args(Decision):
        problems.append(f"{place}: the decision {decision!r} is none of keep, relabel, drop")
        return None
    if not path:
        problems.append(f"{place}: the path is empty")
        return None
    if decision == "relabel" and not new_label:
        problems.append(f"{place}: relabel {path} as what? Its new_label is empty")
        return None
    return Judgement(path, decision, new_label)  # type: ignore[arg-type] # was compared with all of them


def _decide(sample: Sample, by_path: Mapping[str, Judgement]) -> Sample | None:
    judgement = by_path.get(sample.file.path)
    if judgement is None or judgement.decision == "keep":
        return sample
    return None if judgement.decision == "drop" else replace(sample, label=judgement.new_label)


def _problems(path: Path, problems: Sequence[str]) -> ManifestError:
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    more = f"\n  and {len(problems) - _SHOWN_PROBLEMS:,} more" if len(problems) > _SHOWN_PROBLEMS else ""
    return ManifestError(f"The review {path} can't be applied; mend and try again:{shown}{more}")


def _as_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")
