"""A data set: labelled image files, as a folder per class or a manifest describes them.

Reading looks at headers only. What can't be used is kept in `Dataset.skipped`,
so that it can be counted and listed; what makes training impossible is
raised by `check_trainable`, all of it at once.
"""

import difflib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from headstart.data.decode import find_undecodable
from headstart.data.files import (
    NO_IMAGE,
    ImageFile,
    Skipped,
    find_images,
    list_folders,
    natural_key,
    probe_files,
)
from headstart.data.manifest import MANIFEST_SUFFIXES, read_manifest
from headstart.data.splits import SPLITS, Split, parse_split
from headstart.errors import DatasetNotFoundError, TooFewImagesError, UnreadableImagesError
from headstart.progress import Progress, Silent

__all__ = [
    "Conflict",
    "Dataset",
    "Leak",
    "Sample",
    "Split",
    "check_nothing_skipped",
    "check_trainable",
    "find_conflicts",
    "find_exact_leaks",
    "natural_key",
]

_SHOWN = 10
_SHOWN_IF_STRICT = 100
_SHOWN_PROBLEMS = 20
_LAYOUT = "Put the images into one folder per class, such as {root}/cat/1.jpg and {root}/dog/2.jpg."


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and what the user says about it."""

    file: ImageFile
    label: str
    split: Split | None
    group: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """The same bytes under several labels; `labels[i]` is the one of `paths[i]`."""

    key: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leak:
    """The same bytes in the test split and outside it; `splits[i]` is the one of `paths[i]`."""

    key: str
    paths: tuple[str, ...]
    splits: tuple[Split | None, ...]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A path and its meaning, before the file is read."""

    path: str
    label: str
    split: Split | None
    group: str | None


@dataclass(frozen=True, slots=True)
class _Listing:
    """All that a folder or a manifest names."""

    root: str
    labels: frozenset[str]
    items: list[_Listed]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """Labelled images of which the headers were read.

    Attributes:
        root: Absolute path of the folder or manifest that was read.
        classes: Names in natural order. A class whose folder has no usable image is among them.
        samples: In natural order of paths, or in the manifest's order.
        skipped: Files and folders that are not used, and why.
    """

    root: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]

    @classmethod
    def read(cls, path: str | Path, *, strict: bool = False, progress: Progress | None = None) -> Self:
        """Read a folder with one folder per class, with or without split folders, or a manifest.

        Split folders are `train/`, `val|valid|validation/` and `test/`, in whichever case. They count as
        such if `train/` or `test/` is there with class folders in it. Images may lie deeper
        inside their class's folder.

        Raises:
            DatasetNotFoundError: Nothing is there, or it can't be read.
            ManifestError: The manifest has problems, or names files that don't exist.
            TooFewImagesError: There are no images, or none inside a class folder.
            UnreadableImagesError: `strict`, and something had to be skipped; lists it, with all files that
                can't be decoded. (What only decoding shows is told when the images are embedded.)
        """
        progress = progress or Silent()
        source = Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would replace the user's links)
        listing = _list_source(source, progress)
        probed = probe_files([item.path for item in listing.items], progress=progress)
        samples, skipped = [], list(listing.skipped)
        for item, file in zip(listing.items, probed, strict=True):
            if isinstance(file, Skipped):
                skipped.append(file)
            else:
                samples.append(Sample(file, item.label, item.split, item.group))
        if strict and skipped:  # refused in any case: then all at once, what only decoding shows, too
            skipped += find_undecodable([sample.file for sample in samples], progress=progress)
            check_nothing_skipped(str(source), skipped)
        _check_any(source, samples, skipped)
        classes = tuple(sorted(listing.labels, key=natural_key))
        return cls(listing.root, classes, tuple(samples), tuple(skipped))

    def class_indices(self) -> npt.NDArray[np.int64]:
        """Position in `classes` of each sample's label, `(N,) int64`."""
        index = {name: position for position, name in enumerate(self.classes)}
        return np.array([index[sample.label] for sample in self.samples], np.int64)

    def shorter_sides_px(self) -> list[int]:
        """Of the pictures that could be learnt from: of the training split, and of none."""
        files = [sample.file for sample in self.samples if sample.split in {None, "train"}]
        return [min(file.width_px, file.height_px) for file in files]

    def part(self, split: Split | None) -> Self:
        """The samples of one split (None: of none), with all classes and without `skipped`."""
        chosen = tuple(sample for sample in self.samples if sample.split == split)
        return type(self)(self.root, self.classes, chosen, ())

    def measured(self) -> Self:
        """What a model is measured on: the test split, or all where there is none."""
        has_test = any(sample.split == "test" for sample in self.samples)
        return self.part("test") if has_test else self

    def counts(self) -> dict[str, int]:
        """Samples of each class, in the order of `classes`, zeros included."""
        found = Counter(sample.label for sample in self.samples)
        return {name: found[name] for name in self.classes}

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        found = Counter(sample.split for sample in self.samples)
        splits = "".join(f", {found[split]:,} {split}" for split in SPLITS if found[split])
        skipped = f", {len(self.skipped):,} skipped" if self.skipped else ""
        return f"Dataset({self.root!r}: {len(self):,} images, {len(self.classes)} classes{splits}{skipped})"


def check_trainable(dataset: Dataset) -> None:
    """Refuse what can't be learnt from; a class missing from a split is fine.

    Raises:
        TooFewImagesError: With every problem: one class only, a class with fewer than two images to
            train on, a class without readable images.
    """
    training: dict[str, list[str]] = {name: [] for name in dataset.classes}
    elsewhere: dict[str, set[str]] = defaultdict(set)
    for sample in dataset.samples:
        if sample.split in (None, "train"):
            training[sample.label].append(sample.file.path)
        else:
            elsewhere[sample.label].add(str(sample.split))
    problems = []
    usable = [name for name, paths in training.items() if paths]
    if len(usable) == 1:
        problems.append(f"only one class has training images, {usable[0]!r}; a classifier needs two or more")
    for name, paths in training.items():
        if len(paths) == 1:
            problems.append(
                f"class {name!r} has only 1 training image, {paths[0]}; add more (2 at the least)"
            )
        elif not paths and elsewhere[name]:
            places = " and ".join(split for split in SPLITS if split in elsewhere[name])
            problems.append(f"class {name!r} appears only in {places}; add training images of it")
        elif not paths:
            problems.append(f"class {name!r} has no readable images{_example(dataset, name)}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        lines += f"\n  and {more:,} more" if more > 0 else ""
        raise TooFewImagesError(f"{dataset.root} can't be trained on:{lines}")


def check_nothing_skipped(root: str, skipped: Sequence[Skipped]) -> None:
    """What `strict` asks for.

    Raises:
        UnreadableImagesError: Something was skipped; lists it.
    """
    if skipped:
        them = "it" if len(skipped) == 1 else "them"
        raise UnreadableImagesError(
            f"{len(skipped):,} of the files in {root} can't be used, and strict reading was asked for. "
            f"Mend or remove {them}, or read without strict:{_list_skipped(skipped, _SHOWN_IF_STRICT)}"
        )


def find_conflicts(dataset: Dataset) -> list[Conflict]:
    """Images with the same bytes under different labels."""
    return [
        Conflict(key, tuple(s.file.path for s in copies), tuple(s.label for s in copies))
        for key, copies in _find_copies(dataset)
        if len({s.label for s in copies}) > 1
    ]


def find_exact_leaks(dataset: Dataset) -> list[Leak]:
    """Images with the same bytes in the test split and in what is trained or validated on."""
    return [
        Leak(key, tuple(s.file.path for s in copies), tuple(s.split for s in copies))
        for key, copies in _find_copies(dataset)
        if len({s.split == "test" for s in copies}) > 1
    ]


def _find_copies(dataset: Dataset) -> list[tuple[str, list[Sample]]]:
    """Keys that several samples share, by first occurrence."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        samples[sample.file.key].append(sample)
    return [(key, copies) for key, copies in samples.items() if len(copies) > 1]


def _list_source(source: Path, progress: Progress) -> _Listing:
    """List a folder or a manifest."""
    try:
        is_folder = source.is_dir()
        is_there = is_folder or source.exists()
    except OSError as error:
        raise DatasetNotFoundError(
            f"Can't read {source}: {(error.strerror or str(error)).lower()}. Check its name and permissions."
        ) from error
    if is_folder:
        with progress.stage("Listing images", None) as advance:
            return _list_folder(source, advance)
    if not is_there:
        raise DatasetNotFoundError(_explain_missing(source))
    if source.suffix.lower() not in MANIFEST_SUFFIXES or not source.is_file():  # a pipe has no file's end
        raise DatasetNotFoundError(
            f"{source} is neither a folder nor a manifest. "
            "Name a folder with one folder of images per class, or a .csv or .parquet file."
        )
    return _list_manifest(source)


def _list_manifest(source: Path) -> _Listing:
    rows = read_manifest(source)
    items = [_Listed(row.path, _same_form(row.label), row.split, row.group) for row in rows]
    return _Listing(str(source), frozenset(item.label for item in items), items, [])


def _list_folder(source: Path, advance: Callable[[int], None]) -> _Listing:
    root = str(source)
    try:
        top = list_folders(root)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DatasetNotFoundError(
            f"Can't read the folder {root}: {reason}. Check its permissions."
        ) from error
    splits = _find_splits(root, top)
    paths, skipped = find_images(source)
    advance(len(paths))
    if not splits:
        _check_layout(root, top, paths, skipped)
    classes = {split: _names_inside(root, split) for split in splits} if splits else {"": top}
    depth = 2 if splits else 1  # of a class's own files; those above, a README say, are none of its pictures
    skipped = [
        skip for skip in skipped if skip.reason != NO_IMAGE or skip.path[len(root) :].count(os.sep) > depth
    ]
    labels = frozenset(_same_form(name) for names in classes.values() for name in names)
    items = []
    prefix = os.path.join(root, "")  # noqa: PTH118 (with a separator at its end)
    for path in paths:
        item = _place(path, path[len(prefix) :].split(os.sep), splits)  # noqa: PTH206 (10 times faster)
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            items.append(item)
    return _Listing(root, labels, items, skipped)


def _place(path: str, parts: list[str], splits: dict[str, Split]) -> _Listed | Skipped:
    """Split and label of an image from its path below the root."""
    if splits and len(parts) > 1 and parts[0] not in splits:
        return Skipped(path, f"not inside a split folder ({', '.join(splits)})")
    depth = 1 if splits else 0
    if len(parts) < depth + 2:
        return Skipped(path, "not inside a class folder")
    return _Listed(path, _same_form(parts[depth]), splits.get(parts[0]), None)


def _find_splits(root: str, names: Iterable[str]) -> dict[str, Split]:
    """Folders that are splits, by name; none unless `train` or `test` has class folders."""
    splits = {name: split for name in names if (split := parse_split(name)) is not None}
    holders = (name for name, split in splits.items() if split != "val")
    return splits if any(_names_inside(root, name) for name in holders) else {}


def _names_inside(root: str, name: str) -> list[str]:
    try:
        return list_folders(os.path.join(root, name))  # noqa: PTH118 (root is text throughout)
    except OSError:
        return []  # find_images reports it


def _check_layout(root: str, folders: list[str], paths: list[str], skipped: list[Skipped]) -> None:
    """Refuse images without class folders before all of them are read.

    Raises:
        TooFewImagesError: There are no images, all lie in the root, or directly in split folders.
    """
    if not paths:
        raise TooFewImagesError(f"There are no images in {root}. {_layout(root)}{_list_skipped(skipped)}")
    if not folders:
        have = "1 image has" if len(paths) == 1 else f"{len(paths):,} images have"
        raise TooFewImagesError(f"{have} no class: {root} holds no folders. {_layout(root)}")
    if all(parse_split(name) for name in folders):
        raise TooFewImagesError(
            f"The images in {root} have no class: it holds {', '.join(folders)}, but no train or test folder "
            f"with class folders in it. {_layout(f'{root}{os.sep}train')}"
        )


def _check_any(source: Path, samples: list[Sample], skipped: list[Skipped]) -> None:
    if not samples:
        advice = "" if source.is_file() else f" {_layout(str(source))}"
        raise TooFewImagesError(f"No image in {source} can be used.{advice}{_list_skipped(skipped)}")


def _explain_missing(source: Path) -> str:
    """Name what is missing, and what stands beside it under a similar name."""
    parent = source.parent
    if not parent.is_dir():
        return f"There is no {source}: its parent folder doesn't exist either. Check the path."
    try:
        beside = [entry.name for entry in parent.iterdir()]
    except OSError:
        beside = []
    by_fold = {name.casefold(): name for name in beside}
    near = difflib.get_close_matches(source.name.casefold(), by_fold, n=3)
    advice = f"Did you mean {' or '.join(by_fold[name] for name in near)}?" if near else "Check the path."
    return f"There is no {source}. {advice}"


def _example(dataset: Dataset, label: str) -> str:
    """The first skipped file that seems to belong to a class."""
    for skip in dataset.skipped:
        if label in (_same_form(part) for part in Path(skip.path).parts):
            return f" (skipped: {skip.path}: {skip.reason}); mend that, or remove its folder"
    return "; add some, or remove its folder"


def _list_skipped(skipped: Sequence[Skipped], shown: int = _SHOWN) -> str:
    lines = "".join(f"\n  {item.path}: {item.reason}" for item in skipped[:shown])
    more = len(skipped) - shown
    return lines + (f"\n  and {more:,} more" if more > 0 else "")


def _layout(folder: str) -> str:
    return _LAYOUT.format(root=folder)


def _same_form(label: str) -> str:
    """One form of accented letters: macOS and Linux may write the same folder name differently."""
    return unicodedata.normalize("NFC", label)
