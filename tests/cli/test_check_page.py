"""The page of `headstart check` in a real browser."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pages import SCRIPT, Opened
from support import Runner

EVIL_IMAGE = '"><img src=x onerror=alert(2)>{{ 7*7 }}'


@pytest.fixture(scope="module")
def hostile(headstart: Runner, small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of classes and files whose names would break a careless one, with much to tell of them."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = []
    for name, label in (("cats", SCRIPT), ("dogs", EVIL_IMAGE)):
        for k, path in enumerate(sorted((small_set / name).iterdir())[:12]):
            copy = folder / f"{k}'\"><b onclick=alert(3)>{name}&amp;.jpg"
            shutil.copy(path, copy)
            rows.append([copy.name, label if k else SCRIPT])
    for k, size in enumerate([(300, 40), (50, 50), (900, 100)]):
        for end, label in (("", SCRIPT), ("again", EVIL_IMAGE)):
            Image.new("RGB", size, (3, 4, 5)).save(folder / f"{k}<i>{end}.png")
            rows.append([f"{k}<i>{end}.png", label])
    (folder / "broken<u>.jpg").write_bytes(b"no picture")
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *rows, ["broken<u>.jpg", SCRIPT]])
    done = headstart("check", "photos.csv", "--html", "page.html", cwd=folder)
    assert done.returncode == 1, done.stderr
    return folder / "page.html"


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_in_both_themes_and_widths(
    browser: Any, hostile: Path, width: int, scheme: str
) -> None:
    opened = Opened(browser, hostile, width, scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    opened.check()
    assert opened.page.evaluate("document.images.length") > 10
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in paper.strip("rgb()").split(","))
    assert brightness > 600 if scheme == "light" else brightness < 150


def test_names_are_shown_as_text(browser: Any, hostile: Path) -> None:
    opened = Opened(browser, hostile)
    opened.check()
    assert opened.page.evaluate("document.scripts.length") == 0
    assert opened.page.evaluate("document.querySelectorAll('[onerror],[onclick],b[onclick],i,u').length") == 0
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    text = opened.page.inner_text("body")
    assert f"{EVIL_IMAGE!r} and {SCRIPT!r}" in text
    assert "0<i>.png" in text
    assert "broken<u>.jpg" in text
    assert "<b onclick=alert(3)>dogs&amp;.jpg" in text
    assert SCRIPT in opened.page.evaluate("[...document.images].map(one => one.alt)")


def test_what_was_not_looked_at_is_said(browser: Any, hostile: Path) -> None:
    assert "There is no test split" in Opened(browser, hostile).page.inner_text("body")


def test_the_page_prints(browser: Any, hostile: Path) -> None:
    opened = Opened(browser, hostile, scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(17, 17, 17)"
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
    opened.check_print()
