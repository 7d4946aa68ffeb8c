"""Folders, classes, copies and sets that can't be learnt from, or only with a warning."""

import csv
import json
import shutil
from pathlib import Path

from PIL import Image

from support import Runner, paint, paint_set, pictures, refused, went_well


def test_a_missing_folder_is_named_with_its_neighbours(headstart: Runner, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = headstart("train", "potos", cwd=tmp_path)
    refused(done, r"There is no \S+/potos\. Did you mean photos\?")


def test_a_missing_parent_folder_is_told(call: Runner) -> None:
    refused(call("train", "no/such"), r"There is no \S+/no/such: its parent folder doesn't exist")


def test_an_empty_folder_shows_the_layout_wanted(call: Runner, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    layout = (
        r"There are no images in \S+/empty\. Put the images into one folder per class, such as \S+/cat/1\.jpg"
    )
    refused(call("train", "empty"), layout)


def test_images_without_class_folders_are_told_apart_from_none(call: Runner, tmp_path: Path) -> None:
    paint(tmp_path / "flat" / "1.png", 1)
    refused(call("train", "flat"), r"1 image has no class: \S+/flat holds no folders\. Put the images")


def test_one_class_only(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "one", cats=4)
    refused(
        call("train", "one"), r"only one class has training images, 'cats'; a classifier needs two or more"
    )


def test_a_class_with_one_image_and_one_with_none_are_told_together(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "few", a=3, b=3, c=1, d=0)
    refused(
        call("train", "few"),
        r"class 'c' has only 1 training image, \S+/few/c/0\.png; add more \(2 at the least\)",
        r"class 'd' has no readable images; add some, or remove its folder",
    )


def test_a_class_that_stands_only_in_test(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "split" / "train", a=3, b=3)
    paint_set(tmp_path / "split" / "test", a=1, b=1, c=2)
    refused(call("train", "split"), r"class 'c' appears only in test; add training images of it")


def test_a_file_that_is_neither_folder_nor_manifest(call: Runner, tmp_path: Path) -> None:
    paint(tmp_path / "cat.png", 1)
    refused(call("train", "cat.png"), r"\S+/cat\.png is neither a folder nor a manifest\. Name a folder")


def test_the_same_image_under_two_labels_is_a_conflict(call: Runner, pets: Path) -> None:
    both = pictures(pets / "cats")[0]
    shutil.copy(both, pets / "dogs" / "same.jpg")
    went_well(
        call("train", "pets"),
        r"! conflict: the same image is labelled 'cats' and 'dogs'; remove the wrong one: "
        rf"{both}, {pets}/dogs/same\.jpg",
        r"! 1 training image repeats others or belongs to their group; each group stays in one fold",
    )
    (conflict,) = json.loads(Path("runs/pets-probe-1/metrics.json").read_text())["data"]["conflicts"]
    assert conflict["labels"] == ["cats", "dogs"]


def test_copies_in_train_and_test_are_leakage_resized_ones_too(
    call: Runner, small_set: Path, tmp_path: Path
) -> None:
    for name in ("cats", "dogs"):
        files = sorted((small_set / name).iterdir())
        for split, some in (("train", files[:15]), ("test", files[15:])):
            (tmp_path / "split" / split / name).mkdir(parents=True)
            for path in some:
                shutil.copy(path, tmp_path / "split" / split / name)
    clean = went_well(call("train", "split"), "of 10 test images right")
    assert "leakage" not in clean
    first, second = sorted((tmp_path / "split" / "train" / "cats").iterdir())[:2]
    shutil.copy(first, tmp_path / "split" / "test" / "cats" / "copy.jpg")
    went_well(
        call("train", "split"),
        r"! leakage: 1 test image has a copy, a near-duplicate or one of the same group in training, so the "
        rf"test number flatters; take them out of either: {tmp_path}/split/test/cats/copy\.jpg",
    )
    with Image.open(second) as image:
        half = image.convert("RGB").resize((image.width * 7 // 10, image.height * 7 // 10))
        half.save(tmp_path / "split" / "test" / "cats" / "small.jpg", quality=80)
    went_well(
        call("train", "split"), r"leakage: 2 test images have a copy, .*/cats/copy\.jpg, \S+/cats/small\.jpg"
    )
    leaked = json.loads(Path("runs/split-probe-3/metrics.json").read_text())["data"]["leaked"]
    assert [Path(path).name for path in leaked] == ["copy.jpg", "small.jpg"]


def test_a_class_of_identical_copies_is_told_to_be_one_picture(call: Runner, pets: Path) -> None:
    first, *others = pictures(pets / "cats")
    for path in others:
        shutil.copy(first, path)
    went_well(
        call("train", "pets"),
        r"! class 'cats' has one picture in effect: all of its 20 training images are copies, .* so "
        r"cross-validation can't tell how well it is found\. Add different images",
        r"! 19 training images repeat others",
    )


def test_copies_of_one_picture_in_all_classes_leave_nothing_to_measure(call: Runner, pets: Path) -> None:
    first, *others = pictures(pets)
    for path in others:
        shutil.copy(first, path)
    refused(
        call("train", "pets"),
        r"All training images of \S+/pets belong to one group of copies .* Add different",
    )


def test_three_images_a_class_with_five_folds(call: Runner, pets: Path) -> None:
    for name in ("cats", "dogs"):
        for path in pictures(pets / name)[3:]:
            path.unlink()
    went_well(
        call("train", "pets", "--folds", "5"),
        r"of 6 images right",
        r"With 6 images, one more or fewer right moves the accuracy by 16\.7 points",
    )


def test_thirty_classes_of_three_images(
    headstart: Runner, call: Runner, photo_sets: Path, tmp_path: Path
) -> None:
    source = sorted((photo_sets / "cats_dogs" / "train" / "cats").iterdir())[20:110]
    for number, path in enumerate(source):
        (tmp_path / "many" / f"cat {number // 3}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "many" / f"cat {number // 3}" / path.name)
    # which of the two comes depends on how wide the interval is, and so, narrowly, on the runtime
    too_few = (
        r"has only 3 images: .* 30 classes have fewer than 30\.|one more or fewer right moves the accuracy"
    )
    went_well(call("train", "many"), r"of 90 images right", too_few)
    done = call("predict", "runs/many-probe-1", "many", "--format", "csv", "--top", "30")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 90
    assert all(row["class_30"] for row in rows)


def test_with_very_many_classes_cross_validation_is_not_nested_and_says_so(
    call: Runner, photo_sets: Path, tmp_path: Path
) -> None:
    source = sorted((photo_sets / "cats_dogs" / "train" / "cats").iterdir())[20:122]
    for number, path in enumerate(source):
        (tmp_path / "more" / f"cat {number // 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "more" / f"cat {number // 2}" / path.name)
    went_well(call("train", "more"), r"of 102 images right .* cross-validation \(not nested\)")
    run = tmp_path / "runs" / "more-probe-1"
    assert "Measured by cross-validation (not nested)" in (run / "README.md").read_text()
    assert json.loads((run / "metrics.json").read_text())["nested"] is False


def test_one_test_image_is_counted_in_the_singular(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "one" / "cats").mkdir(parents=True)
    shutil.copy(pictures(small_set)[0], tmp_path / "one" / "cats")
    went_well(call("evaluate", pets_run, "one"), r"of 1 test image right")
