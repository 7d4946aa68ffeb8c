"""Data sets from folders and manifests, and what is wrong with them."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.dataset import (
    Dataset,
    Sample,
    check_nothing_skipped,
    check_trainable,
    find_conflicts,
    find_exact_leaks,
)
from headstart.data.files import ImageFile, Skipped
from headstart.errors import DatasetNotFoundError, ManifestError, TooFewImagesError, UnreadableImagesError


def write_images(root: Path, *names: str) -> None:
    """One PNG a name, no two with the same bytes."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        color = (number, len(list(root.rglob("*"))), 0)
        Image.new("RGB", (4, 3), color).save(path, "PNG")


def relative(dataset: Dataset) -> list[tuple[str, str, str | None]]:
    return [(os.path.relpath(s.file.path, dataset.root), s.label, s.split) for s in dataset.samples]


def test_folder_per_class(tmp_path: Path) -> None:
    write_images(tmp_path, "10/b.png", "2/a.png", "2/deeper/still/c.png", "Zebra/d.png", "ant/e.png")
    dataset = Dataset.read(tmp_path)
    assert dataset.classes == ("2", "10", "ant", "Zebra")
    assert relative(dataset) == [
        ("2/a.png", "2", None),
        ("2/deeper/still/c.png", "2", None),
        ("10/b.png", "10", None),
        ("ant/e.png", "ant", None),
        ("Zebra/d.png", "Zebra", None),
    ]
    assert dataset.class_indices().tolist() == [0, 0, 1, 2, 3]
    assert dataset.class_indices().dtype == np.int64
    assert dataset.counts() == {"2": 2, "10": 1, "ant": 1, "Zebra": 1}
    assert dataset.skipped == ()
    assert len(dataset) == 5
    assert repr(dataset) == f"Dataset('{tmp_path}': 5 images, 4 classes)"


def test_split_folders(tmp_path: Path) -> None:
    write_images(tmp_path, "Train/cat/a.png", "Train/dog/b.png", "validation/cat/c.png", "valid/cat/d.png")
    write_images(tmp_path, "TEST/bird/e.png", "TEST/loose.png", "loose.png", "extra/cat/f.png")
    dataset = Dataset.read(str(tmp_path))
    assert dataset.classes == ("bird", "cat", "dog")
    assert relative(dataset) == [
        ("TEST/bird/e.png", "bird", "test"),
        ("Train/cat/a.png", "cat", "train"),
        ("Train/dog/b.png", "dog", "train"),
        ("valid/cat/d.png", "cat", "val"),
        ("validation/cat/c.png", "cat", "val"),
    ]
    assert dataset.skipped == (
        Skipped(f"{tmp_path}/extra/cat/f.png", "not inside a split folder (TEST, Train, valid, validation)"),
        Skipped(f"{tmp_path}/loose.png", "not inside a class folder"),
        Skipped(f"{tmp_path}/TEST/loose.png", "not inside a class folder"),
    )
    assert repr(dataset).endswith("5 images, 3 classes, 2 train, 2 val, 1 test, 3 skipped)")


def test_part_keeps_the_classes(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a/1.png", "train/b/2.png", "test/b/3.png")
    part = Dataset.read(tmp_path).part("test")
    assert part.classes == ("a", "b")
    assert part.class_indices().tolist() == [1]
    assert part.counts() == {"a": 0, "b": 1}
    assert len(part.part("train")) == 0


def test_one_split_alone_is_a_folder_per_class(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a/1.png", "train/b/2.png", "test/b/3.png")
    assert relative(Dataset.read(tmp_path / "test")) == [("b/3.png", "b", None)]


def test_train_without_test_is_fine(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png")
    dataset = Dataset.read(tmp_path)
    assert {sample.split for sample in dataset.samples} == {"train"}
    check_trainable(dataset)


def test_train_can_be_a_class(tmp_path: Path) -> None:
    write_images(tmp_path, "train/1.png", "bus/2.png", "val/3.png")
    assert Dataset.read(tmp_path).classes == ("bus", "train", "val")


def test_loose_images_beside_classes_are_mentioned(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "loose.png")
    dataset = Dataset.read(tmp_path)
    assert len(dataset) == 1
    assert dataset.skipped == (Skipped(f"{tmp_path}/loose.png", "not inside a class folder"),)


def test_bad_files_are_skipped_and_strict_refuses_them(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "empty.jpg").touch()
    for number in range(11):
        (tmp_path / "b" / f"text{number}.jpg").write_text("text")
    dataset = Dataset.read(tmp_path)
    assert len(dataset) == 2
    assert len(dataset.skipped) == 12
    with pytest.raises(
        UnreadableImagesError, match=r"12 of the files .*(?s:.*)empty\.jpg: zero bytes"
    ) as caught:
        Dataset.read(tmp_path, strict=True)
    assert len(str(caught.value).splitlines()) == 13


def test_strict_accepts_a_clean_folder(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png")
    assert len(Dataset.read(tmp_path, strict=True)) == 1


def test_linked_class_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", "1.png")
    write_images(tmp_path / "photos", "a/2.png")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "b_loop").symlink_to(tmp_path / "photos" / "b_loop")
    (tmp_path / "photos" / "a" / "up").symlink_to(tmp_path / "photos")
    dataset = Dataset.read(tmp_path / "photos")
    assert dataset.counts() == {"a": 1, "b": 1}
    assert [skip.reason for skip in dataset.skipped] == [
        "a link that leads back to a folder above it",
        "link loop",
    ]


def test_accents_written_in_two_ways_are_one_class(tmp_path: Path) -> None:
    for split, form in (("train", "NFC"), ("test", "NFD")):
        write_images(tmp_path, f"{split}/{unicodedata.normalize(form, 'café')}/{split}.png")
    dataset = Dataset.read(tmp_path)
    assert dataset.classes == (unicodedata.normalize("NFC", "café"),)
    assert dataset.class_indices().tolist() == [0, 0]


def test_missing_folder_suggests_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "Photos").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"There is no .*photo\. Did you mean Photos\?"):
        Dataset.read(tmp_path / "photo")
    with pytest.raises(DatasetNotFoundError, match=r"There is no .*zzz\. Check the path\."):
        Dataset.read(tmp_path / "zzz")
    with pytest.raises(DatasetNotFoundError, match="parent folder doesn't exist either"):
        Dataset.read(tmp_path / "no" / "photos")
    with pytest.raises(DatasetNotFoundError, match=r"There is no .*images\.csv"):
        Dataset.read(tmp_path / "images.csv")
    with pytest.raises(DatasetNotFoundError, match=r"Can't read .*: file name too long"):
        Dataset.read(tmp_path / ("x" * 300))


def test_a_file_that_is_no_manifest(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    with pytest.raises(DatasetNotFoundError, match="neither a folder nor a manifest"):
        Dataset.read(tmp_path / "a.png")


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetNotFoundError, match=r"Can't read the folder .*: permission denied\. Check"):
        Dataset.read(tmp_path)


def test_unreadable_class_folder_is_skipped_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "a/1.png", "a/2.png", "b/3.png", "b/4.png", "locked/5.png")
    scandir = os.scandir

    def refuse(path: str) -> "os._ScandirIterator[str]":
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = Dataset.read(tmp_path)
    assert dataset.classes == ("a", "b", "locked")
    with pytest.raises(
        TooFewImagesError, match=r"class 'locked' has no readable images \(.*: permission denied"
    ):
        check_trainable(dataset)


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(
        TooFewImagesError, match=r"There are no images in .*one folder per class, such as .*/cat/"
    ):
        Dataset.read(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.heic").touch()
    with pytest.raises(
        TooFewImagesError, match=r"There are no images(?s:.*)1\.heic: \.heic is not supported"
    ):
        Dataset.read(tmp_path)
    (tmp_path / "a" / "1.jpg").touch()
    with pytest.raises(TooFewImagesError, match=r"No image in .* can be used(?s:.*)1\.jpg: zero bytes"):
        Dataset.read(tmp_path)


def test_images_without_class_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "flat", "1.png", "2.png")
    with pytest.raises(
        TooFewImagesError, match=r"2 images have no class: .*flat holds no folders\. .* one folder per class"
    ):
        Dataset.read(tmp_path / "flat")
    write_images(tmp_path / "splits", "train/1.png", "test/2.png")
    with pytest.raises(
        TooFewImagesError, match=r"no class: it holds test, train, but .*splits/train/cat/1\.jpg"
    ):
        Dataset.read(tmp_path / "splits")
    write_images(tmp_path / "val_only", "val/a/1.png")
    with pytest.raises(TooFewImagesError, match=r"no class: it holds val, but no train or test folder"):
        Dataset.read(tmp_path / "val_only")
    write_images(tmp_path / "beside", "1.png")
    (tmp_path / "beside" / "a").mkdir()
    with pytest.raises(TooFewImagesError, match=r"No image in .*(?s:.*)1\.png: not inside a class folder"):
        Dataset.read(tmp_path / "beside")


def test_strict_lists_what_only_decoding_shows_beside_the_rest(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "a/2.png", "b/3.png")
    noise = tmp_path / "a" / "2.png"
    Image.effect_noise((64, 64), 80).save(noise)
    os.truncate(noise, noise.stat().st_size // 2)
    assert len(Dataset.read(tmp_path, strict=True)) == 3  # nothing to refuse yet, and nothing is decoded
    (tmp_path / "b" / "4.png").touch()
    listed = r"2 of the files .*\n  \S+/b/4\.png: zero bytes\n  \S+/a/2\.png: truncated$"
    with pytest.raises(UnreadableImagesError, match=listed):
        Dataset.read(tmp_path, strict=True)


def test_strict_lists_a_hundred() -> None:
    with pytest.raises(UnreadableImagesError, match=r"1,234 of the files(?s:.*)/99: bad\n  and 1,134 more$"):
        check_nothing_skipped("/photos", [Skipped(f"/{n}", "bad") for n in range(1234)])


def test_manifest(tmp_path: Path) -> None:
    write_images(tmp_path, "x/1.png", "2.png", "3.png")
    (tmp_path / "bad.png").touch()
    (tmp_path / "m.csv").write_text(
        "path,label,split,group\nx/1.png,10,train,g\n2.png,2,test,\nbad.png,2,,\n3.png,2,train,\n"
    )
    dataset = Dataset.read(tmp_path / "m.csv")
    assert dataset.root == str(tmp_path / "m.csv")
    assert dataset.classes == ("2", "10")
    assert [(s.label, s.split, s.group) for s in dataset.samples] == [
        ("10", "train", "g"),
        ("2", "test", None),
        ("2", "train", None),
    ]
    assert dataset.skipped == (Skipped(f"{tmp_path}/bad.png", "zero bytes"),)


def test_manifest_of_which_nothing_exists(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label\nimg/1.png,a\nimg/2.png,b\n")
    with pytest.raises(ManifestError, match=rf"2 problems(?s:.*)there is no img/2\.png in {tmp_path}$"):
        Dataset.read(tmp_path / "m.csv")
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "1.png").touch()
    (tmp_path / "img" / "2.png").touch()
    with pytest.raises(TooFewImagesError, match=r"No image in .*m\.csv can be used\.\n.*1\.png: zero bytes"):
        Dataset.read(tmp_path / "m.csv")


def make_dataset(*rows: tuple[str, str, str | None]) -> Dataset:
    """Rows of key, label and split; paths are /0, /1, and so on."""
    samples = tuple(
        Sample(ImageFile(f"/{n}", key, "PNG", 1, 1, 1), label, split, None)  # type: ignore[arg-type]
        for n, (key, label, split) in enumerate(rows)
    )
    return Dataset("/photos", tuple(sorted({label for _, label, _ in rows})), samples, ())


def test_one_class_cannot_be_trained_on() -> None:
    with pytest.raises(
        TooFewImagesError, match="only one class has training images, 'cat'; a classifier needs two"
    ):
        check_trainable(make_dataset(("1", "cat", None), ("2", "cat", None)))


def test_every_problem_of_training_is_told(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a/1.png", "train/b/2.png", "train/b/3.png", "test/c/4.png", "val/c/5.png")
    for name in ("empty", "damaged"):
        (tmp_path / "train" / name).mkdir()
    x = tmp_path / "train" / "damaged" / "x.png"
    x.touch()
    with pytest.raises(TooFewImagesError, match="can't be trained on") as caught:
        check_trainable(Dataset.read(tmp_path))
    skipped = f"(skipped: {x}: zero bytes)"
    assert str(caught.value).splitlines()[1:] == [
        f"  class 'a' has only 1 training image, {tmp_path}/train/a/1.png; add more (2 at the least)",
        "  class 'c' appears only in val and test; add training images of it",
        f"  class 'damaged' has no readable images {skipped}; mend that, or remove its folder",
        "  class 'empty' has no readable images; add some, or remove its folder",
    ]


def test_many_problems_of_training_are_counted() -> None:
    with pytest.raises(TooFewImagesError, match=r"class 'c19' has only 1 (?s:.*)\n  and 80 more$"):
        check_trainable(make_dataset(*((f"{n}", f"c{n:02}", None) for n in range(100))))


def test_a_split_may_lack_a_class() -> None:
    rows = [(f"{n}", "ab"[n % 2], "train") for n in range(4)]
    check_trainable(make_dataset(*rows, ("9", "a", "test"), ("8", "b", "val")))


def test_conflicts() -> None:
    dataset = make_dataset(
        ("x", "a", None), ("y", "a", None), ("x", "b", None), ("z", "b", None), ("z", "b", None)
    )
    (conflict,) = find_conflicts(dataset)
    assert (conflict.key, conflict.paths, conflict.labels) == ("x", ("/0", "/2"), ("a", "b"))


def test_exact_leaks() -> None:
    dataset = make_dataset(
        ("x", "a", "train"),
        ("x", "b", "test"),
        ("y", "a", "train"),
        ("y", "a", "val"),
        ("z", "a", "test"),
        ("z", "a", "test"),
        ("w", "a", "test"),
        ("w", "a", "val"),
    )
    leaks = find_exact_leaks(dataset)
    assert [(leak.key, leak.paths, leak.splits) for leak in leaks] == [
        ("x", ("/0", "/1"), ("train", "test")),
        ("w", ("/6", "/7"), ("test", "val")),
    ]
