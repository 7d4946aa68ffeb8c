"""`headstart check` finds what was planted, writes page and review, and refuses what makes no sense."""

import csv
import json
import os
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from headstart.data.dataset import Dataset
from support import Runner, files_below, paint, paint_set, refused, small_disk, went_well

Findings = dict[str, list[dict[str, Any]]]

EVIL = "<script>alert(1)<|script>".replace("|", "\u2215")


def find(done: Any) -> Findings:
    found: Findings = defaultdict(list)
    for finding in json.loads(done.stdout)["findings"]:
        assert set(finding) == {"kind", "severity", "files", "score", "message", "advice"}
        assert 0 <= finding["score"] <= 1
        found[finding["kind"]].append(finding)
    return found


def named(findings: Findings, kind: str) -> list[list[str]]:
    return [[Path(file).name for file in finding["files"]] for finding in findings[kind]]


@pytest.fixture
def planted(photo_sets: Path, tmp_path: Path) -> Path:
    """Real photographs, 60 for training and 20 for the test, and one of each thing that spoils them."""
    root = tmp_path / "planted"
    for part, count in (("train", 30), ("test", 10)):
        for name in ("cats", "dogs"):
            (root / part / name).mkdir(parents=True)
            for path in sorted((photo_sets / "cats_dogs" / part / name).iterdir())[:count]:
                shutil.copy(path, root / part / name)
    cats = sorted((root / "train" / "cats").iterdir())
    with Image.open(cats[0]) as image:
        image.convert("RGB").resize((round(0.7 * image.width), round(0.7 * image.height))).save(
            root / "train" / "cats" / "near.jpg"
        )
    shutil.copy(cats[1], root / "test" / "cats" / "leak.jpg")
    shutil.copy(cats[2], root / "train" / "dogs" / "conflict.jpg")
    shutil.copy(cats[3], root / "train" / "cats" / "twin.jpg")
    cats[4].rename(root / "train" / "dogs" / "mislabelled.jpg")
    (root / "train" / "cats" / "truncated.jpg").write_bytes(cats[5].read_bytes()[:4000])
    (root / "train" / "cats" / "empty.jpg").write_bytes(b"")
    with Image.open(cats[6]) as image:
        image.convert("RGB").save(root / "train" / "cats" / "named.png", "JPEG")
        image.convert("L").save(root / "train" / "cats" / "grey.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGB").crop((9, 9, 150, 120)).save(root / "train" / "cats" / "turned.jpg", exif=exif)
        image.convert("RGB").resize((8, 8)).resize((300, 300)).save(root / "train" / "cats" / "blurred.jpg")
        image.convert("RGB").crop((0, 0, 150, 40)).save(root / "train" / "cats" / "long.jpg")
    Image.new("RGB", (200, 200), (3, 3, 3)).save(root / "train" / "dogs" / "black.jpg")
    Image.new("RGB", (200, 200), (252, 253, 254)).save(root / "train" / "dogs" / "white.jpg")
    return root


def test_what_was_planted_is_found(call: Runner, planted: Path) -> None:
    before = files_below(planted)
    done = call("check", planted, "--json")
    assert done.returncode == 1
    found = find(done)
    assert named(found, "leak")[0][0] == "leak.jpg"
    assert "points of test accuracy (95 % interval" in found["leak"][0]["message"]
    assert ["conflict.jpg"] in [
        [f for f in files if f == "conflict.jpg"] for files in named(found, "conflict")
    ]
    assert any("near.jpg" in files for files in named(found, "near_duplicate"))
    assert any("twin.jpg" in files for files in named(found, "exact_duplicate"))
    assert ["mislabelled.jpg"] in named(found, "label_error")
    assert named(found, "truncated") == [["truncated.jpg"]]
    assert named(found, "unreadable") == [["empty.jpg"]]
    for kind, file in {
        "wrong_extension": "named.png",
        "greyscale": "grey.jpg",
        "rotated": "turned.jpg",
        "blurry": "blurred.jpg",
        "odd_aspect": "long.jpg",
        "dark": "black.jpg",
        "bright": "white.jpg",
        "no_information": "black.jpg",
    }.items():
        assert [file] in named(found, kind), kind
    severities = [finding["severity"] for finding in json.loads(done.stdout)["findings"]]
    assert severities == sorted(severities, key=("error", "warning", "info").index)
    assert {f["severity"] for f in found["leak"] + found["conflict"]} == {"error"}
    assert files_below(planted) == before


def test_clean_photographs_pass(call: Runner, photo_sets: Path, tmp_path: Path) -> None:
    """Enough of them that one odd picture, doubted on some processors, is less than a fiftieth."""
    clean = tmp_path / "clean"
    for name in ("cats", "dogs"):
        (clean / name).mkdir(parents=True)
        for path in sorted((photo_sets / "cats_dogs" / "train" / name).iterdir())[:60]:
            shutil.copy(path, clean / name)
    done = call("check", clean, "--json")
    assert done.returncode == 0, done.stdout
    assert not {"leak", "conflict", "shortcut", "one_class"} & find(done).keys()
    assert json.loads(done.stdout)["notes"] == ["There is no test split, so nothing can have leaked into it."]


def test_the_review_becomes_a_manifest_that_train_takes(call: Runner, planted: Path, tmp_path: Path) -> None:
    before = files_below(planted)
    assert call("check", planted, "--fix", "review.csv").returncode == 1
    with Path("review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows)
    for row in rows:
        name = Path(row["path"]).name
        row["decision"] = {"mislabelled.jpg": "relabel", "leak.jpg": "Drop", "conflict.jpg": "drop"}.get(
            name, ""
        )
        assert name != "mislabelled.jpg" or row["new_label"] == "cats"
    with Path("review.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = call("check", "--apply", "review.csv", "--json")
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest == "review-manifest.csv"
    decided = {Path(s.file.path).name: s for s in Dataset.read(manifest).samples}
    assert decided["mislabelled.jpg"].label == "cats"
    assert decided["mislabelled.jpg"].split == "train"
    assert not {"leak.jpg", "conflict.jpg"} & decided.keys()
    assert files_below(planted) == before
    assert call("train", manifest, "--out", "run").returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decision": "maybe"}, r"row 2: the decision 'maybe' is none of keep, relabel, drop"),
        ({"decision": "relabel", "new_label": ""}, r"row 2: relabel \S+ as what\? Its new_label is empty"),
        ({"decision": "relabel", "new_label": "a1"}, r"no class is called 'a1'\. Did you mean 'a'\?"),
        ({"path": "gone.png"}, r"gone\.png is none of the pictures of \S+/set"),
        ({"data": "elsewhere"}, r"review\.csv is of data that have moved\. There is no \S+/elsewhere"),
    ],
)
def test_a_review_that_cannot_be_applied(
    call: Runner, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    root = paint_set(tmp_path / "set", a=2, b=2)
    row = {"decision": "", "new_label": "b", "path": str(root / "a" / "0.png"), "data": str(root), **change}
    with (tmp_path / "review.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    refused(call("check", "--apply", "review.csv"), message)
    assert not (tmp_path / "review-manifest.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            r"is no review: its header lacks decision, new_label, path, data\. Name the CSV that --fix wrote",
        ),
        ("decision,path,data\ndrop,x,y\n", r"is no review: its header lacks new_label\."),
        ("decision,new_label,path,data\n", r"holds no picture: check found nothing to decide"),
        ("decision,new_label,path,data\ndrop,,ROOT/a/0.png\n", r"column data: .* must stand there, not 0"),
        ("decision,new_label,path,data\ndrop,,,ROOT\n", r"row 2: the path is empty"),
        (
            "decision,new_label,path,data\ndrop,,ROOT/a/0.png,ROOT\nkeep,,ROOT/a/0.png,ROOT\n",
            r"row 3: ROOT/a/0\.png was decided otherwise above",
        ),
        (
            "decision,new_label,path,data\nmaybe,,ROOT/a/0.png,ROOT\nrelabel,,ROOT/a/1.png,ROOT\n",
            r"row 2: the decision 'maybe' is none of .* row 3: relabel ROOT/a/1\.png as what\?",
        ),
        (
            "".join(
                [
                    "decision,new_label,path,data\n",
                    *(f"drop,,ROOT/{c}/{k}.png,ROOT\n" for c in "ab" for k in (0, 1)),
                ]
            ),
            r"every picture would be dropped",
        ),
    ],
)
def test_a_review_that_was_damaged(call: Runner, tmp_path: Path, text: str, message: str) -> None:
    root = paint_set(tmp_path / "set", a=2, b=2)
    (tmp_path / "review.csv").write_text(text.replace("ROOT", str(root)))
    refused(call("check", "--apply", "review.csv"), message.replace("ROOT", re.escape(str(root))))
    assert not (tmp_path / "review-manifest.csv").exists()


def test_a_review_saved_by_a_spreadsheet(call: Runner, tmp_path: Path) -> None:
    """Semicolons, a byte order mark, Windows line ends, a capital and a space: all of it is understood."""
    root = paint_set(tmp_path / "set", a=2, b=2)
    rows = [
        "decision;new_label;path;data",
        f"Relabel ;b;{root}/a/0.png;{root}",
        f"DROP;;{root}/b/1.png;{root}",
    ]
    (tmp_path / "review.csv").write_bytes(("\ufeff" + "\r\n".join(rows)).encode())
    went_well(call("check", "--apply", "review.csv", "--out", "new.csv"), r"Saved new\.csv: 3 images")
    done = call("check", "--apply", "review.csv", "--out", "my new.csv")
    went_well(done, r"headstart train 'my new\.csv'")  # as a shell takes it
    labels = {
        Path(s.file.path).relative_to(root).as_posix(): s.label for s in Dataset.read("new.csv").samples
    }
    assert labels == {"a/0.png": "b", "a/1.png": "a", "b/0.png": "b"}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("review.csv", r"--out \S*review\.csv would replace \S*review\.csv; name another file"),
        (".", r"is a folder; name a file in it"),
        ("new.txt", r"this becomes a \.csv file"),
    ],
)
def test_manifests_that_would_replace_something(call: Runner, tmp_path: Path, out: str, message: str) -> None:
    root = paint_set(tmp_path / "set", a=2, b=2)
    text = f"decision,new_label,path,data\ndrop,,{root}/a/0.png,{root}\n"
    (tmp_path / "review.csv").write_text(text)
    refused(call("check", "--apply", "review.csv", "--out", out), message)
    assert (tmp_path / "review.csv").read_text() == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check"], "Name the images to check, or a review to --apply"),
        (["check", "set", "--out", "x.csv"], "--out names what --apply writes"),
        (["check", "set", "--apply", "r.csv"], "--apply takes the data from the review"),
        (["check", "set", "--html", "."], r"\. is a folder; name a file in it, such as check\.html"),
        (["check", "set", "--fix", "review.txt"], r"review\.txt: this becomes a \.csv file"),
        (["check", "set", "--seed", "-1"], "--seed must lie between 0 and"),
        (["check", "--apply", "none.csv"], "Can't read the review none.csv: No such file"),
    ],
)
def test_words_that_make_no_sense(call: Runner, tmp_path: Path, words: list[str], message: str) -> None:
    paint_set(tmp_path / "set", a=2, b=2)
    refused(call(*words), message)


def test_names_are_text_on_the_page(call: Runner, tmp_path: Path) -> None:
    root = tmp_path / "<b>set"
    for name in ("<script>alert(1)<", "b"):
        for k in range(3):
            paint(root / name / f"{k}<img src=x onerror=alert(2)>.png", k)
    assert call("check", root, "--html", "page.html").returncode == 1  # the same pictures under two labels
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "data:image/jpeg;base64," in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)


def test_names_do_not_reach_the_terminal_raw(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", only=3)
    (tmp_path / "set" / "only" / "b\x1b[31m\n.jpg").write_bytes(b"nothing of a picture")
    done = call("check", "set")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert r"b\x1b[31m\n.jpg: " in done.stdout


def test_one_class(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", only=12)
    done = call("check", "set", "--json")
    found = find(done)
    assert done.returncode == 1
    assert "of one class only, 'only'" in found["one_class"][0]["message"]
    assert "can't be cross-validated" in " ".join(json.loads(done.stdout)["notes"])


def test_three_pictures(call: Runner, tmp_path: Path) -> None:
    paint_set(tmp_path / "set", a=2, b=1)
    done = call("check", "set", "--json")
    assert done.returncode == 1
    assert "'b' (1)" in find(done)["too_few_to_learn"][0]["message"]


def test_formats_that_tell_the_class_are_a_shortcut(call: Runner, tmp_path: Path) -> None:
    for k in range(25):
        paint(tmp_path / "set" / "a" / f"{k}.png", k)
        paint(tmp_path / "set" / "b" / f"{k}.jpg", 100 + k, "JPEG")
    done = call("check", "set", "--json")
    messages = [f["message"] for f in find(done)["shortcut"] if f["severity"] == "error"]
    assert any(m.startswith("format alone predicts the class with 100.0% accuracy") for m in messages)
    assert done.returncode == 1


def test_a_full_disk_leaves_nothing_half_written(
    call: Runner, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("check", small_set)
    with small_disk(tmp_path / "disk", "size=8k") as is_real:
        if not is_real:
            monkeypatch.setattr(os, "fsync", _full)
        for flag, file in (("--html", "page.html"), ("--fix", "review.csv")):
            if is_real:
                (tmp_path / "disk" / "fill").write_bytes(b"x" * 8192)
            done = call("check", small_set, flag, tmp_path / "disk" / file)
            refused(done, rf"Can't write \S+/disk/{file}: the disk is full")
        assert {path.name for path in (tmp_path / "disk").iterdir()} <= {"fill"}


def test_a_full_disk_for_the_cache_or_the_manifest(
    call: Runner, small_set: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = paint_set(tmp_path / "set", a=2, b=2)
    (tmp_path / "review.csv").write_text(f"decision,new_label,path,data\ndrop,,{root}/a/0.png,{root}\n")
    call("check", small_set)  # the network is converted by now
    with small_disk(tmp_path / "disk", "size=8k") as is_real:
        disk = tmp_path / "disk"
        if not is_real:
            monkeypatch.setattr(os, "fsync", _full)
        (disk / "trunks").symlink_to(cache / "trunks")
        done = call("check", small_set, "--html", "page.html", "--cache", disk)
        refused(done, r"Can't write \S+/disk/features/\S+: the disk is full")
        assert not (tmp_path / "page.html").exists()
        if is_real:
            (disk / "fill").write_bytes(b"x" * 8192)
        done = call("check", "--apply", "review.csv", "--out", disk / "new.csv")
        refused(done, r"Can't write \S+/disk/new\.csv: the disk is full")
        assert not [
            path
            for path in disk.rglob("*")
            if path.is_file() and path.name != "fill" and disk in path.resolve().parents
        ]


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_no_pictures_at_all(call: Runner, tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    refused(call("check", "set"), r"There are no images in \S+/set")
