"""The page of a check: every kind of finding, what to do, and a sheet of thumbnails; one file, no network."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from headstart.data.dataset import Dataset
from headstart.data.decode import decode
from headstart.errors import UnreadableImageError
from headstart.evaluation.checks.finding import SEVERITIES, Finding
from headstart.reports.layout import template
from headstart.run.atomic import write_text
from headstart.run.environment import available_cores

_THUMB_PX = 112
_THUMB_QUALITY = 72
_SHOWN_FINDINGS, _SHOWN_FILES = 48, 8
_SHOWN_THUMBS = 600
"""In all: a page of them is some 3 MB."""

_TITLES = {
    "one_class": "One class only",
    "leak": "Test pictures in training",
    "conflict": "One picture, several labels",
    "shortcut": "Shortcuts",
    "unreadable": "Unreadable files",
    "truncated": "Truncated files",
    "too_few_to_learn": "Classes too small to learn",
    "too_few_to_measure": "Classes too small to measure",
    "label_error": "Labels to review",
    "none_of_the_classes": "None of the classes",
    "outlier": "Outliers",
    "near_duplicate": "Near-duplicates",
    "exact_duplicate": "Exact copies",
    "imbalance": "Imbalance",
    "confusable": "Classes taken for each other",
    "wrong_extension": "Wrong extension",
    "rotated": "Turned by EXIF",
    "tiny": "Tiny pictures",
    "odd_aspect": "Odd shapes",
    "greyscale": "Grey among colour",
    "blurry": "Blurry",
    "dark": "Dark",
    "bright": "Bright",
    "no_information": "Without detail",
}
_VERDICTS = {"error": "spoils the result", "warning": "look at it", "info": "good to know"}


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file on the page; `uri` is empty where none is shown."""

    name: str
    label: str
    uri: str


@dataclass(frozen=True, slots=True)
class _Item:
    """A finding on the page."""

    message: str
    score: float
    pictures: tuple[_Picture, ...]
    more: int


@dataclass(frozen=True, slots=True)
class _Section:
    """All findings of one kind and severity; the advice, and a message that all share, stand once."""

    title: str
    kind: str
    severity: str
    verdict: str
    count: int
    message: str
    advice: str
    items: tuple[_Item, ...]
    more: int


def write_page(path: Path, dataset: Dataset, findings: Sequence[Finding], notes: Sequence[str]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file.
        dataset: What was checked.
        findings: In the order in which they are told.
        notes: What was not looked at.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    write_text(path, render_page(dataset, findings, notes))


def render_page(dataset: Dataset, findings: Sequence[Finding], notes: Sequence[str] = ()) -> str:
    """The page as HTML; every name is escaped."""
    counts = Counter(finding.severity for finding in findings)
    page: str = template("check.html.jinja").render(
        name=Path(dataset.root).name,
        root=dataset.root,
        images=len(dataset),
        n_classes=len(dataset.classes),
        skipped=len(dataset.skipped),
        counts=[(severity, counts[severity], _VERDICTS[severity]) for severity in SEVERITIES],
        spoilt=counts["error"] > 0,
        notes=notes,
        sections=_sections(dataset, findings),
    )
    return page


def _sections(dataset: Dataset, findings: Sequence[Finding]) -> list[_Section]:
    labels = {sample.file.path: sample.label for sample in dataset.samples}
    groups = [
        (severity, kind, list(some))
        for (severity, kind), some in groupby(findings, key=lambda f: (f.severity, f.kind))
    ]
    wanted = [
        f for *_, some in groups for finding in some[:_SHOWN_FINDINGS] for f in finding.files[:_SHOWN_FILES]
    ]
    uris = _thumbnails(list(dict.fromkeys(wanted))[:_SHOWN_THUMBS])
    return [
        _Section(
            title=_TITLES[kind],
            kind=kind,
            severity=severity,
            verdict=_VERDICTS[severity],
            count=len(some),
            message=(shared := _shared_message(some)),
            advice=some[0].advice,
            items=tuple(
                _item(f, dataset.root, labels, uris, "" if shared else f.message)
                for f in some[:_SHOWN_FINDINGS]
            ),
            more=max(len(some) - _SHOWN_FINDINGS, 0),
        )
        for severity, kind, some in groups
    ]


def _shared_message(findings: Sequence[Finding]) -> str:
    """What all of several findings say; empty where they differ."""
    messages = {finding.message for finding in findings}
    return messages.pop() if len(messages) == 1 < len(findings) else ""


def _item(finding: Finding, root: str, labels: dict[str, str], uris: dict[str, str], message: str) -> _Item:
    shown = finding.files[:_SHOWN_FILES]
    pictures = [_Picture(_below(file, root), labels.get(file, ""), uris.get(file, "")) for file in shown]
    return _Item(message, finding.score, tuple(pictures), len(finding.files) - len(shown))


def _below(file: str, root: str) -> str:
    """The path below the data's folder, where it lies there."""
    path, top = Path(file), Path(root)
    top = top if not top.suffix else top.parent
    name = str(path.relative_to(top)) if path.is_relative_to(top) else file
    return name.encode("utf-8", "backslashreplace").decode()


def _thumbnails(files: Sequence[str]) -> dict[str, str]:
    """A data URI of each file that can be decoded."""
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="thumbnails") as pool:
        return {file: uri for file, uri in zip(files, pool.map(_thumbnail, files), strict=True) if uri}


def _thumbnail(file: str) -> str:
    try:
        image = decode(Path(file).read_bytes(), min_side_px=_THUMB_PX)
    except (OSError, UnreadableImageError):
        return ""
    image.thumbnail((2 * _THUMB_PX, _THUMB_PX))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_THUMB_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
