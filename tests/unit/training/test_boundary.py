"""Cached activations are what the frozen part gives, and each epoch shows one view of each image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from headstart.config import RuntimeName
from headstart.errors import StorageError
from headstart.training.boundary import (
    ActivationBatches,
    Activations,
    evaluation_batches,
    store_activations,
)

SIZE = (10, 3)


class Doubling:
    """A frozen part that gives an image's pixels twice over, `(N, 3, 2, 2)`."""

    name: RuntimeName = "torch-fp32"
    batch_size = 1
    parallel = 2
    calls = 0

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        return 2.0 * views.transpose(0, 3, 1, 2).astype(np.float32)


def make_view(row: int, number: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), 10 * row + number, np.uint8)


def store(folder: Path, lower: Doubling | None = None) -> Activations:
    return store_activations(folder / "a.bin", lower or Doubling(), make_view, SIZE, lambda _: None)


def test_every_view_of_every_image_is_stored(tmp_path: Path) -> None:
    activations = store(tmp_path)
    assert activations.data.shape == (10, 3, 2, 2, 3)
    batch = activations.batch(np.array([4, 1]), np.array([2, 0]))
    assert batch.shape == (2, 3, 2, 2)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch[:, 0, 0, 0].numpy(), [2 * 42, 2 * 10])


def test_what_is_stored_is_not_made_again(tmp_path: Path) -> None:
    first, lower = store(tmp_path).data.copy(), Doubling()
    np.testing.assert_array_equal(store(tmp_path, lower).data, first)
    assert lower.calls == 0


def test_a_part_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    first = store(tmp_path).data.copy()
    file = tmp_path / "a.bin"
    file.write_bytes(file.read_bytes()[:-2])
    np.testing.assert_array_equal(store(tmp_path).data, first)


@pytest.mark.parametrize("first_epoch", [0, 2])
def test_an_epoch_shows_each_image_once_and_k_epochs_each_view(tmp_path: Path, first_epoch: int) -> None:
    batches = ActivationBatches(store(tmp_path), np.arange(10), 4, seed=3, first_epoch=first_epoch)
    seen = set()
    for epoch in range(first_epoch, first_epoch + SIZE[1]):
        shown = [
            (int(label), int(value) // 2)
            for inputs, labels in batches.epoch(epoch)
            for label, value in zip(labels, inputs[:, 0, 0, 0], strict=True)
        ]
        assert sorted(label for label, _ in shown) == list(range(10))
        seen |= set(shown)
    assert seen == {(row, 10 * row + view) for row in range(10) for view in range(3)}


def test_an_epoch_can_begin_in_its_midst(tmp_path: Path) -> None:
    batches = ActivationBatches(store(tmp_path), np.arange(10), 4, seed=3)
    whole, rest = list(batches.epoch(1)), list(batches.epoch(1, 2))
    assert len(whole) == batches.n_steps() == 3
    for expected, given in zip(whole[2:], rest, strict=True):
        assert torch.equal(expected[0], given[0])


def test_evaluation_takes_the_first_view_in_order(tmp_path: Path) -> None:
    values = torch.cat(list(evaluation_batches(store(tmp_path))))[:, 0, 0, 0]
    np.testing.assert_array_equal(values.numpy(), 20 * np.arange(10))


def test_values_beyond_float16_are_its_largest(tmp_path: Path) -> None:
    class Huge(Doubling):
        def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().embed(views) * np.float32(1e6)

    assert np.isfinite(store(tmp_path, Huge()).data).all()


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        store(tmp_path / "file")
