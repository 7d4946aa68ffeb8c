"""Laws of groups, hold-out parts and folds, on data that hypothesis makes up."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.data.splits import (
    Ints,
    choose_n_folds,
    hold_out,
    make_folds,
    make_groups,
    parse_split,
    unit_hash,
)

NO_LINKS = np.zeros((0, 2), np.int64)


def ints(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)


@st.composite
def grouped(draw: st.DrawFn, max_classes: int = 4, pure: bool = False) -> tuple[list[str], Ints, Ints]:
    """Keys, labels and groups of a small data set; `pure` groups have one class each."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = draw(st.lists(st.integers(0, max_classes - 1), min_size=len(groups), max_size=len(groups)))
    classes = ints(labels)[groups] if pure else ints(labels)
    return [f"key{n}" for n in range(len(groups))], classes, groups


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train", "train"),
        ("VALID", "val"),
        ("validation", "val"),
        (" val ", "val"),
        ("test", "test"),
        ("dev", None),
    ],
)
def test_parse_split(name: str, split: str | None) -> None:
    assert parse_split(name) == split


def test_groups_join_copies_names_and_links() -> None:
    keys = ["a", "b", "a", "c", "d", "e", "f"]
    names = [None, "p", None, "p", None, None, None]
    groups = make_groups(keys, names, ints([4, 3, 5, 5]).reshape(2, 2))
    assert groups.tolist() == [0, 1, 0, 1, 1, 2, 3]
    assert groups.dtype == np.int64
    assert make_groups([], [], NO_LINKS).tolist() == []


@settings(deadline=None)
@given(st.data())
def test_groups_are_the_connected_components(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    keys = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=n, max_size=n))
    names = data.draw(st.lists(st.sampled_from(["p", "q", None]), min_size=n, max_size=n))
    index = st.integers(0, n - 1)
    links = data.draw(st.lists(st.tuples(index, index), max_size=6))
    joined = np.eye(n, dtype=bool)
    for i in range(n):
        for j in range(n):
            same_name = names[i] is not None and names[i] == names[j]
            joined[i, j] |= keys[i] == keys[j] or same_name or (i, j) in links or (j, i) in links
    for _ in range(n):
        joined = joined @ joined
    groups = make_groups(keys, names, np.array(links).reshape(-1, 2))
    assert np.array_equal(groups[:, None] == groups[None, :], joined)
    first_seen = list(dict.fromkeys(groups.tolist()))
    assert first_seen == list(range(len(first_seen)))


@settings(deadline=None)
@given(st.text(), st.integers())
def test_unit_hash_lies_in_the_unit_interval(text: str, seed: int) -> None:
    assert 0 <= unit_hash(text, seed) < 1
    assert unit_hash(text, seed) == unit_hash(text, seed)


def test_unit_hash_is_the_same_on_every_machine() -> None:
    assert unit_hash("abc", 0) == 0.4177196973376105
    assert unit_hash("abc", 1) != unit_hash("abc", 0)


def test_unit_hash_is_uniform() -> None:
    values = np.array([unit_hash(str(n), 3) for n in range(20_000)])
    assert np.abs(np.histogram(values, 10, (0, 1))[0] - 2000).max() < 200


@settings(deadline=None)
@given(st.data(), st.integers(0, 1000))
def test_adding_images_moves_none_from_training_to_test(data: st.DataObject, seed: int) -> None:
    n = 240  # 120 a class: that a fifth of them comes out empty has a chance of 1e-11
    extra_links = st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=12)
    copies = data.draw(st.lists(st.integers(0, n - 1), max_size=6))
    keys = [f"{seed}-{i}" for i in range(n)]
    for i in copies:
        keys[i] = keys[0]
    names = [f"video{i}" if i % 10 == 0 else None for i in range(n)]
    labels = np.arange(n) % 2
    links = np.array(data.draw(extra_links)).reshape(-1, 2)
    # The smaller set lacks a third of the images, which at most thins each class.
    absent = set(data.draw(st.lists(st.integers(0, n - 1), max_size=n // 3)))
    small = np.array([i for i in range(n) if i not in absent])
    position = {int(i): at for at, i in enumerate(small)}
    small_links = np.array(
        [(position[i], position[j]) for i, j in links.tolist() if i in position and j in position]
    ).reshape(-1, 2)

    def part(chosen: Ints, pairs: Ints) -> dict[int, bool]:
        some_keys, some_names = [keys[i] for i in chosen], [names[i] for i in chosen]
        groups = make_groups(some_keys, some_names, pairs)
        held = hold_out(some_keys, labels[chosen], groups, some_names, fraction=0.2, seed=seed)
        return dict(zip(chosen.tolist(), held.tolist(), strict=True))

    before, after = part(small, small_links), part(np.arange(n), links)
    assert not [i for i in before if not before[i] and after[i]]


@settings(deadline=None)
@given(grouped(pure=True), st.floats(0.01, 0.99), st.integers(0, 99))
def test_hold_out_keeps_groups_whole_and_classes_on_both_sides(
    made: tuple[list[str], Ints, Ints], fraction: float, seed: int
) -> None:
    keys, labels, groups = made
    held = hold_out(keys, labels, groups, [None] * len(keys), fraction=fraction, seed=seed)
    assert held.dtype == np.bool_
    for group in np.unique(groups):
        assert len(np.unique(held[groups == group])) == 1
    for label in np.unique(labels):
        own = held[labels == label]
        assert not own.all()
        if len(np.unique(groups[labels == label])) > 1:
            assert own.any()


@settings(deadline=None)
@given(grouped(), st.floats(0.01, 0.99))
def test_hold_out_leaves_every_class_something_to_train_on(
    made: tuple[list[str], Ints, Ints], fraction: float
) -> None:
    keys, labels, groups = made
    held = hold_out(keys, labels, groups, [None] * len(keys), fraction=fraction, seed=0)
    assert all(not held[labels == label].all() for label in np.unique(labels))


@settings(deadline=None)
@given(grouped(pure=True), st.integers(0, 99))
def test_hold_out_follows_the_images_not_their_order(made: tuple[list[str], Ints, Ints], seed: int) -> None:
    keys, labels, groups = made
    order = np.random.default_rng(seed).permutation(len(keys))
    names = [None] * len(keys)
    held = hold_out(keys, labels, groups, names, fraction=0.3, seed=1)
    shuffled = hold_out([keys[i] for i in order], labels[order], groups[order], names, fraction=0.3, seed=1)
    assert np.array_equal(shuffled, held[order])


def test_hold_out_takes_about_the_fraction() -> None:
    n = 5000
    keys = [str(i) for i in range(n)]
    held = hold_out(keys, np.arange(n) % 10, np.arange(n), [None] * n, fraction=0.2, seed=0)
    assert abs(held.mean() - 0.2) < 0.02


def test_a_named_group_is_drawn_as_one() -> None:
    n = 2000
    keys = [str(i) for i in range(n)]
    names = [f"patient {i // 10}" for i in range(n)]
    groups = make_groups(keys, names, NO_LINKS)
    held = hold_out(keys, np.zeros(n, np.int64), groups, names, fraction=0.3, seed=0)
    assert abs(held.mean() - 0.3) < 0.1


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 20.0, float("nan")])
def test_hold_out_refuses_other_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
        hold_out(["a"], ints([0]), ints([0]), [None], fraction=fraction, seed=0)


def test_hold_out_of_nothing() -> None:
    assert hold_out([], ints([]), ints([]), [], fraction=0.5, seed=0).tolist() == []


@pytest.mark.parametrize(
    ("labels", "groups", "expected"),
    [
        ([0] * 9 + [1] * 9, range(18), 5),
        ([0] * 9 + [1] * 4, range(13), 4),
        ([0] * 9 + [1] * 2, range(11), 3),
        ([0] * 9 + [1] * 9, [0] * 5 + [1, 2, 3, 4] + [5] * 6 + [6, 7, 8], 4),
        ([0, 1], [0, 1], 2),
        ([0, 1], [0, 0], 1),
        ([], [], 0),
    ],
)
def test_choose_n_folds(labels: Sequence[int], groups: Sequence[int], expected: int) -> None:
    assert choose_n_folds(ints(labels), ints(groups)) == expected


@settings(deadline=None)
@given(grouped(), st.integers(0, 99))
def test_folds_keep_groups_whole_and_are_never_empty(made: tuple[list[str], Ints, Ints], seed: int) -> None:
    keys, labels, groups = made
    n_folds = choose_n_folds(labels, groups)
    folds = make_folds(keys, labels, groups, n_folds=n_folds, seed=seed)
    assert folds.dtype == np.int64
    assert folds.shape == labels.shape
    assert set(folds.tolist()) == set(range(n_folds))
    assert all(len(np.unique(folds[groups == group])) == 1 for group in np.unique(groups))


@settings(deadline=None)
@given(grouped(pure=True))
def test_every_class_with_two_groups_can_be_trained_in_every_fold(made: tuple[list[str], Ints, Ints]) -> None:
    keys, labels, groups = made
    folds = make_folds(keys, labels, groups, n_folds=choose_n_folds(labels, groups), seed=0)
    for label in np.unique(labels):
        if len(np.unique(groups[labels == label])) > 1:
            assert len(np.unique(folds[labels == label])) > 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=60), st.integers(2, 5))
def test_folds_of_single_images_differ_by_one_in_every_class(labels: list[int], n_folds: int) -> None:
    keys = [f"key{n}" for n in range(len(labels))]
    folds = make_folds(keys, ints(labels), np.arange(len(labels)), n_folds=n_folds, seed=0)
    for label in set(labels):
        counts = np.bincount(folds[ints(labels) == label], minlength=n_folds)
        assert np.ptp(counts) <= 1


@settings(deadline=None)
@given(grouped(), st.integers(0, 99))
def test_folds_follow_the_images_not_their_order(made: tuple[list[str], Ints, Ints], seed: int) -> None:
    keys, labels, groups = made
    order = np.random.default_rng(seed).permutation(len(keys))
    renumbered = (groups * 7 + 3)[order]
    n_folds = choose_n_folds(labels, groups)
    folds = make_folds(keys, labels, groups, n_folds=n_folds, seed=seed)
    shuffled = make_folds([keys[i] for i in order], labels[order], renumbered, n_folds=n_folds, seed=seed)
    assert np.array_equal(shuffled, folds[order])


def test_large_groups_are_balanced() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 40, 60))
    labels = rng.integers(0, 2, len(groups))
    keys = [str(i) for i in range(len(groups))]
    folds = make_folds(keys, labels, groups, n_folds=5, seed=0)
    for label in (0, 1):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert np.ptp(counts) < 0.1 * counts.mean()


def test_another_seed_deals_otherwise() -> None:
    keys = [str(i) for i in range(100)]
    first, second = (
        make_folds(keys, np.arange(100) % 2, np.arange(100), n_folds=5, seed=seed) for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("n_folds", [0, 4])
def test_folds_need_as_many_groups(n_folds: int) -> None:
    with pytest.raises(ValueError, match=f"3 groups can't make {n_folds} folds; ask choose_n_folds"):
        make_folds(["a", "b", "c"], ints([0, 1, 0]), ints([0, 1, 2]), n_folds=n_folds, seed=0)
