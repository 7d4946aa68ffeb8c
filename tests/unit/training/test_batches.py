"""What the loop is fed with depends on seed, epoch and image alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.data.augment import POLICIES
from headstart.data.dataset import Dataset
from headstart.data.pixels import PixelStore
from headstart.training.batches import GrowingBatches, ImageBatches, ShortEpochs, count_repeats, shuffle
from headstart.training.processes import Processes


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> ImageBatches:
    """Nine pictures of one class and two of another, in batches of four."""
    folder = tmp_path_factory.mktemp("photos")
    for n in range(11):
        path = folder / ("few" if n < 2 else "many") / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 48, 3), np.uint8)).save(path)
    dataset = Dataset.read(folder)
    store = PixelStore.whole(folder / "cache", 36)
    store.fill([sample.file for sample in dataset.samples])
    keys = [sample.file.key for sample in dataset.samples]
    return ImageBatches(store, keys, dataset.class_indices(), POLICIES["strong"], 32, 4, 7)


def like(batches: ImageBatches, **changes: object) -> ImageBatches:
    return ImageBatches(**{**vars(batches), **changes})


def test_an_epoch_shows_each_image_once_as_its_view(batches: ImageBatches) -> None:
    order = shuffle(batches.labels, [7, 3], balance=False)
    made = list(batches.epoch(3))
    assert [len(views) for views, _ in made] == [4, 4, 3]
    assert sorted(order) == list(range(11))
    views = np.concatenate([views.numpy() for views, _ in made])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in made]), batches.labels[order])
    for view, row in zip(views, order, strict=True):
        np.testing.assert_array_equal(view, batches.view(int(row), 3))


def test_an_epoch_that_goes_on_shows_what_it_would_have_shown(batches: ImageBatches) -> None:
    for (views, labels), (again, same) in zip(list(batches.epoch(2))[1:], batches.epoch(2, 1), strict=True):
        np.testing.assert_array_equal(views, again)
        np.testing.assert_array_equal(labels, same)


def test_a_view_does_not_depend_on_the_other_images(batches: ImageBatches) -> None:
    alone = like(batches, keys=batches.keys[5:6], labels=batches.labels[5:6])
    np.testing.assert_array_equal(alone.view(0, 1), batches.view(5, 1))
    assert (batches.view(5, 0) != batches.view(5, 1)).any()


def test_balanced_repeats_are_augmented_anew(batches: ImageBatches) -> None:
    made = list(like(batches, balance=True).epoch(0))
    labels = np.concatenate([labels for _, labels in made])
    few = np.concatenate([views for views, _ in made])[labels == 0]
    assert len(few) in (5, 6)
    assert len({view.tobytes() for view in few}) == len(few)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_balanced_draws_are_even_between_classes_and_within(labels: list[int], seed: int) -> None:
    array = np.array(labels)
    order = shuffle(array, [seed, 0], balance=True)
    assert len(order) == len(labels)
    draws = np.bincount(order, minlength=len(labels))
    by_class = [draws[array == name] for name in np.unique(array)]
    assert np.ptp([some.sum() for some in by_class]) <= 1
    assert all(np.ptp(some) <= 1 for some in by_class)


def test_repeats_are_counted_in_order() -> None:
    assert count_repeats(np.array([4, 2, 4, 4, 2])).tolist() == [0, 0, 1, 2, 1]


@given(st.integers(1, 8), st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_short_epochs_deal_out_the_same_batches_one_after_the_other(
    batches: ImageBatches, steps: int, start: int
) -> None:
    whole = [labels.tolist() for epoch in range(8) for _, labels in batches.epoch(epoch)]
    short = ShortEpochs(batches, steps)
    dealt = [labels.tolist() for epoch in range(3) for _, labels in short.epoch(epoch)]
    assert short.n_steps() == steps
    assert dealt == whole[: 3 * steps]
    again = [labels.tolist() for _, labels in short.epoch(2, min(start, steps))]
    assert again == dealt[2 * steps + min(start, steps) :]


def test_growing_batches_show_the_same_images_in_other_sizes(batches: ImageBatches) -> None:
    growing = GrowingBatches(lambda px: ShortEpochs(like(batches, size_px=px), 2), (16, 32))
    assert growing.n_steps() == 2
    plain = ShortEpochs(batches, 2)
    for epoch, px in enumerate((16, 32)):
        for (views, labels), (_, expected) in zip(growing.epoch(epoch), plain.epoch(epoch), strict=True):
            assert views.shape[1:] == (px, px, 3)
            np.testing.assert_array_equal(labels, expected)
    (later,), (_, second) = growing.epoch(1, 1), growing.epoch(1)
    np.testing.assert_array_equal(later[0], second[0])


@pytest.mark.parametrize("count", [2, 3])
def test_processes_make_their_shares_of_the_same_batches(batches: ImageBatches, count: int) -> None:
    whole = list(batches.epoch(3))
    shares = [list(like(batches, processes=Processes(rank, count)).epoch(3)) for rank in range(count)]
    for step, (views, labels) in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([share[step][0] for share in shares]), views)
        np.testing.assert_array_equal(np.concatenate([share[step][1] for share in shares]), labels)
