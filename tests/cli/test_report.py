"""`headstart report` in a real browser, and on runs that lack something."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pages import SCRIPT, Opened
from support import Done, Runner, refused, small_disk, went_well


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_in_both_themes_and_widths(
    browser: Any, hostile: Path, width: int, scheme: str
) -> None:
    opened = Opened(browser, hostile / "report.html", width, scheme)
    opened.check()
    assert opened.page.evaluate("document.images.length") > 10
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in paper.strip("rgb()").split(","))
    assert brightness > 600 if scheme == "light" else brightness < 150


def test_names_are_shown_as_text(browser: Any, hostile: Path, call: Runner) -> None:
    assert call("report", hostile).returncode == 0
    opened = Opened(browser, hostile / "report.html")
    opened.check()
    assert opened.page.evaluate("document.scripts.length") == 0
    assert opened.page.evaluate("document.querySelectorAll('[onerror],[onclick]').length") == 0
    text = opened.page.inner_text("body")
    assert SCRIPT in text
    assert "{{ 7*7 }}" in text
    titles = opened.page.evaluate("[...document.images].map(i => i.alt).join()")
    assert '"><b onclick=alert(3)>cats&amp;.jpg' in titles


def test_a_cell_of_the_matrix_opens_to_its_images(browser: Any, pets_run: Path, call: Runner) -> None:
    assert call("report", pets_run).returncode == 0
    opened = Opened(browser, pets_run / "report.html", 375)
    cell = opened.page.locator("button.cell").first
    target = cell.get_attribute("popovertarget")
    assert not opened.page.locator(f"#{target} img").first.is_visible()
    cell.click()
    assert opened.page.locator(f"#{target} img").first.is_visible()
    opened.page.locator(f"#{target} .close").click()
    assert not opened.page.locator(f"#{target} img").first.is_visible()
    opened.check()


def test_the_page_prints(browser: Any, pets_run: Path) -> None:
    opened = Opened(browser, pets_run / "report.html", scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
    opened.check_print()
    opened.check()


def test_training_leaves_a_page_with_the_headline(pets_run: Path, trained: Done) -> None:
    html = (pets_run / "report.html").read_text()
    accuracy = json.loads(trained.stdout)["metrics"]["cross-validation"]["accuracy"]
    assert f"{100 * accuracy:.1f}<small> % right" in html
    assert "pets-probe-1" in html
    assert html.count("data:image/jpeg;base64,") >= 8
    assert len(html) < 800_000


@pytest.fixture
def copied(pets_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(pets_run, tmp_path / "run"))


def test_moved_images_are_named_and_the_rest_is_shown(
    call: Runner, headstart: Runner, pets: Path, tmp_path: Path, browser: Any
) -> None:
    assert headstart("train", pets, "--out", "run", cwd=tmp_path).returncode == 0
    moved = sorted((pets / "cats").iterdir())[:2]
    for path in moved:
        path.unlink()
    done = call("report", "run", "--json")
    report = json.loads(done.stdout)
    assert report == {"file": "run/report.html", "missing": [str(path) for path in moved], "notes": []}
    html = (tmp_path / "run" / "report.html").read_text()
    assert "2 images are no longer where the run found them" in html
    assert str(moved[0]) in html
    Opened(browser, tmp_path / "run" / "report.html").check()
    shutil.rmtree(pets)
    went_well(call("report", "run"), r"40 images are not where the run found them.*and 35 more")


def test_what_is_missing_from_a_run_is_told_and_the_rest_shown(call: Runner, copied: Path) -> None:
    for name in ("predictions.parquet", "environment.json"):
        (copied / name).unlink()
    (copied / "split.parquet").write_bytes(b"PAR1")
    (copied / "history.jsonl").write_text("{")
    done = call("report", "run", "--out", "page.html")
    went_well(
        done,
        r"Saved page.html.",
        r"predictions.parquet is missing from the run; what it tells is left out",
        r"split.parquet can't be read, so what it tells is left out",
        r"history.jsonl can't be read",
        r"environment.json is missing",
    )
    assert "% right" in (copied.parent / "page.html").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "config.json",
            '"format_version": 1',
            '"format_version": 99',
            "has format version 99, .* Upgrade it",
        ),
        (
            "metrics.json",
            '"format_version": 1',
            '"format_version": 99',
            "has format version 99, .* Upgrade it",
        ),
        (
            "metrics.json",
            '"headline": "cross-validation"',
            '"headline": "moon"',
            "names no headline .*'moon'",
        ),
        ("metrics.json", '"macro_f1"', '"micro_f1"', "stored scores can't be read"),
    ],
)
def test_runs_that_can_not_be_read_are_refused(
    call: Runner, copied: Path, file: str, old: str, new: str, message: str
) -> None:
    path = copied / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    (copied / "report.html").write_text("old")
    refused(call("report", "run"), message)
    assert (copied / "report.html").read_text() == "old"


def test_places_that_make_no_page_are_refused(call: Runner, copied: Path) -> None:
    refused(
        call("report", "run", "--out", "page.pdf"), r"--out page.pdf: this becomes a page, .* page.pdf.html"
    )
    refused(call("report", "run", "--out", "."), r"--out . is a folder; name a file in it")
    refused(call("report", "nothing"), "There is no run at nothing")


def test_a_full_disk_leaves_the_old_page(call: Runner, copied: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=32k") as is_mounted:
        if not is_mounted:
            pytest.skip("can't mount a small disk here")
        page = tmp_path / "disk" / "page.html"
        page.write_text("old")
        refused(call("report", "run", "--out", page), "Can't write .*page.html: the disk is full")
        assert page.read_text() == "old"
        assert [path.name for path in page.parent.iterdir()] == ["page.html"]
