"""Explain: where a model looked, which training images a picture is most like, and what it gets wrong."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.api.load import load
from headstart.api.places import cache_folder
from headstart.classifier import Classifier
from headstart.config import ExplainConfig
from headstart.data.decode import read_view
from headstart.data.files import ImageFile, Skipped, probe_files
from headstart.data.sources import expand_inputs
from headstart.errors import DamagedRunError, UnreadableImageError
from headstart.evaluation.heat import heat_of, overlay
from headstart.evaluation.maps import Mapper, open_mapper
from headstart.evaluation.similar import Neighbours, Similar
from headstart.features.extract import extract, open_store
from headstart.metrics.calibration import softmax
from headstart.progress import Progress, Silent
from headstart.run.atomic import converting_errors, write_json
from headstart.run.folder import FORMAT_VERSION, RunFolder, check_writable, named_run_folder, safe_name
from headstart.run.grid import Grid, cell_px, save_grid
from headstart.run.tables import Predictions, read_predictions, read_split

_SHOWN_A_PAIR = 5
_SHOWN_FINDINGS = 5
_HOW = {
    "class-activation": "the head applied place by place: the map's mean and the bias are the logit",
    "grad-cam": "Grad-CAM on the last feature maps",
    "token-relevance": "gradient times activation of each token entering the last block",
}

Views = NDArray[np.uint8]
_Pictures = Sequence[tuple[str | Skipped, str | None]]


@dataclass(frozen=True, slots=True)
class Explained:
    """One picture.

    Attributes:
        path: The file.
        predicted: The most probable class; None where the file can't be read.
        probability: Its probability.
        label: The true class, where it is known.
        map: Name of the PNG in the folder.
        similar: The training images that it is most like.
        error: Why the file can't be read, or None.
    """

    path: str
    predicted: str | None = None
    probability: float | None = None
    label: str | None = None
    map: str | None = None
    similar: tuple[Similar, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was written.

    Attributes:
        folder: Holds `explain.json` and the PNGs.
        method: How the maps came about.
        images: One a picture, in order.
        sheets: Names of the PNGs of what the run got wrong.
        findings: What was noticed, a line each.
    """

    folder: Path
    method: str
    images: tuple[Explained, ...]
    sheets: tuple[str, ...]
    findings: tuple[str, ...]

    @property
    def n_unreadable(self) -> int:
        """How many files could not be read."""
        return sum(image.error is not None for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """For `explain.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "images": [asdict(image) for image in self.images],
            "sheets": list(self.sheets),
            "findings": list(self.findings),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Explainer:
    """What is needed for every picture."""

    classifier: Classifier
    mapper: Mapper
    neighbours: Neighbours
    config: ExplainConfig

    def explain(self, path: str, label: str | None, folder: Path, name: str) -> Explained:
        """Draw one picture's map beside it and its like."""
        preprocessing = self.classifier.trunk.preprocessing
        try:
            view = read_view(path, preprocessing)
        except UnreadableImageError as error:
            return Explained(path, label=label, error=str(error).removeprefix(f"{path}: "))
        features = self.classifier.runtime.embed(view[None])
        p = softmax(self.classifier.logits(features))[0]
        k = int(p.argmax())
        found = self.mapper.maps(view[None], np.array([k]))[0]
        similar = self.neighbours.find(features[0], self.config.similar, without=os.path.abspath(path))  # noqa: PTH100
        predicted = self.classifier.classes[k]
        explained = Explained(path, predicted, float(p[k]), label, f"{name}.png", tuple(similar))
        shown = [view, overlay(view, heat_of(found, preprocessing.crop_px))]
        self._draw(explained, shown, folder / f"{name}.png")
        return explained

    def _draw(self, explained: Explained, shown: list[Views], file: Path) -> None:
        alike = [(some, _thumbnail(some.path, self.classifier)) for some in explained.similar]
        headings = ["picture", f"what speaks for {explained.predicted}"]
        headings += [f"{some.label}, alike {some.cosine:.2f}" for some, _ in alike]
        was = "" if explained.label in {None, explained.predicted} else f"; it is {explained.label}"
        title = f"{explained.predicted} {100 * (explained.probability or 0):.1f} %{was}"
        side = cell_px(self.classifier.trunk.preprocessing.crop_px)
        caption = f"{Path(explained.path).name}, {_HOW[self.mapper.method]}"
        if alike:
            caption += ", beside it the most similar training images"
        rows = [(title, [*shown, *(picture for _, picture in alike)])]
        save_grid(file, Grid(rows, headings, caption, side))


def explain(
    run: str | Path,
    images: Iterable[str | Path] | None = None,
    config: ExplainConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Draw where a run's model looked, beside the training images that each picture is most like.

    Args:
        run: The run folder.
        images: Files, folders and globs. Default: the measured images of the highest loss.
        config: What to show.
        out: A folder, numbered where it holds something. Default: `maps`, or, without `images`, the run's
            own `explain/`, which is written anew.
        cache: Where features are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The run, the images, the architecture or the disk need the user.
    """
    config, progress, folder = config or ExplainConfig(), progress or Silent(), RunFolder.open(Path(run))
    folder.read_config()
    listed = None if images is None else expand_inputs(os.fspath(image) for image in images)
    wanted = Path(out) if out is not None else folder.explanations if images is None else Path("maps")
    if wanted != folder.explanations:
        check_writable(wanted)
    predictions = _read_measured(folder)
    classifier = load(run, cache=cache, runtime=config.runtime, progress=progress)
    mapper = open_mapper(classifier)
    neighbours, findings = _find_neighbours(folder, classifier, cache_folder(cache), config, progress)
    explainer = _Explainer(classifier, mapper, neighbours, config)
    rows = _by_loss(predictions)[: config.losses]
    worst = [(predictions.paths[row], predictions.labels[row]) for row in rows]
    pictures: _Pictures = worst if listed is None else [(path, None) for path in listed]
    with _writing(wanted, anew=wanted == folder.explanations) as (place, final):
        explained = _explain_all(explainer, pictures, place, progress)
        sheets = _draw_sheets(predictions, worst, place, explainer, progress)
        result = Explanation(final, mapper.method, tuple(explained), tuple(sheets), tuple(findings))
        write_json(place / "explain.json", result.to_json())
    return result


def _explain_all(
    explainer: _Explainer, pictures: _Pictures, place: Path, progress: Progress
) -> list[Explained]:
    explained = []
    taken: Counter[str] = Counter()
    with progress.stage("Drawing maps", len(pictures)) as advance:
        for path, label in pictures:
            if isinstance(path, Skipped):
                explained.append(Explained(path.path, label=label, error=path.reason))
            else:
                name = safe_name(Path(path).stem)
                taken[name] += 1
                name = name if taken[name] == 1 else f"{name}-{taken[name]}"
                explained.append(explainer.explain(path, label, place, name))
            advance(1)
    return explained


def _read_measured(folder: RunFolder) -> Predictions:
    """The predictions of the headline's part: test, or cross-validation.

    Raises:
        DamagedRunError: They can't be read.
    """
    predictions = read_predictions(folder.predictions_parquet)
    headline = folder.read_metrics().get("headline")
    rows = [row for row, split in enumerate(predictions.splits) if split == headline]
    if not rows:
        raise DamagedRunError(
            f"{folder.predictions_parquet} has no rows of {headline!r}, which metrics.json names. "
            "Train again."
        )
    return Predictions(
        [predictions.paths[row] for row in rows],
        [predictions.splits[row] for row in rows],
        [predictions.labels[row] for row in rows],
        predictions.probabilities[rows],
        predictions.classes,
    )


def _by_loss(predictions: Predictions) -> list[int]:
    """Rows of known label, the highest loss first."""
    index = {name: k for k, name in enumerate(predictions.classes)}
    rows = [row for row, label in enumerate(predictions.labels) if label in index]
    truth = [index[str(predictions.labels[row])] for row in rows]
    order = np.argsort(predictions.probabilities[rows, truth], kind="stable")
    return [rows[place] for place in order]


def _find_neighbours(
    folder: RunFolder, classifier: Classifier, cache: Path, config: ExplainConfig, progress: Progress
) -> tuple[Neighbours, list[str]]:
    """The training images' features: those stored, and those of files still in place, embedded now."""
    split = read_split(folder.split_parquet)
    rows = [row for row, part in enumerate(split.splits) if part == "train"] if config.similar else []
    known = probe_files([split.paths[row] for row in rows], progress=progress)
    in_place = {
        row: file
        for row, file in zip(rows, known, strict=True)
        if isinstance(file, ImageFile) and file.key == split.keys[row]
    }
    store = open_store(cache, classifier.trunk, classifier.runtime.name)
    missing = [file for file in in_place.values() if file.key not in store]
    extract(missing, classifier.trunk, classifier.runtime, {"center": store}, progress=progress)
    stored = [row for row in rows if split.keys[row] in store]
    moved = [row for row in rows if row not in in_place]
    neighbours = Neighbours(
        features=store.table([split.keys[row] for row in stored]).matrix(),
        paths=[split.paths[row] for row in stored],
        labels=[split.labels[row] for row in stored],
        moved=np.array([row not in in_place for row in stored], np.bool_),
    )
    if not moved:
        return neighbours, []
    some = ", ".join(split.paths[row] for row in moved[:_SHOWN_FINDINGS])
    more = f" and {len(moved) - _SHOWN_FINDINGS:,} more" if len(moved) > _SHOWN_FINDINGS else ""
    lost = sum(split.keys[row] not in store for row in moved)
    told = f"; {lost:,} of them can't be compared, for their features aren't stored" if lost else ""
    return neighbours, [
        f"{len(moved):,} of {len(rows):,} training images were moved, removed or changed: {some}{more}{told}"
    ]


def _draw_sheets(
    predictions: Predictions,
    worst: Sequence[tuple[str, str | None]],
    place: Path,
    explainer: _Explainer,
    progress: Progress,
) -> list[str]:
    """Sheets of the highest losses and of the most confused pairs; none where all images have moved."""
    classifier, sheets = explainer.classifier, []
    side = cell_px(classifier.trunk.preprocessing.crop_px)
    with progress.stage("Drawing sheets", None):
        rows = [_loss_row(predictions, path, explainer) for path, _ in worst]
        seen = [row for row in rows if row is not None]
        if seen:
            headings = ["picture", "for the answer", "for the label"]
            save_grid(place / "highest-loss.png", Grid(seen, headings, "The highest losses first", side))
            sheets.append("highest-loss.png")
        if pairs := _pair_rows(predictions, explainer):
            headings = ["the surest first", *([""] * (max(len(some) for _, some in pairs) - 1))]
            caption = "Most confused pairs of classes, the most frequent first"
            save_grid(place / "most-confused.png", Grid(pairs, headings, caption, side))
            sheets.append("most-confused.png")
    return sheets


def _loss_row(predictions: Predictions, path: str, explainer: _Explainer) -> tuple[str, list[Views]] | None:
    row, classifier = list(predictions.paths).index(path), explainer.classifier
    label, said = str(predictions.labels[row]), predictions.predicted[row]
    try:
        view = read_view(path, classifier.trunk.preprocessing)
    except UnreadableImageError:
        return None
    classes = [predictions.classes.index(name) for name in (said, label)]
    maps = explainer.mapper.maps(np.stack([view, view]), np.array(classes))
    overlays = [overlay(view, heat_of(found, len(view))) for found in maps]
    p = predictions.probabilities[row, classes[1]]
    title = f"{label}: said {said}" if said != label else f"{label}: {100 * p:.0f} % sure"
    return title, [view, *overlays]


def _pair_rows(predictions: Predictions, explainer: _Explainer) -> list[tuple[str, list[Views]]]:
    """Of each of the most confused pairs, a few pictures."""
    said, confidence = predictions.predicted, predictions.confidence
    wrong = [
        (str(label), answer, row)
        for row, (label, answer) in enumerate(zip(predictions.labels, said, strict=True))
        if label is not None and label != answer
    ]
    counts = Counter((label, answer) for label, answer, _ in wrong)
    totals = Counter(predictions.labels)
    rows = []
    for (label, answer), count in counts.most_common(explainer.config.pairs):
        members = [row for truth, other, row in wrong if (truth, other) == (label, answer)]
        members.sort(key=lambda row: -float(confidence[row]))
        shown = [predictions.paths[row] for row in members[:_SHOWN_A_PAIR]]
        pictures = [_thumbnail(path, explainer.classifier) for path in shown]
        rows.append((f"{label}: said {answer}, {count}/{totals[label]}", pictures))
    return rows


def _thumbnail(path: str, classifier: Classifier) -> Views:
    """A picture as the network sees it, or a grey one where it has moved."""
    try:
        return read_view(path, classifier.trunk.preprocessing)
    except UnreadableImageError:
        side = classifier.trunk.preprocessing.crop_px
        return np.full((side, side, 3), 225, np.uint8)


@contextmanager
def _writing(wanted: Path, *, anew: bool) -> Iterator[tuple[Path, Path]]:
    """Give a folder to write in and the one that it becomes: whole, or not at all.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    final = wanted if anew else named_run_folder(wanted)
    place = final.with_name(f".{final.name}.explaining-{os.getpid()}") if anew else final
    with converting_errors(final):
        try:
            place.mkdir(parents=True, exist_ok=True)
            yield place, final
            if anew:
                shutil.rmtree(final, ignore_errors=True)
                place.rename(final)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
