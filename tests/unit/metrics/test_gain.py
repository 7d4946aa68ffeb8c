"""A rung is kept only for a gain that is no chance."""

import numpy as np
import pytest

from headstart.metrics.gain import measure_gain


def make_logits(right: float, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    logits = rng.normal(size=(n, 4))
    hits = rng.random(n) < right
    logits[np.arange(n), np.where(hits, labels, (labels + 1) % 4)] += 4
    return logits, labels


def test_a_clear_gain_is_real() -> None:
    before, labels = make_logits(0.6)
    after, _ = make_logits(0.8, seed=1)
    gain = measure_gain(before, after, labels)
    assert gain.is_real
    assert gain.accuracy_after > gain.accuracy_before
    assert gain.loss_interval[0] < gain.loss_after - gain.loss_before < gain.loss_interval[1] < 0
    assert gain.p < 0.05


def test_a_clear_loss_is_not() -> None:
    before, labels = make_logits(0.8)
    after, _ = make_logits(0.6, seed=1)
    assert not measure_gain(before, after, labels).is_real


def test_the_same_is_no_gain() -> None:
    before, labels = make_logits(0.8)
    gain = measure_gain(before, before.copy(), labels)
    assert (gain.p, gain.loss_interval, gain.is_real) == (1.0, (0.0, 0.0), False)


def test_chance_is_seldom_taken_for_a_gain() -> None:
    taken = 0
    for seed in range(100):
        before, labels = make_logits(0.7, n=200, seed=seed)
        after, _ = make_logits(0.7, n=200, seed=1000 + seed)
        taken += measure_gain(before, after, labels).is_real
    assert taken <= 10  # 2.5 % are expected by either test, and both must not disagree


def test_confidence_alone_is_no_gain() -> None:
    before, labels = make_logits(0.7)
    assert not measure_gain(before, before * 7, labels).is_real


def test_other_images_are_refused() -> None:
    before, labels = make_logits(0.7)
    with pytest.raises(ValueError, match="same images"):
        measure_gain(before, before[:-1], labels)


@pytest.mark.parametrize(("n", "is_real"), [(20, False), (2000, True)])
def test_of_few_images_to_be_surer_of_the_same_is_no_gain(n: int, is_real: bool) -> None:
    labels, wrong = np.arange(n) % 4, np.arange(n) % 10 == 0
    said = np.where(wrong, labels + 1, labels) % 4
    before, after = (np.where(wrong, 1.0, margin)[:, None] * np.eye(4)[said] for margin in (3.0, 4.0))
    gain = measure_gain(before, after, labels)
    assert gain.accuracy_after == gain.accuracy_before
    assert gain.loss_interval[1] < 0
    assert gain.is_real == is_real
