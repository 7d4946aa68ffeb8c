"""The card is valid front matter and Markdown, whatever the classes are called."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from headstart.metrics.scores import score
from headstart.run.card import CardFacts, render_card


def facts(*classes: str) -> CardFacts:
    """Return facts of a model with two mistakes in ten, on its first two classes."""
    n_classes = len(classes)
    labels = [0, 1] * 5
    predicted = [1, 0, *labels[2:]]
    p = [[0.9 if k == true else 0.1 / (n_classes - 1) for k in range(n_classes)] for true in predicted]
    return CardFacts(
        name="photos-probe-1",
        classes=classes,
        backbone="tf_efficientnet_lite0",
        licence="Apache-2.0",
        recipe="probe",
        dataset="photos",
        n_train=1234,
        scores=score(p, labels, classes).to_json(),
        source="test",
        preprocessing="Shorter side to 256 px, centre crop of 224 by 224 px.",
        command="headstart train photos/",
        created="2025-01-31",
    )


def front_matter(card: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return loaded


def test_the_front_matter_is_the_hubs() -> None:
    front = front_matter(render_card(facts("cat", "dog")))
    assert front["library_name"] == "timm"
    assert front["pipeline_tag"] == "image-classification"
    assert front["tags"] == ["image-classification", "timm", "headstart"]
    assert front["license"] == "apache-2.0"
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "photos-probe-1"
    assert result["task"] == {"type": "image-classification", "name": "Image classification"}
    assert result["dataset"] == {"type": "imagefolder", "name": "photos", "split": "test"}
    assert result["metrics"] == [{"type": "accuracy", "name": "Accuracy (test, 10 images)", "value": 0.8}]


def test_an_unusual_licence_is_other_with_a_name() -> None:
    front = front_matter(render_card(replace(facts("a", "b"), licence="FAIR: noncommercial")))
    assert (front["license"], front["license_name"]) == ("other", "FAIR: noncommercial")


def test_the_text_tells_what_it_must() -> None:
    card = render_card(facts("cat", "dog"))
    for words in (
        "**80.0 %** of 10 images right, 95 % interval 49.0 % to 94.3 %",
        "on 1,234 images of **photos**",
        "| cat | 5 | 80.0 % | 80.0 % | 80.0 % |",
        "| cat | dog | 1 | 5 |",
        'timm.create_model("local-dir:.", pretrained=True)',
        'hs.load(".")',
        "cat: 5, dog: 5",
        "    headstart train photos/\n",
        "![Confusion matrix](confusion.png)",
    ):
        assert words in card
    assert card.endswith("\n")


def test_the_python_in_it_is_valid() -> None:
    blocks = [part.split("```")[0] for part in render_card(facts("a", "b")).split("```python\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")


def test_cross_validation_and_validation_are_told() -> None:
    nested = replace(facts("a", "b"), source="cross-validation")
    assert "Measured by nested cross-validation" in render_card(nested)
    card = render_card(replace(nested, nested=False))
    assert "Measured by cross-validation (not nested)" in card
    assert 'name: "Accuracy (cross-validation (not nested), 10 images)"' in card
    assert "expect a little less" in render_card(replace(facts("a", "b"), source="val"))


def test_a_class_without_images_has_no_percentages() -> None:
    assert "| rare | 0 | n/a | n/a | n/a |" in render_card(facts("a", "b", "rare"))


def test_a_perfect_model() -> None:
    p = [[1.0, 0.0], [0.0, 1.0]]
    perfect = replace(facts("a", "b"), scores=score(p, [0, 1], ["a", "b"]).to_json())
    assert "It made no mistake on these images." in render_card(perfect)


def test_a_missing_fact_is_an_error() -> None:
    scores = facts("a", "b").scores
    with pytest.raises(Exception, match="brier"):
        render_card(replace(facts("a", "b"), scores={k: v for k, v in scores.items() if k != "brier"}))


@pytest.mark.parametrize(
    "odd", ["a|b", "<script>x</script>", "line\nbreak", "`c`", "*d* _e_ [f](g)", "{{ 7 * 7 }}", "&lt;"]
)
def test_odd_class_names_stay_in_their_cell(odd: str) -> None:
    card = render_card(facts(odd, "plain"))
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2])
    rows = [token.content for token in tokens if token.type == "inline"]
    html = MarkdownIt("commonmark").enable("table").render(card.split("---\n", 2)[2])
    assert rows.count("plain") == 3  # per class, and both directions of the mistake
    assert "<script>" not in html
    assert "<em>" not in html
    assert "<a " not in html
    assert "49" not in html.split("<h2>Classes</h2>")[1].split("<h2>")[0]
    per_class = html.split("<tbody>")[2].split("</tbody>")[0]
    assert per_class.count("<tr>") == 2
    assert per_class.count("<td") == 10


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_name_survives_yaml(name: str) -> None:
    base = facts("a", "b")
    front = front_matter(render_card(replace(base, name=name, dataset=name, licence=f"x{name}")))
    (entry,) = front["model-index"]
    assert entry["name"] == name
    assert entry["results"][0]["dataset"]["name"] == name


def test_the_data_and_the_machine_are_told_and_escaped() -> None:
    told = replace(facts("a|b", "c"), counts={"a|b": 1200, "c": 7}, machine="2 cores of <x>")
    card = render_card(told)
    assert "1,207 images of **photos**" in card
    assert "| a\\|b | 1,200 |\n| c | 7 |" in card
    assert "It was trained on 2 cores of &lt;x&gt;." in card
    many = render_card(replace(told, counts={f"class {n}": n + 1 for n in range(5000)}))
    assert many.count("| class ") == 52
    assert "## Data" not in render_card(facts("a", "b"))


def test_thousands_of_classes_have_a_card_of_bounded_size() -> None:
    names = [f"class {n}" for n in range(1500)]
    labels = np.arange(1500)
    answers = np.where(labels < 3, labels + 1, labels)
    p = np.zeros((1500, 1500), np.float32)
    p[labels, answers] = 1
    card = render_card(replace(facts(*names), scores=score(p, labels, names).to_json()))
    assert len(card) < 40_000
    assert "and 1,000 more, which `config.json` lists" in card
    assert "The 100 weakest of 1,500 classes; `metrics.json` has all." in card
    assert "| class 0 | class 1 | 1 | 1 |" in card
