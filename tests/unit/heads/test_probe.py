"""The probe chooses by what it has not learnt from, and says how good it is by what it has not chosen by."""

import numpy as np
import pytest
from numpy.typing import NDArray

from blocks import Blocks
from headstart.heads.logistic import Floats, LogisticPath
from headstart.heads.probe import LDA_MAX_PER_CLASS, NESTED_MAX_CLASSES, STRENGTHS, Probe, fit_probe
from headstart.heads.source import EstimatedPrior, NamedPrior, SourceClassifier
from headstart.metrics.calibration import fit_temperature, softmax
from support import digest

Ints = NDArray[np.int64]
FOLDS = 5


def problem(
    counts: tuple[int, ...], d: int = 24, distance: float = 1.0, seed: int = 0
) -> tuple[Floats, Ints]:
    """Gaussian classes in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = distance * rng.standard_normal((len(counts), d)) / np.sqrt(d / 8)
    return (centres[labels] + rng.standard_normal((len(labels), d))).astype(np.float32), labels


def deal(n: int, n_folds: int = FOLDS) -> Ints:
    return np.arange(n, dtype=np.int64) % n_folds


def accuracy(probe: Probe, labels: Ints) -> float:
    return float((probe.probabilities.argmax(axis=1) == labels).mean())


def log_loss(p: NDArray[np.float64], labels: Ints) -> float:
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


def test_what_comes_out() -> None:
    x, labels = problem((60, 50, 40))
    probe = fit_probe(Blocks(x), labels, 3, deal(150))
    assert probe.weight.shape == (3, 24)
    assert probe.bias.shape == (3,)
    assert (probe.weight.dtype, probe.bias.dtype) == (np.float32, np.float32)
    assert probe.probabilities.shape == probe.uncalibrated.shape == (150, 3)
    assert np.allclose(probe.probabilities.sum(axis=1), 1)
    assert (probe.method, probe.mirrored, probe.nested) == ("logistic", False, True)
    assert probe.c in STRENGTHS
    assert accuracy(probe, labels) > 0.75


def test_final_head_is_fitted_on_everything() -> None:
    x, labels = problem((60, 50, 40), distance=2.0)
    probe = fit_probe(Blocks(x), labels, 3, deal(150))
    p = softmax(x @ probe.weight.T + probe.bias)
    assert (p.argmax(axis=1) == labels).mean() >= accuracy(probe, labels)
    assert log_loss(p, labels) < log_loss(probe.probabilities, labels)


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("with_mirror", [False, True])
def test_head_is_the_exact_solution_divided_by_the_temperature(balance: bool, with_mirror: bool) -> None:
    x, labels = problem((60, 50, 40))
    other = x + 0.5 * np.random.default_rng(2).standard_normal(x.shape).astype(np.float32)
    mirrored = Blocks(other) if with_mirror else None
    probe = fit_probe(Blocks(x), labels, 3, deal(150), mirrored=mirrored, choose_view=False, balance=balance)
    assert probe.c is not None
    weights = (50 / np.array([60, 50, 40]))[labels] if balance else np.ones(150)
    if with_mirror:
        x, labels, weights = np.concatenate([x, other]), np.tile(labels, 2), np.tile(weights, 2) / 2
    path = LogisticPath(Blocks(x), labels, 3, weights[None].astype(np.float32))
    heads = path.solve(1 / probe.c)
    found = softmax(probe.temperature * (x @ probe.weight.T + probe.bias))
    assert np.abs(found - softmax(heads.logits[:, 0].T)).max() < 1e-4


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_permuted_labels_are_predicted_by_chance(seed: int, nested: bool) -> None:
    x, labels = problem((100, 100), d=60, seed=seed)
    labels = np.random.default_rng(seed).permutation(labels)
    probe = fit_probe(Blocks(x), labels, 2, deal(200), nested=nested)
    assert 0.35 < accuracy(probe, labels) < 0.65  # four standard deviations of a fair coin
    assert log_loss(probe.probabilities, labels) > np.log(2) - 0.03


@pytest.mark.parametrize("counts", [(60, 60), (15, 12, 13), (8, 9, 10)], ids=str)
@pytest.mark.parametrize(("with_mirror", "balance"), [(False, False), (True, False), (False, True)])
def test_a_folds_labels_have_no_part_in_its_own_prediction(
    counts: tuple[int, ...], with_mirror: bool, balance: bool
) -> None:
    x, labels = problem(counts)
    n, n_classes = len(labels), len(counts)
    rng = np.random.default_rng(1)
    mirrored = Blocks(x + 0.3 * rng.standard_normal(x.shape).astype(np.float32)) if with_mirror else None
    folds = deal(n)
    before = fit_probe(Blocks(x), labels, n_classes, folds, mirrored=mirrored, balance=balance)
    for fold in (0, 3):
        own = folds == fold
        changed = labels.copy()
        changed[own] = (changed[own] + 1) % n_classes
        after = fit_probe(Blocks(x), changed, n_classes, folds, mirrored=mirrored, balance=balance)
        assert (after.probabilities[own] == before.probabilities[own]).all()
        assert (after.uncalibrated[own] == before.uncalibrated[own]).all()
        assert (after.probabilities[~own] != before.probabilities[~own]).any()


def test_a_rows_features_are_not_learnt_by_its_own_prediction() -> None:
    # Duplicates share a fold; were one in another fold, its prediction would follow the copied label.
    x, labels = problem((40, 40), distance=0.0)
    x = np.concatenate([x, x])
    labels = np.concatenate([labels, labels])
    together = fit_probe(Blocks(x), labels, 2, np.tile(deal(80), 2))
    apart = fit_probe(Blocks(x), labels, 2, deal(160, 3))
    assert accuracy(together, labels) < 0.7
    assert accuracy(apart, labels) > accuracy(together, labels)


def test_without_nesting_the_numbers_are_those_of_the_choice() -> None:
    x, labels = problem((60, 50, 40))
    probe = fit_probe(Blocks(x), labels, 3, deal(150), nested=False)
    assert not probe.nested
    best = min(probe.trials, key=lambda trial: trial.log_loss)
    assert (best.method, best.c, best.mirrored) == (probe.method, probe.c, probe.mirrored)
    assert log_loss(probe.probabilities, labels) == pytest.approx(best.log_loss, abs=1e-6)


def test_two_folds_and_many_classes_are_not_nested() -> None:
    x, labels = problem((20, 20))
    assert not fit_probe(Blocks(x), labels, 2, deal(40, 2)).nested
    many = NESTED_MAX_CLASSES + 1
    x, labels = problem((3,) * many, distance=4.0)
    order = np.argsort(labels, kind="stable")
    probe = fit_probe(Blocks(x[order]), labels[order], many, deal(3 * many, 3))
    labels = labels[order]
    assert not probe.nested
    assert accuracy(probe, labels) > 0.5


@pytest.mark.parametrize("enough", [1, 10_000], ids=["one fold decides", "all folds decide"])
def test_with_many_classes_the_strength_is_found_without_trying_all_on_every_fold(
    monkeypatch: pytest.MonkeyPatch, enough: int
) -> None:
    many = NESTED_MAX_CLASSES + 1
    x, labels = problem((12,) * many, d=40, distance=1.2)
    folds = np.empty(len(labels), np.int64)
    for label in range(many):
        folds[labels == label] = deal(12, 3)
    monkeypatch.setattr("headstart.heads.probe._ENOUGH_TO_CHOOSE", enough)
    narrowed = fit_probe(Blocks(x), labels, many, folds)
    assert not narrowed.nested
    monkeypatch.setattr("headstart.heads.probe.NESTED_MAX_CLASSES", many)
    walked = fit_probe(Blocks(x), labels, many, folds, nested=False)
    tried = [trial.c for trial in narrowed.trials]
    assert len(tried) < len(walked.trials) / 2
    assert narrowed.c in tried
    if enough == 1:
        assert len(tried) == 1
        assert abs(STRENGTHS.index(narrowed.c or 0) - STRENGTHS.index(walked.c or 0)) <= 1
    else:
        assert narrowed.c == walked.c
        assert np.abs(narrowed.probabilities - walked.probabilities).max() < 0.01
    assert accuracy(narrowed, labels) > accuracy(walked, labels) - 0.02


def test_many_classes_choose_between_views_too() -> None:
    many = NESTED_MAX_CLASSES + 1
    x, labels = problem((6,) * many, d=40, distance=2.0)
    folds = np.empty(len(labels), np.int64)
    for label in range(many):
        folds[labels == label] = deal(6, 3)
    probe = fit_probe(Blocks(x), labels, many, folds, mirrored=Blocks(x[:, ::-1]), balance=True)
    assert {trial.mirrored for trial in probe.trials} == {False, True}
    assert not probe.mirrored
    assert accuracy(probe, labels) > 0.5


@pytest.mark.parametrize("n_classes", [3, NESTED_MAX_CLASSES + 1])
def test_classes_that_planes_part_do_not_invite_ever_weaker_ridges(n_classes: int) -> None:
    x, labels = problem((9,) * n_classes, d=60, distance=12.0)
    folds = np.empty(len(labels), np.int64)
    for label in range(n_classes):
        folds[labels == label] = deal(9, 3)
    probe = fit_probe(Blocks(x), labels, n_classes, folds)
    assert accuracy(probe, labels) == 1
    assert probe.c is None or probe.c < 1


def test_temperature_is_divided_in_and_multiplies_out() -> None:
    x, labels = problem((60, 50, 40))
    folds = deal(150)
    probe = fit_probe(Blocks(x), labels, 3, folds, nested=False)
    assert probe.temperature != 1.0
    raw = np.log(probe.uncalibrated)
    assert probe.temperature == pytest.approx(fit_temperature(raw, labels), rel=1e-4)
    assert np.abs(softmax(raw / probe.temperature) - probe.probabilities).max() < 1e-6
    # Sharper or flatter, never another order, and never a worse log loss.
    assert (probe.probabilities.argmax(axis=1) == probe.uncalibrated.argmax(axis=1)).all()
    assert log_loss(probe.probabilities, labels) <= log_loss(probe.uncalibrated, labels)


def test_calibration_mends_an_overconfident_method() -> None:
    # Few images of many features: shrunk LDA, whose probabilities are too sure of themselves.
    x, labels = problem((10, 10), d=200, distance=0.3)
    probe = fit_probe(Blocks(x), labels, 2, deal(20))
    assert log_loss(probe.probabilities, labels) < log_loss(probe.uncalibrated, labels) + 0.05


def test_trials_list_all_that_was_tried() -> None:
    x, labels = problem((60, 50, 40))
    probe = fit_probe(Blocks(x), labels, 3, deal(150))
    assert {trial.method for trial in probe.trials} == {"logistic"}
    strengths = [trial.c for trial in probe.trials]
    assert strengths == list(STRENGTHS[: len(strengths)])  # from strong to weak, without gaps
    assert len(strengths) >= 5
    least = min(probe.trials, key=lambda trial: trial.log_loss)
    assert probe.c == least.c
    position = strengths.index(least.c)
    assert position >= len(strengths) - 3 or len(strengths) == len(STRENGTHS)  # it stops soon after


@pytest.mark.parametrize(("n", "tried"), [(LDA_MAX_PER_CLASS, True), (LDA_MAX_PER_CLASS + 1, False)])
def test_lda_is_tried_on_few_images_only(n: int, tried: bool) -> None:
    x, labels = problem((n, n))
    probe = fit_probe(Blocks(x), labels, 2, deal(2 * n))
    lda = [trial for trial in probe.trials if trial.method == "lda"]
    assert len(lda) == tried
    assert all(trial.c is None and not trial.mirrored for trial in lda)


def test_lda_is_chosen_where_it_is_better() -> None:
    # Strongly correlated features, few images: what LDA is for.
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 10)
    shared = 10 * rng.standard_normal((20, 1)) @ rng.standard_normal((1, 40))
    x = (
        shared + rng.standard_normal((20, 40)) + 0.6 * labels[:, None] * np.sign(rng.standard_normal(40))
    ).astype(np.float32)
    probe = fit_probe(Blocks(x), labels, 2, deal(20))
    best = min(probe.trials, key=lambda trial: trial.log_loss)
    assert best.method == probe.method
    if probe.method == "lda":
        assert probe.c is None


def test_balance_weighs_classes_alike() -> None:
    x, labels = problem((180, 20), distance=0.6)
    plain = fit_probe(Blocks(x), labels, 2, deal(200))
    balanced = fit_probe(Blocks(x), labels, 2, deal(200), balance=True)

    def recall(probe: Probe) -> float:
        return float((probe.probabilities.argmax(axis=1) == labels)[labels == 1].mean())

    assert recall(balanced) > recall(plain)
    assert balanced.probabilities[:, 1].mean() > 1.5 * plain.probabilities[:, 1].mean()


def test_balance_changes_nothing_where_classes_are_alike() -> None:
    x, labels = problem((50, 50, 50))
    folds = np.empty(150, np.int64)
    for label in range(3):
        folds[labels == label] = deal(50)
    plain = fit_probe(Blocks(x), labels, 3, folds)
    balanced = fit_probe(Blocks(x), labels, 3, folds, balance=True)
    assert np.abs(plain.probabilities - balanced.probabilities).max() < 1e-6


def test_mirrored_images_are_used_where_they_help() -> None:
    # The same truth under less noise: what is learnt there holds for the centre view.
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat([0, 1], 40))
    truth = np.outer(labels - 0.5, rng.standard_normal(60))
    views = [(truth + noise * rng.standard_normal((80, 60))).astype(np.float32) for noise in (2.5, 1.0)]
    probe = fit_probe(Blocks(views[0]), labels, 2, deal(80), mirrored=Blocks(views[1]))
    alone = fit_probe(Blocks(views[0]), labels, 2, deal(80))
    assert probe.mirrored
    assert log_loss(probe.probabilities, labels) < log_loss(alone.probabilities, labels)
    assert {trial.mirrored for trial in probe.trials} == {False, True}


def test_mirrored_images_are_left_out_where_they_mislead() -> None:
    x, labels = problem((60, 60))
    rng = np.random.default_rng(6)
    misleading = Blocks(x[rng.permutation(len(x))])
    probe = fit_probe(Blocks(x), labels, 2, deal(120), mirrored=misleading)
    alone = fit_probe(Blocks(x), labels, 2, deal(120))
    assert not probe.mirrored
    assert digest(probe.weight.tobytes()) == digest(alone.weight.tobytes())


def test_mirrored_images_are_used_without_a_choice_when_asked() -> None:
    x, labels = problem((60, 60))
    misleading = Blocks(x[np.random.default_rng(6).permutation(len(x))])
    probe = fit_probe(Blocks(x), labels, 2, deal(120), mirrored=misleading, choose_view=False)
    assert probe.mirrored
    assert all(trial.mirrored for trial in probe.trials)


def test_a_mirror_that_shows_the_same_changes_nothing() -> None:
    # Each image counts once in all, so seeing it twice is no more evidence.
    x, labels = problem((60, 60))
    twice = fit_probe(Blocks(x), labels, 2, deal(120), mirrored=Blocks(x), choose_view=False)
    once = fit_probe(Blocks(x), labels, 2, deal(120))
    assert twice.c == once.c
    assert np.abs(twice.probabilities - once.probabilities).max() < 1e-2


def source_of(weight: Floats) -> SourceClassifier:
    return SourceClassifier(weight.astype(np.float32), np.zeros(len(weight), np.float32), ())


def few_images(seed: int = 5) -> tuple[Floats, Ints, Floats]:
    """Six images of each of three classes in 60 dimensions, and the directions that tell them apart."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), 6))
    truth = 0.4 * rng.standard_normal((3, 60))
    return (truth[labels] + rng.standard_normal((18, 60))).astype(np.float32), labels, truth


@pytest.mark.parametrize("by", ["name", "estimate"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_source_that_knows_the_classes_helps_where_images_are_few(by: str, nested: bool) -> None:
    x, labels, truth = few_images()
    source = source_of(truth)
    named = NamedPrior(source, {k: (k,) for k in range(3)}, 3, Blocks(x))
    prior = named if by == "name" else EstimatedPrior(source, Blocks(x), labels, 3)
    probe = fit_probe(Blocks(x), labels, 3, deal(18), prior=prior, nested=nested)
    alone = fit_probe(Blocks(x), labels, 3, deal(18), nested=nested)
    assert probe.prior
    assert not alone.prior
    assert log_loss(probe.probabilities, labels) < log_loss(alone.probabilities, labels)
    fresh = np.random.default_rng(9)
    y = fresh.integers(0, 3, 300)
    z = truth[y] + fresh.standard_normal((300, 60))
    found = [log_loss(softmax(z @ head.weight.T + head.bias), y) for head in (probe, alone)]
    assert found[0] < found[1] - 0.1
    assert {trial.prior for trial in probe.trials} == {False, True}


def test_a_source_that_misleads_is_left_out() -> None:
    x, labels = problem((40, 40), distance=2.0)
    wrong = 5 * np.random.default_rng(3).standard_normal((2, 24))
    prior = NamedPrior(source_of(wrong), {0: (0,), 1: (1,)}, 2, Blocks(x))
    probe = fit_probe(Blocks(x), labels, 2, deal(80), prior=prior)
    alone = fit_probe(Blocks(x), labels, 2, deal(80))
    assert not probe.prior
    assert digest(probe.weight.tobytes()) == digest(alone.weight.tobytes())


@pytest.mark.parametrize("with_mirror", [False, True])
def test_the_head_with_a_prior_is_the_exact_solution(with_mirror: bool) -> None:
    x, labels, truth = few_images()
    prior = NamedPrior(source_of(truth), {k: (k,) for k in range(3)}, 3, Blocks(x))
    mirrored = Blocks(x + np.float32(0.1)) if with_mirror else None
    probe = fit_probe(Blocks(x), labels, 3, deal(18), mirrored=mirrored, choose_view=False, prior=prior)
    assert (probe.prior, probe.mirrored) == (True, with_mirror)
    rows = np.concatenate([x, x + np.float32(0.1)]) if with_mirror else x
    views = len(rows) // 18
    path = LogisticPath(
        Blocks(rows),
        np.tile(labels, views),
        3,
        np.full((1, len(rows)), 1 / views, np.float32),
        prior=prior.heads(np.ones((1, 18), np.bool_))[0],
    )
    exact = path.solve(1 / probe.c)
    found = softmax(probe.temperature * (rows @ probe.weight.T + probe.bias))
    assert np.abs(found - softmax(exact.logits[:, 0].T)).max() < 1e-4


def test_an_estimated_prior_leaks_no_label_of_a_fold_into_its_prediction() -> None:
    x, labels, truth = few_images()
    folds = deal(18)
    before, after = (
        fit_probe(Blocks(x), y, 3, folds, prior=EstimatedPrior(source_of(truth), Blocks(x), y, 3))
        for y in (labels, np.where(folds == 2, (labels + 1) % 3, labels))
    )
    own = folds == 2
    assert (before.probabilities[own] == after.probabilities[own]).all()
    assert (before.probabilities[~own] != after.probabilities[~own]).any()


def test_streamed_features_give_the_same_probe() -> None:
    x, labels = problem((60, 50, 40))
    whole = fit_probe(Blocks(x), labels, 3, deal(150))
    streamed = fit_probe(Blocks(x, 3), labels, 3, deal(150))
    assert whole.c == streamed.c
    assert np.abs(whole.probabilities - streamed.probabilities).max() < 1e-3


def test_problems_in_many_groups_give_the_same_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = problem((60, 50, 40))
    together = fit_probe(Blocks(x), labels, 3, deal(150))
    monkeypatch.setattr("headstart.heads.probe._GROUP_BYTES", 1)
    apart = fit_probe(Blocks(x), labels, 3, deal(150))
    assert together.c == apart.c
    assert np.abs(together.probabilities - apart.probabilities).max() < 1e-3


def test_same_input_gives_the_same_bytes() -> None:
    x, labels = problem((12, 9, 9))
    first, second = (fit_probe(Blocks(x), labels, 3, deal(30), mirrored=Blocks(x[:, ::-1])) for _ in range(2))
    assert digest(first.weight.tobytes()) == digest(second.weight.tobytes())
    assert digest(first.bias.tobytes()) == digest(second.bias.tobytes())
    assert digest(first.probabilities.tobytes()) == digest(second.probabilities.tobytes())
    assert first.trials == second.trials


@pytest.mark.parametrize("nested", [True, False])
def test_few_groups_a_class_are_no_obstacle(nested: bool) -> None:
    # Two patients a class: without two of the three folds a class is missing from each inner fit. No
    # strength predicts it, so its images must not decide on the strength, nor on the temperature.
    x, labels = problem((40, 40, 40), distance=1.5)
    first = np.random.default_rng(0).random(120) < 0.5
    folds = np.where(first, labels, (labels + 1) % 3)
    probe = fit_probe(Blocks(x), labels, 3, folds, nested=nested)
    assert accuracy(probe, labels) > 0.85
    assert log_loss(probe.probabilities, labels) < 0.6


def test_class_absent_from_a_fit_is_never_certain() -> None:
    # All images of class 2 are in one fold, so that the fits without it have never seen the class.
    x, labels = problem((30, 30, 6))
    folds = np.where(labels == 2, 0, deal(66))
    probe = fit_probe(Blocks(x), labels, 3, folds)
    assert np.isfinite(probe.probabilities).all()
    assert np.isfinite(probe.weight).all()
    assert (probe.probabilities[labels == 2].argmax(axis=1) != 2).all()
    assert np.isfinite(log_loss(np.maximum(probe.probabilities, 1e-12), labels))
