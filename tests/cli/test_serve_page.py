"""The server's own page in a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from serving import Server, serving
from support import pictures

_WAIT_MS = 60_000


@pytest.fixture(scope="module")
def server(pets_run: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(pets_run, cache, tmp_path_factory.mktemp("serve") / "log") as running:
        yield running


@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1280, "light")])
def test_an_upload_shows_bars_and_where_it_looked(
    browser: Browser, server: Server, small_set: Path, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: _note_error(message, problems))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: _note_foreign(request, server.address, problems))
    page.goto(server.address)
    expect(page.locator("#about")).to_contain_text("Accuracy", timeout=_WAIT_MS)
    page.set_input_files("#files", [str(path) for path in pictures(small_set)[:2]])
    expect(page.locator(".result meter")).to_have_count(4, timeout=_WAIT_MS)
    assert set(page.locator(".answer h2").all_inner_texts()) <= {"cats", "dogs"}
    for box in page.locator(".toggle input").all():
        box.check()
    assert page.locator(".picture canvas").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    _shows_all_pictures(page)
    _look(page, f"serve-{width}.png")
    page.set_input_files("#files", [{"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}])
    expect(page.locator("#problem")).to_contain_text("not an image", timeout=_WAIT_MS)
    assert [problem for problem in problems if "422" not in problem] == []
    page.close()


def test_the_api_s_page_fits_and_loads_nothing_else(browser: Browser, server: Server) -> None:
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 375, "height": 900})
    page.on("console", lambda message: _note_error(message, problems))
    page.on("request", lambda request: _note_foreign(request, server.address, problems))
    page.goto(f"{server.address}/docs")
    assert page.locator("h2").count() >= 5
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    _look(page, "serve-docs.png")
    assert problems == []
    page.close()


def _note_error(message: ConsoleMessage, problems: list[str]) -> None:
    if message.type in {"error", "warning"}:
        problems.append(message.text)


def _note_foreign(request: Request, address: str, problems: list[str]) -> None:
    if not request.url.startswith((address, "blob:")):
        problems.append(request.url)


def _shows_all_pictures(page: Page) -> None:
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def _look(page: Page, name: str) -> None:
    """Keep a picture of the page where $HEADSTART_SCREENSHOTS says."""
    if folder := os.environ.get("HEADSTART_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / name, full_page=True)
