"""The summary's words carry the right figures, and say what few images can't tell."""

from collections.abc import Sequence

import numpy as np
import pytest

from headstart.metrics.scores import Scores, score
from headstart.metrics.summary import Source, summarise


def scores_of(confusion: Sequence[Sequence[int]], classes: Sequence[str], sure: float = 0.95) -> Scores:
    """Return the scores of a model that is always `sure` of what it says, with this confusion."""
    counts = np.array(confusion)
    k = len(classes)
    true, predicted = np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0).T
    p = np.full((len(true), k), (1 - sure) / (k - 1))
    p[np.arange(len(true)), predicted] = sure
    return score(p, true, classes, uncalibrated=np.eye(k)[predicted])


def test_a_large_test_set() -> None:
    lines = summarise(scores_of([[390, 10], [28, 372]], ["hotdog", "not_hotdog"], 0.9505), source="test")
    assert lines[:4] == [
        "95.2 % of 800 test images right (95 % interval 93.5 to 96.5).",
        "Always answering “hotdog”, the commonest class, would get 50.0 %.",
        "Weakest class: “not_hotdog”, 372 of its 400 images found (93.0 %).",
        "Most frequent mistake: “not_hotdog” taken for “hotdog”, 28 of 400 images.",
    ]
    assert len(lines) == 5
    sure = "How sure it is and how often it is right differ by 0.2 points on average"
    assert lines[4] == f"{sure} (before calibration: 4.8 points)."


def test_a_small_test_set_says_what_it_cannot_tell() -> None:
    lines = summarise(scores_of([[14, 1], [2, 13]], ["a", "b"]), source="test")
    assert lines[0] == "90.0 % of 30 test images right (95 % interval 74.4 to 96.5)."
    assert lines[4].endswith("; on so few images, part of that is chance.")
    assert lines[5] == (
        "With 30 images, one more or fewer right moves the accuracy by 3.3 points; two models measured "
        "this way can't be told apart if they differ by less than about 18 points."
    )


def test_a_perfect_model_on_few_images_has_no_weakest_class_but_a_limit() -> None:
    lines = summarise(scores_of([[6, 0], [0, 6]], ["a", "b"]), source="test")
    assert lines[0].startswith("100.0 % of 12 test images right (95 % interval 75.8 to 100.0)")
    assert len(lines) == 4
    assert "moves the accuracy by 8.3 points" in lines[3]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("val", "validation images right (95 % interval 93.5 to 96.5). Choices were made on these images"),
        ("cross-validation", "800 images right (95 % interval 93.5 to 96.5). Each was judged by a model"),
    ],
)
def test_the_source_is_told(source: Source, words: str) -> None:
    assert words in summarise(scores_of([[390, 10], [28, 372]], ["a", "b"]), source=source)[0]


def test_cross_validation_that_is_not_nested_is_called_so() -> None:
    scores = scores_of([[390, 10], [28, 372]], ["a", "b"])
    assert "cross-validation (not nested)" in summarise(scores, source="cross-validation", nested=False)[0]
    assert summarise(scores, source="test", nested=False) == summarise(scores, source="test")


def test_a_validation_split_that_decided_nothing_does_not_flatter() -> None:
    scores = scores_of([[390, 10], [28, 372]], ["a", "b"])
    assert "Choices were made" in summarise(scores, source="val")[0]
    assert "Choices were made" not in summarise(scores, source="val", chosen=False)[0]


def test_a_class_with_few_images_is_named() -> None:
    lines = summarise(scores_of([[400, 0, 0], [0, 5, 5], [0, 0, 20]], ["a", "b", "c"]), source="test")
    assert lines[-1] == (
        "“b” has only 10 test images: one more or fewer right moves its share found by 10.0 points. "
        "2 classes have fewer than 30."
    )


def test_a_class_without_images_is_named_and_a_line_stays_a_line() -> None:
    lines = summarise(scores_of([[400, 9], [0, 0]], ["a", "b\nc"]), source="test")
    assert lines[-1] == "“b c” has no test image, so nothing is known of how well it is found."
    assert all("\n" not in line for line in lines)


def test_it_is_three_to_six_lines() -> None:
    rng = np.random.default_rng(0)
    for k in (2, 3, 40):
        for n in (2, 50, 3000):
            counts = rng.multinomial(n, rng.dirichlet(np.full(k * k, 0.2))).reshape(k, k)
            lines = summarise(scores_of(counts.tolist(), [str(i) for i in range(k)]), source="test")
            assert 3 <= len(lines) <= 6
