"""What the source classifier knows of the target's classes, by name and by its own answers."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from blocks import Blocks
from headstart.errors import ConfigError
from headstart.heads.logistic import Floats
from headstart.heads.source import (
    EstimatedPrior,
    NamedPrior,
    SourceClassifier,
    judge_prior,
    match_classes,
)
from headstart.metrics.calibration import softmax

Ints = NDArray[np.int64]
NAMES = ("tench, Tinca tinca", "hotdog, hot dog, red hot", "crane", "crane", "tabby, tabby cat", "collie")
CLASSES = ("hotdog", "not-hotdog", "a=b")


def make_source(n_classes: int = 6, d: int = 5) -> SourceClassifier:
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((n_classes, d)), rng.standard_normal(n_classes)
    return SourceClassifier(weight.astype(np.float32), bias.astype(np.float32), NAMES)


SOURCE = make_source()


def make_features(n: int = 30, seed: int = 1) -> tuple[Floats, Ints, Ints]:
    """Features, labels of three classes, and folds, three of each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 3
    x = rng.standard_normal((n, 5)) + SOURCE.weight[labels]
    return x.astype(np.float32), labels, np.arange(n, dtype=np.int64) // 3 % 3


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "wanted", ["hotdog", "hot dog", "HOTDOG", "red hot", "hotdog, hot dog, red hot", " hotdog ", "1"]
)
def test_a_source_class_has_many_names(wanted: str) -> None:
    assert match_classes([f"hotdog={wanted}"], CLASSES, NAMES) == {0: (1,)}


def test_several_rows_for_one_class_and_names_with_equals_signs() -> None:
    texts = ["not-hotdog=tabby", "not-hotdog=collie", "a=b=3"]
    assert match_classes(texts, CLASSES, NAMES) == {1: (4, 5), 2: (3,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hotdog", "'hotdog' has no = between the two names"),
        ("hotdg=hotdog", r"the data have no class 'hotdg' \(did you mean 'hotdog'"),
        ("hotdog=hotdgo", r"no source class is called 'hotdgo' \(did you mean 'hotdog'"),
        ("hotdog=zzz", r"no source class is called 'zzz'\."),
        ("hotdog=crane", r"several source classes are called 'crane'; give the number: 2 \(crane\) or 3"),
        ("hotdog=6", "no source class is called '6'"),
        ("hotdog=", "no source class is called ''"),
    ],
)
def test_what_cannot_be_matched_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--source-class takes TARGET=SOURCE. Wrong: {message}"):
        match_classes([text], CLASSES, NAMES)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'x' has no = .*; the data have no class 'y'"):
        match_classes(["x", "y=tabby"], CLASSES, NAMES)


def test_a_source_without_names_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"no known names, so 'tabby'.*leave --source-class out"):
        match_classes(["hotdog=tabby"], CLASSES, ())


# ------------------------------------------------------------------ rows by name


def test_one_row_and_its_negation() -> None:
    # Against all other classes together: the log-odds are the source's own, their joint logit averaged.
    x, _, _ = make_features()
    weight, bias = NamedPrior(SOURCE, {0: (1,)}, 2, Blocks(x)).heads(np.ones((3, len(x)), np.bool_))
    assert (weight.shape, bias.shape) == ((2, 3, 5), (2, 3))
    np.testing.assert_allclose(weight[1], -weight[0])
    np.testing.assert_allclose(bias[1], -bias[0])
    logits = x @ SOURCE.weight.T + SOURCE.bias
    rest = np.log(np.exp(np.delete(logits, 1, axis=1)).sum(axis=1)).mean()
    found = x @ (weight[0] - weight[1])[2] + (bias[0] - bias[1])[2]
    np.testing.assert_allclose(found, logits[:, 1] - rest, rtol=1e-5, atol=1e-5)


def test_rows_for_all_classes_give_the_sources_own_answer_among_them() -> None:
    x, _, folds = make_features()
    prior = NamedPrior(SOURCE, {0: (5,), 1: (0,), 2: (2, 3)}, 3, Blocks(x, 4))
    found = softmax(judge_prior(prior, Blocks(x, 3), folds))
    own = x @ SOURCE.weight.T + SOURCE.bias
    expected = softmax(np.stack([own[:, 5], own[:, 0], own[:, 2:4].mean(axis=1)], axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert prior.rows() == (("collie",), ("tench",), ("crane", "crane"))


def test_classes_without_rows_share_what_is_left() -> None:
    x, _, folds = make_features()
    logits = judge_prior(NamedPrior(SOURCE, {0: (1,)}, 3, Blocks(x)), Blocks(x), folds)
    np.testing.assert_allclose(logits[:, 1], logits[:, 2])
    one = judge_prior(NamedPrior(SOURCE, {0: (1,)}, 2, Blocks(x)), Blocks(x), folds)
    np.testing.assert_allclose(softmax(logits)[:, 0], softmax(one)[:, 0], rtol=1e-4)


# ------------------------------------------------------------------ rows by the source's answers


@pytest.mark.parametrize("n_blocks", [1, 4])
def test_estimated_rows_are_mixed_by_the_answers_to_each_class(n_blocks: int) -> None:
    x, labels, folds = make_features()
    used = np.stack([np.ones(len(x), np.bool_), folds != 1])
    weight, bias = EstimatedPrior(SOURCE, Blocks(x, n_blocks), labels, 3).heads(used)
    answers = softmax(x @ SOURCE.weight.T + SOURCE.bias)
    for p, rows in enumerate(used):
        shares = np.stack([answers[rows & (labels == k)].mean(axis=0) for k in range(3)])
        means = np.stack([x[rows & (labels == k)].mean(axis=0) for k in range(3)])
        mixed = shares @ SOURCE.weight
        mixed -= mixed.mean(axis=0)
        np.testing.assert_allclose(weight[:, p], mixed, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(bias[:, p], -mixed @ means.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_the_weightiest_rows_are_named() -> None:
    source = SourceClassifier(np.eye(6, dtype=np.float32), np.zeros(6, np.float32), NAMES)
    x = np.repeat(9 * source.weight[[4, 1, 0]], 5, axis=0)
    labels = np.repeat(np.arange(3, dtype=np.int64), 5)
    named = EstimatedPrior(source, Blocks(x), labels, 3)
    assert [rows[0] for rows in named.rows()] == ["tabby", "hotdog", "tench"]
    nameless = EstimatedPrior(replace(source, names=()), Blocks(x), labels, 3)
    assert [rows[0] for rows in nameless.rows()] == ["4", "1", "0"]


def test_a_folds_labels_have_no_part_in_how_it_is_judged() -> None:
    x, labels, folds = make_features()
    before = judge_prior(EstimatedPrior(SOURCE, Blocks(x), labels, 3), Blocks(x), folds)
    other = np.where(folds == 1, (labels + 1) % 3, labels)
    after = judge_prior(EstimatedPrior(SOURCE, Blocks(x), other, 3), Blocks(x), folds)
    assert (before[folds == 1] == after[folds == 1]).all()
    assert (before[folds != 1] != after[folds != 1]).any()


def test_a_class_that_a_subset_lacks_is_neither_likely_nor_unlikely() -> None:
    x, labels, _ = make_features()
    weight, bias = EstimatedPrior(SOURCE, Blocks(x), labels, 3).heads((labels != 2)[None])
    assert np.isfinite(weight).all()
    np.testing.assert_allclose(weight[2], 0, atol=1e-6)  # rows are centred over the classes
    np.testing.assert_allclose(bias[2], 0, atol=1e-5)
