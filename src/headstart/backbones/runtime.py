"""Run a frozen trunk: the same features from torch or OpenVINO, at very different speeds.

On a CPU, OpenVINO is fastest with one image a call and one stream a core: each worker
decodes a picture and embeds it on its own core, nobody waits for anybody, and a picture's
features do not depend on what else was in its batch.
"""

import threading
from pathlib import Path
from typing import Any, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.openvino import openvino_core
from headstart.backbones.trunk import Trunk
from headstart.config import RuntimeName
from headstart.errors import RuntimeUnavailableError
from headstart.run.environment import available_cores

RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)

_TORCH_BATCH = 16


class Runtime(Protocol):
    """A trunk that can be called from several threads at once.

    Attributes:
        name: Library and precision.
        batch_size: Images a call that it is fastest with.
        parallel: Calls at once that it is fastest with.
    """

    @property
    def name(self) -> RuntimeName: ...  # noqa: D102

    @property
    def batch_size(self) -> int: ...  # noqa: D102

    @property
    def parallel(self) -> int: ...  # noqa: D102

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed views `(N, H, W, 3)` as features `(N, d)`."""
        ...


class OpenVinoRuntime:
    """OpenVINO on the CPU, one image a call, one stream a core."""

    def __init__(self, model: Any, size_px: int, name: RuntimeName) -> None:
        """Compile a model, or the file of one, for views of `size_px`."""
        self.name = name
        self.batch_size = 1
        self.parallel = available_cores()
        core = openvino_core()
        if name == "openvino-bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeUnavailableError(
                "This processor has no bfloat16 arithmetic; use --runtime openvino-fp32."
            )
        if isinstance(model, Path):
            model = core.read_model(model)
        model.reshape([1, size_px, size_px, 3])
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if name == "openvino-bf16" else "f32",
                "NUM_STREAMS": self.parallel,
                "INFERENCE_NUM_THREADS": self.parallel,
                # Pinned, a stream would wait for its core while a worker decodes there.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._requests = threading.local()
        # The bindings build their type tables in the first call, and two threads that both
        # make that call deadlock (seen with OpenVINO 2026.4): so it is made here, alone.
        self.embed(np.zeros((1, *model.input().shape[1:]), np.uint8))

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed views `(N, H, W, 3)` as features `(N, d)`, or what else the model gives, one by one."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        request = self._requests.own
        features = []
        for view in views:
            request.infer({0: view[None]}, share_inputs=True)
            features.append(request.get_output_tensor(0).data[0].copy())
        return np.stack(features)


class TorchRuntime:
    """torch, channels_last, on the accelerator it finds or else the CPU; one call at a time."""

    def __init__(self, module: Any, name: RuntimeName) -> None:
        """Take a module in eval mode from uint8 views to features."""
        import torch  # seconds that OpenVINO's users don't need

        self.name = name
        self.batch_size = _TORCH_BATCH
        self.parallel = 1
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self._device = accelerator or torch.device("cpu")
        dtype = torch.bfloat16 if name == "torch-bf16" else torch.float32
        self._module = module.to(self._device, dtype).to(memory_format=torch.channels_last)
        self._lock = threading.Lock()

    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed views `(N, H, W, 3)` as features `(N, d)` in one batch."""
        import torch

        with self._lock, torch.inference_mode():
            # torch warns of arrays that can't be written, as Pillow's pictures are.
            own = torch.from_numpy(np.require(views, requirements=["C_CONTIGUOUS", "WRITEABLE"]))
            features = self._module(own.to(self._device))
            return cast("NDArray[np.float32]", features.float().cpu().numpy())


def open_runtime(trunk: Trunk, name: RuntimeName) -> Runtime:
    """Load a trunk into a runtime.

    Raises:
        RuntimeUnavailableError: The runtime can't run this trunk on this machine.
    """
    if name.startswith("torch"):
        if trunk.is_onnx:
            raise RuntimeUnavailableError(
                "torch can't run an ONNX file; use --runtime openvino-fp32 or openvino-bf16."
            )
        from headstart.backbones.convert import load_trunk_module

        return TorchRuntime(load_trunk_module(trunk), name)
    if not trunk.openvino:
        raise RuntimeUnavailableError(
            f"OpenVINO can't convert {trunk.architecture}; use --runtime torch-fp32 or torch-bf16."
        )
    try:
        return OpenVinoRuntime(trunk.openvino_path, trunk.preprocessing.crop_px, name)
    except RuntimeError as error:
        raise RuntimeUnavailableError(f"{name} can't run {trunk.architecture} here: {error}") from error
