"""Accuracy against the number of training images: measured on subsets, and foretold beyond all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.data.splits import choose_n_folds, make_folds
from headstart.evaluation.power_law import PowerLaws, fit_power_laws
from headstart.features.store import FeatureTable
from headstart.heads.probe import fit_probe
from headstart.metrics.intervals import wilson_interval
from headstart.metrics.paired import Estimate, mean_accuracy

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

FACTORS = (2, 4)
"""How many times as many images are foretold."""

_FOLDS = 3  # of the choice of strength: the probe's five cost half as much again and choose alike
_STEPS = 8  # sizes below the whole, each the one above divided by the square root of 2
_LEAST_A_CLASS = 4
_DRAWS = 2000
_LEAST_JUDGED = 5  # test images of a class, or its curve is chance alone
_TAIL = 0.025


@dataclass(frozen=True, slots=True, eq=False)
class Learners:
    """Images to learn from.

    Attributes:
        features: N rows.
        keys: Content of each image.
        labels: `(N,)`.
        groups: `(N,)`; copies and near-duplicates share a number.
        n_classes: K.
    """

    features: FeatureTable
    keys: Sequence[str]
    labels: Ints
    groups: Ints
    n_classes: int

    def take(self, rows: Ints) -> "Learners":
        """Some of them."""
        keys = [self.keys[row] for row in rows]
        return Learners(self.features.take(rows), keys, self.labels[rows], self.groups[rows], self.n_classes)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What heads on ever more images say of the same test images.

    Attributes:
        sizes: Numbers of training images, rising, `(M,)`; the last is all of them.
        answers: Class given to each of N test images by the heads of each size, M times `(S, N)`; of all
            images there is one head alone.
        labels: True classes `(N,)`.
    """

    sizes: Ints
    answers: tuple[Ints, ...]
    labels: Ints

    def correct(self, images: Bools | None = None) -> list[Bools]:
        """Which answers are right, M times `(S, n)`, of all test images or some."""
        chosen = slice(None) if images is None else images
        return [answers[:, chosen] == self.labels[chosen] for answers in self.answers]

    def accuracies(self) -> list[Estimate]:
        """Mean accuracy at each size; the intervals count images and subsets."""
        return [mean_accuracy(correct) for correct in self.correct()]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The accuracy to expect of `factor` times as many images, n of them."""

    factor: int
    n: int
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Need:
    """What twice as many images of every class would bring to one class.

    Attributes:
        name: Of the class.
        n_train: Its training images.
        recall: Share of its test images that is found with all training images.
        gain: Of that share; None where its test images are too few to tell.
    """

    name: str
    n_train: int
    recall: float | None
    gain: Estimate | None


def measure_curve(
    learners: Learners,
    judged: FeatureTable,
    labels: Ints,
    *,
    seeds: Sequence[int],
    advance: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Solve a head on every subset and let it judge the test images.

    The subsets of a seed are nested, and every class keeps its share in them. Each head is chosen as the
    probe's is, by cross-validation inside its own subset.

    Args:
        learners: Training images.
        judged: Features of the test images.
        labels: Their classes `(N,)`.
        seeds: One nested series of subsets each.
        advance: Told of each head.
    """
    counts = np.bincount(learners.labels, minlength=learners.n_classes)
    sizes = plan_sizes(counts)
    answers: list[list[Ints]] = [[] for _ in sizes]
    for seed in seeds:
        order = _deal(learners, seed)
        for place, share in enumerate(sizes):
            if share == 1 and seed != seeds[0]:
                continue
            rows = np.concatenate([own[: _part(len(own), share)] for own in order])
            answers[place].append(solve(learners.take(np.sort(rows)), judged, seed))
            advance(1)
    totals = [sum(_part(count, share) for count in counts.tolist()) for share in sizes]
    return Measured(np.array(totals), tuple(np.stack(some) for some in answers), labels)


def plan_sizes(counts: Ints) -> list[float]:
    """Shares of the training images to learn from, rising to 1; small classes keep four images."""
    smallest = int(counts[counts > 0].min())
    shares = [2 ** (-step / 2) for step in range(_STEPS + 1)]
    return sorted(share for share in shares if share == 1 or share * smallest >= _LEAST_A_CLASS)


def fit_curve(measured: Measured) -> PowerLaws:
    """The law of the measured means, B = 1."""
    correct = measured.correct()
    means = 1 - np.array([[some.mean() for some in correct]])
    return fit_power_laws(measured.sizes.astype(np.float64), means, _weights(correct))


def forecast(measured: Measured, *, seed: int = 0) -> list[Forecast]:
    """Foretell the accuracy of 2 and 4 times as many images, with 95 % prediction intervals.

    Three things widen an interval, and add as independent errors do: the draws of test images and of
    subsets, by a bootstrap of both (at the least Wilson's interval with as many test images); one subset's
    own spread; and how far the law missed when it was fitted without the upper sizes and had to foretell
    the accuracy of all images. The last is what tells where the law does not hold.
    """
    whole = int(measured.sizes[-1])
    laws, centre = _resample(measured.correct(), measured.sizes, seed), fit_curve(measured)
    spread = _spread_of_one(measured)
    forecasts = []
    for factor in FACTORS:
        n = np.array([float(factor * whole)])
        value = 1 - float(centre.errors(n)[0, 0])
        drawn = 1 - laws.errors(n)[:, 0]
        low, high = np.quantile(drawn, [_TAIL, 1 - _TAIL])
        wilson = wilson_interval(value * len(measured.labels), len(measured.labels))
        further = np.hypot(2 * spread, backtest(measured, factor))
        below = np.hypot(max(value - low, value - wilson[0]), further)
        above = np.hypot(max(high - value, wilson[1] - value), further)
        interval = Estimate(value, max(value - float(below), 0.0), min(value + float(above), 1.0))
        forecasts.append(Forecast(factor, factor * whole, interval))
    return forecasts


def backtest(measured: Measured, factor: int) -> float:
    """How far the law misses all images' accuracy when fitted on the sizes up to a `factor`-th of them.

    Where fewer than three sizes are so small, the lowest three are taken.
    """
    known = max(int((measured.sizes * factor <= measured.sizes[-1] * 1.01).sum()), 3)
    if known >= len(measured.sizes):
        return 0.0
    part = Measured(measured.sizes[:known], measured.answers[:known], measured.labels)
    foretold = 1 - float(fit_curve(part).errors(measured.sizes[-1:].astype(np.float64))[0, 0])
    return abs(foretold - float(measured.correct()[-1].mean()))


def find_needs(measured: Measured, counts: dict[str, int], *, seed: int = 0) -> list[Need]:
    """What twice as many images would bring to each class, the largest gain first.

    Args:
        measured: All classes.
        counts: Training images of each class, in the order of the classes.
        seed: Of the bootstrap.
    """
    twice = measured.sizes[-1] * np.array([1.0, 2.0])
    needs = []
    for k, (name, n_train) in enumerate(counts.items()):
        images = measured.labels == k
        correct = measured.correct(images)
        recall = float(correct[-1].mean()) if images.any() else None
        gain = None
        if images.sum() >= _LEAST_JUDGED and len(measured.sizes) > 1:
            laws = _resample(correct, measured.sizes, seed)
            drawn = -np.diff(laws.errors(twice), axis=1)[:, 0]
            low, high = np.quantile(drawn, [_TAIL, 1 - _TAIL])
            gain = Estimate(float(np.median(drawn)), float(low), float(high))
        needs.append(Need(name, n_train, recall, gain))
    return sorted(needs, key=lambda need: -need.gain.value if need.gain else 1.0)


def _deal(learners: Learners, seed: int) -> list[Ints]:
    """Each class's rows in random order, copies and near-duplicates side by side."""
    rng = np.random.default_rng(seed)
    rank = rng.permutation(int(learners.groups.max()) + 1)
    order = np.lexsort((rng.permutation(len(learners.labels)), rank[learners.groups]))
    return [order[learners.labels[order] == k] for k in range(learners.n_classes)]


def _part(count: int, share: float) -> int:
    return int(np.ceil(count * share - 1e-9))


def solve(learners: Learners, judged: FeatureTable, seed: int) -> Ints:
    """Fit a head as the probe is, and answer: classes `(N,)`."""
    folds = make_folds(
        learners.keys,
        learners.labels,
        learners.groups,
        n_folds=choose_n_folds(learners.labels, learners.groups, _FOLDS),
        seed=seed,
    )
    probe = fit_probe(learners.features, learners.labels, learners.n_classes, folds, nested=False)
    answers = [(x @ probe.weight.T + probe.bias).argmax(axis=1) for _, x in judged.blocks()]
    return np.concatenate(answers).astype(np.int64)


def _weights(correct: Sequence[Bools]) -> Floats:
    """Inverse variances of the mean errors `(M,)`: those of subsets, and a part of the images'.

    The images are the same at all sizes, so their draw moves the curve more than it bends it.
    """
    variances = []
    for some in correct:
        error = float(np.clip(1 - some.mean(), 0.5 / some.shape[1], 1 - 0.5 / some.shape[1]))
        between = float(some.mean(axis=1).var(ddof=1)) if len(some) > 1 else 0.0
        variances.append(between / len(some) + 0.25 * error * (1 - error) / some.shape[1])
    return 1 / np.array(variances)


def _resample(correct: Sequence[Bools], sizes: Ints, seed: int) -> PowerLaws:
    """The laws of 2,000 draws of test images and of subsets, with replacement."""
    rng = np.random.default_rng(seed)
    n_images, n_seeds = correct[0].shape[1], max(len(some) for some in correct)
    images = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=_DRAWS) / n_images
    drawn = rng.integers(0, n_seeds, (_DRAWS, n_seeds))
    errors = np.empty((_DRAWS, len(correct)))
    for place, some in enumerate(correct):
        per_seed = images @ (~some).T.astype(np.float64)  # (B, S)
        errors[:, place] = np.take_along_axis(per_seed, drawn % len(some), axis=1).mean(axis=1)
    return fit_power_laws(sizes.astype(np.float64), errors, _weights(correct))


def _spread_of_one(measured: Measured) -> float:
    """Standard deviation of the accuracy from one subset to another, at the largest that vary."""
    varied = [some.mean(axis=1).std(ddof=1) for some in measured.correct() if len(some) > 1]
    return float(varied[-1]) if varied else 0.0
