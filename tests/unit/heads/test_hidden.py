"""Layers between features and the linear head, as arrays."""

from itertools import pairwise

import numpy as np
import pytest

from headstart.heads.hidden import Floats, Hidden, apply_hidden, layers_of, name_tensors


def make_layers() -> tuple[Hidden, Floats, Floats]:
    rng = np.random.default_rng(0)
    sizes = (5, 4, 3, 2)
    layers = [
        (rng.standard_normal((upper, lower), np.float32), rng.standard_normal(upper, np.float32))
        for lower, upper in pairwise(sizes)
    ]
    return tuple(layers[:-1]), *layers[-1]


def test_layers_are_rectified_one_after_the_other() -> None:
    hidden, _, _ = make_layers()
    x = np.random.default_rng(1).standard_normal((6, 5), np.float32)
    first = np.maximum(x @ hidden[0][0].T + hidden[0][1], 0)
    expected = np.maximum(first @ hidden[1][0].T + hidden[1][1], 0)
    np.testing.assert_allclose(apply_hidden(x, hidden), expected)
    assert (expected == 0).any()
    assert apply_hidden(x, ()) is x


def test_names_are_undone() -> None:
    hidden, weight, bias = make_layers()
    tensors = name_tensors(hidden, weight, bias)
    assert list(tensors)[:2] == ["hidden.0.weight", "hidden.0.bias"]
    assert list(tensors)[-2:] == ["output.weight", "output.bias"]
    found, found_weight, found_bias = layers_of(tensors)
    assert found_weight is weight
    assert found_bias is bias
    for layer, other in zip(found, hidden, strict=True):
        assert [a is b for a, b in zip(layer, other, strict=True)] == [True, True]


@pytest.mark.parametrize("gone", ["output.bias", "hidden.1.bias", "hidden.0.weight"])
def test_a_missing_tensor_is_named(gone: str) -> None:
    tensors = name_tensors(*make_layers())
    del tensors[gone]
    with pytest.raises(ValueError, match=f"the head lacks the tensor '{gone}'"):
        layers_of(tensors)


def test_layers_of_unequal_width_are_refused() -> None:
    tensors = name_tensors(*make_layers())
    tensors["hidden.1.weight"] = np.zeros((3, 7), np.float32)
    with pytest.raises(ValueError, match=r"layer hidden\.1 takes 7 values and is given 4"):
        layers_of(tensors)
