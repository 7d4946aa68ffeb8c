"""Sections of a report: what every run has, what other commands left in it, and what a training told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from networks import TINY, save_random
from pages import SCRIPT, Opened, check_page
from support import Runner, refused, went_well


@pytest.fixture(scope="module")
def asked(hostile: Path, headstart: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of hostile names of which everything was asked, and then reported."""
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(hostile.parent, folder, dirs_exist_ok=True)
    for words in (
        ("shift", "run", "photos.csv", "--images", "8", "--kinds", "brightness,crop"),
        ("curve", "photos.csv", "--run", "run", "--seeds", "2"),
        ("explain", "run", "--losses", "2", "--similar", "2"),
        ("report", "run"),
    ):
        done = headstart(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_page_has_all_that_a_reader_asks_for(browser: Any, asked: Path) -> None:
    opened = Opened(browser, asked / "report.html")
    headings = opened.page.locator("h2").all_inner_texts()
    assert headings == [
        "The data",
        "Class by class",
        "What is taken for what",
        "Can its confidence be believed?",
        "How it learnt",
        "Where it was most wrong",
        "Does it hold on other pictures?",
        "Would more images help?",
        "Where it looked",
        "How it was made",
    ]
    text = opened.text
    assert "95 % interval" in text
    assert "What this number does not say" in text
    assert "Some training images" in text
    assert "train photos.csv --out run" in opened.page.inner_text("pre")
    assert "torch" in text
    assert opened.page.locator("section", has_text="Can its confidence").locator("svg").count() == 1


def test_what_other_commands_found_is_shown_and_their_names_as_text(browser: Any, asked: Path) -> None:
    text = check_page(browser, asked / "report.html")
    opened = Opened(browser, asked / "report.html")
    assert opened.page.evaluate("document.scripts.length") == 0
    assert opened.page.evaluate("document.querySelectorAll('[onerror],[onclick]').length") == 0
    for heading, charts in (("Does it hold on other", 2), ("Would more images", 1)):
        section = opened.page.locator("section", has_text=heading)
        assert section.locator("svg").count() == charts
        assert section.locator("polyline").count() >= charts
    shift = json.loads((asked / "shift.json").read_text())
    assert f"Robustness {shift['robustness']:.3f}" in text
    assert "brightness: darker" in text
    curve = json.loads((asked / "curve.json").read_text())
    assert all(line in text for line in curve["summary"])
    section = opened.page.locator("section", has_text="Where it looked")
    assert section.locator("img").count() == 2
    words = [image.get_attribute("alt") for image in section.locator("img").all()]
    assert all(text.startswith("map of ") for text in words)
    names = json.loads((asked / "config.json").read_text())["label_names"]
    assert any(name in text for name in names for text in words)


def test_names_in_what_other_commands_say_are_text(
    call: Runner, asked: Path, tmp_path: Path, browser: Any
) -> None:
    run = Path(shutil.copytree(asked, tmp_path / "run"))
    curve, shift = (json.loads((run / f"{name}.json").read_text()) for name in ("curve", "shift"))
    (run / "curve.json").write_text(json.dumps({**curve, "summary": [f"Class {SCRIPT} would gain most."]}))
    (run / "shift.json").write_text(json.dumps({**shift, "policy": SCRIPT, "harmful": [SCRIPT]}))
    assert call("report", "run").returncode == 0
    text = check_page(browser, run / "report.html")
    assert f"Class {SCRIPT} would gain most." in text
    assert f"--augment {SCRIPT}" in text


def test_the_page_of_shifts_stands_alone(browser: Any, asked: Path) -> None:
    text = check_page(browser, asked / "shift.html")
    assert "measured on 8 of the 24 images" in text
    assert "closer" in text


def test_sections_of_a_form_that_is_not_known_are_told_and_left_out(
    call: Runner, asked: Path, tmp_path: Path, browser: Any
) -> None:
    run = Path(shutil.copytree(asked, tmp_path / "run"))
    (run / "shift.json").write_text('{"robustness": 1}')
    (run / "curve.json").write_text("[]")
    (run / "explain" / "explain.json").write_text('{"images": [{"map": "../../etc/x.png"}, 3]}')
    assert call("report", "run").returncode == 0
    text = check_page(browser, run / "report.html")
    assert "shift.json is of a form that this page can't show" in text
    assert "curve.json can't be read" in text
    assert "Where it looked" not in text


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{TINY}@{save_random(tmp_path_factory.mktemp('weights'))}"


QUICK = ("--epochs", "2", "--input-px", "32", "--batch-size", "8")


def test_a_training_shows_its_epochs_and_phases(
    call: Runner, small_set: Path, tiny: str, tmp_path: Path, browser: Any
) -> None:
    words = ("train", small_set, "--model", tiny, "--recipe", "gradual", "--out", "run")
    assert call(*words, *QUICK).returncode == 0
    assert call("report", "run").returncode == 0
    text = check_page(browser, tmp_path / "run" / "report.html")
    assert "had the lowest validation loss" in text
    section = Opened(browser, tmp_path / "run" / "report.html").page.locator(
        "section", has_text="How it learnt"
    )
    assert section.locator("svg").count() == 2
    assert section.locator("polyline").count() == 4
    phases = [
        event["phase"]
        for event in map(json.loads, (tmp_path / "run" / "history.jsonl").read_text().splitlines())
        if event["event"] == "PhaseStarted"
    ]
    assert len(phases) == 3
    assert all(section.locator("svg", has_text=phase).count() == 2 for phase in phases)
    ticks = section.locator("svg").first.locator("text.mid").all_text_contents()
    assert ticks[:4] == ["1", "2", "3", "4"]


def test_a_comparison_becomes_a_page(
    call: Runner, small_set: Path, tiny: str, tmp_path: Path, browser: Any
) -> None:
    wrong = f"resnet34@{tiny.partition('@')[2]}"
    words = (
        "compare",
        small_set,
        "--recipes",
        "probe,partial",
        "--models",
        f"{tiny},{wrong}",
        "--out",
        "all",
    )
    assert call(*words, *QUICK).returncode == 1
    went_well(call("report", "all"), r"Saved all/report\.html")
    text = check_page(browser, tmp_path / "all" / "report.html")
    assert "4 ways to train" in text
    assert "does not fit" in text
    page = Opened(browser, tmp_path / "all" / "report.html").page
    assert page.locator("tr.best").count() == 1
    assert page.locator("svg").count() == 2
    path = tmp_path / "all" / "compare.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 99'))
    refused(call("report", "all"), "compare.json has format version 99, .* Upgrade it")
