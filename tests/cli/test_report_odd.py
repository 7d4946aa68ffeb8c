"""Pages of odd runs: hardly any images, classes without any, thousands of classes, full disks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pages import Opened, check_page, write_run
from support import Runner, refused, small_disk

MANY = 5000


def sure_of(labels: np.ndarray, n_classes: int, wrong: int = 0) -> np.ndarray:
    """Probabilities `(N, K)` that are right but for the first few."""
    answers = labels.copy()
    answers[:wrong] = (answers[:wrong] + 1) % n_classes
    p = np.full((len(labels), n_classes), 0.2 / max(n_classes - 1, 1), np.float32)
    p[np.arange(len(labels)), answers] = 0.8
    return p


def test_a_test_split_of_one_class(call: Runner, tmp_path: Path, browser: Any) -> None:
    labels = np.zeros(8, np.int64)
    write_run(tmp_path / "run", ["cats", "dogs", "owls"], labels, sure_of(labels, 3, 2))
    assert call("report", "run").returncode == 0
    text = check_page(browser, tmp_path / "run" / "report.html")
    assert "75.0 % of 8 test images right" in text
    assert "dogs 0 0.0 % n/a n/a n/a" in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize("n", [1, 3])
def test_hardly_any_images(call: Runner, tmp_path: Path, browser: Any, n: int) -> None:
    labels = np.arange(n) % 2
    write_run(tmp_path / "run", ["cats", "dogs"], labels, sure_of(labels, 2))
    assert call("report", "run").returncode == 0
    text = check_page(browser, tmp_path / "run" / "report.html")
    assert "100.0 % right" in text
    assert "Too few images to draw it" in text


def test_thousands_of_classes_have_a_page_of_bounded_size(call: Runner, tmp_path: Path, browser: Any) -> None:
    picture = tmp_path / "one.png"
    Image.new("RGB", (64, 64), "teal").save(picture)
    names = [f"class {k}" for k in range(MANY)]
    labels = np.arange(MANY)
    write_run(tmp_path / "run", names, labels, sure_of(labels, MANY, 300), [str(picture)] * MANY)
    assert (tmp_path / "run" / "metrics.json").stat().st_size < 3_000_000
    assert call("report", "run").returncode == 0
    page = tmp_path / "run" / "report.html"
    assert page.stat().st_size < 3_000_000
    text = check_page(browser, page)
    assert "The 100 largest of 5,000 classes; split.parquet has all" in text
    assert "The 100 weakest of 5,000 classes; metrics.json has all" in text
    assert "Shown are the 20 most confused of 5,000 classes" in text
    assert "all 5,000 classes 5,000 5,000" in text
    assert Opened(browser, page).page.locator("table.matrix tbody tr").count() == 20


def test_a_full_disk_leaves_no_half_of_what_was_asked_later(
    call: Runner, pets_run: Path, pets: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=16k") as is_mounted:
        if not is_mounted:
            pytest.skip("can't mount a small disk here")
        disk = tmp_path / "disk"
        words = ("shift", pets_run, pets, "--images", "4", "--kinds", "blur", "--out", disk / "shifts")
        refused(call(*words), r"Can't write \S+shift\.(png|html): the disk is full")
        assert {path.suffix for path in disk.rglob("*") if path.is_file()} <= {".json"}
        words = ("explain", pets_run, pets / "cats", "--losses", "1", "--out", disk / "maps")
        refused(call(*words), r"Can't write \S+maps.*: the disk is full")
        assert not (disk / "maps").exists()
        refused(
            call("curve", pets, "--seeds", "2", "--out", disk / "c.png"), r"Can't write \S+: the disk is full"
        )
        assert not list(disk.glob("*.png"))
    assert not (pets_run / "shift.json").exists()


def test_runs_from_a_newer_version_are_refused_by_all_that_reads_them(
    call: Runner, pets: Path, tmp_path: Path
) -> None:
    labels = np.arange(6) % 2
    run = write_run(tmp_path / "run", ["cats", "dogs"], labels, sure_of(labels, 2))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    before = sorted(path.name for path in run.iterdir())
    for words in (("report", run), ("shift", run, pets), ("explain", run), ("curve", pets, "--run", run)):
        refused(call(*words), "has format version 99, .* Upgrade it")
    assert sorted(path.name for path in run.iterdir()) == before
