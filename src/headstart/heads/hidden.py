"""Hidden layers between the features and the linear layer of a head, as plain arrays."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

Hidden = tuple[tuple[Floats, Floats], ...]
"""Weight `(m, n)` and bias `(m,)` of each layer, from the features up; its output is rectified."""


def apply_hidden(features: Floats, hidden: Hidden) -> Floats:
    """What the linear layer takes, `(N, m)`, of features `(N, d)`; the features themselves without layers."""
    for weight, bias in hidden:
        features = np.maximum(features @ weight.T + bias, 0)
    return features


def name_tensors(hidden: Hidden, weight: Floats, bias: Floats) -> dict[str, Floats]:
    """A whole head under the names of its file: `hidden.0.weight`, ..., `output.weight`, `output.bias`."""
    layers = {f"hidden.{n}.{name}": array for n, layer in enumerate(hidden) for name, array in _named(layer)}
    return layers | {f"output.{name}": array for name, array in _named((weight, bias))}


def layers_of(tensors: Mapping[str, Floats]) -> tuple[Hidden, Floats, Floats]:
    """Undo `name_tensors`.

    Raises:
        ValueError: A tensor is missing, or one layer's width is not what the next takes.
    """
    n_hidden = sum(name.startswith("hidden.") and name.endswith(".weight") for name in tensors)
    names = [*(f"hidden.{n}" for n in range(n_hidden)), "output"]
    try:
        layers = [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]
    except KeyError as error:
        raise ValueError(f"the head lacks the tensor {error}") from error
    for (lower, _), (upper, _), name in zip(layers, layers[1:], names[1:], strict=False):
        if len(lower) != upper.shape[1]:
            raise ValueError(
                f"the head's layer {name} takes {upper.shape[1]} values and is given {len(lower)}"
            )
    return tuple(layers[:-1]), *layers[-1]


def _named(layer: tuple[Floats, Floats]) -> tuple[tuple[str, Floats], ...]:
    weight, bias = layer
    return ("weight", weight), ("bias", bias)
