"""What a convolutional trunk sees in each place of a picture, before it takes the mean.

Read off the converted trunk, so without torch. As the features are the mean over places, a linear head
applied to each place gives the exact share that it has in a logit (class activation maps, Zhou et al. 2016).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.openvino import load_openvino, openvino_core
from headstart.backbones.trunk import Trunk

_RESHAPES = {"Reshape", "Squeeze", "Convert"}
_MEANS = {"AdaptiveAvgPool", "ReduceMean"}
_RANK = 4  # of a tensor (N, d, h, w)


class FeatureMaps:
    """The features of each place; may be called from several threads at once."""

    def __init__(self, compiled: Any) -> None:
        """Take a compiled model from one view to features `(1, d, h, w)`."""
        self._compiled = compiled

    def of(self, view: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of a view `(H, W, 3)` before their mean, `(d, h, w)`."""
        request = self._compiled.create_infer_request()
        request.infer({0: view[None]})
        maps: NDArray[np.float32] = request.get_output_tensor().data[0].copy()
        return maps


def open_feature_maps(trunk: Trunk) -> FeatureMaps | None:
    """Open a trunk for its maps; None where its features are no mean, or OpenVINO can't run it."""
    if not trunk.openvino:
        return None
    ov = load_openvino()
    model = openvino_core().read_model(trunk.openvino_path)
    size_px = trunk.preprocessing.crop_px
    model.reshape([1, size_px, size_px, 3])
    pooled = _find_mean(model)
    if pooled is None:
        return None
    cut = ov.Model([pooled], model.get_parameters(), "maps")
    hints = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    return FeatureMaps(openvino_core().compile_model(cut, "CPU", hints))


def _find_mean(model: Any) -> Any:
    """What goes into the mean over places that the model ends in, or None where it ends otherwise."""
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() in _RESHAPES:
        node = node.input_value(0).get_node()
    if node.get_type_name() not in _MEANS or node.input_value(1).get_node().get_type_name() != "Constant":
        return None
    incoming = node.input_value(0)
    if len(incoming.get_partial_shape()) != _RANK:
        return None
    wanted = tuple(int(number) for number in np.ravel(node.input_value(1).get_node().data))
    if node.get_type_name() == "ReduceMean":
        return incoming if sorted(axis % _RANK for axis in wanted) == [2, 3] else None
    return incoming if wanted == (1, 1) else None
