"""Choose the fastest runtime whose features can be trusted.

Speed is a matter of machine and trunk: the candidates are timed once and the answer is
remembered beside the trunk. Trust is a matter of the pictures as well (bfloat16 keeps
sharp photographs and loses more on blurred thumbnails), so agreement with float32 is
looked at on the very images at hand; that costs a fraction of a second and no torch.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.machine import machine_key, processor_name
from headstart.backbones.runtime import RUNTIMES, Runtime, open_runtime
from headstart.backbones.trunk import Trunk
from headstart.config import RuntimeChoice, RuntimeName
from headstart.errors import RuntimeUnavailableError, WeightsMismatchError
from headstart.progress import Progress, Silent
from headstart.run.atomic import write_json

MIN_COSINE = 0.999
MIN_SAME_ARGMAX = 0.99
TIE_LOGITS = 0.25
"""Source classes this close are a tie, whose order says nothing (a probability ratio of 1.28)."""

_TIMED_IMAGES = 48
_TIMING_LIMIT_S = 4.0
_HOPELESS = 8  # times slower than the best on one image: no batch makes up for that


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a runtime's features are from float32's on the same images.

    Attributes:
        cosine: Mean cosine between the features.
        same_argmax: Share of images on which the source classifier's first class is the same,
            images whose two first classes tie under float32 left out.
        n: Number of images.
    """

    cosine: float
    same_argmax: float
    n: int

    @property
    def admitted(self) -> bool:
        """Whether the runtime may be used."""
        return self.cosine >= MIN_COSINE and self.same_argmax >= MIN_SAME_ARGMAX


def choose_runtime(
    trunk: Trunk,
    views: NDArray[np.uint8],
    wanted: RuntimeChoice = "auto",
    *,
    progress: Progress | None = None,
) -> Runtime:
    """Open the fastest admitted runtime, or the one asked for.

    Args:
        trunk: The trunk to run.
        views: Real images `(n, H, W, 3)` of the kind to come; 32 are plenty.
        wanted: A name asks for that runtime, admitted or not.
        progress: Told when candidates are timed.

    Raises:
        RuntimeUnavailableError: The runtime asked for doesn't work, or none does.
    """
    if wanted != "auto":
        return open_runtime(trunk, wanted)
    speeds = read_speeds(trunk) or measure_speeds(trunk, views, progress=progress)
    reference: NDArray[np.float32] | None = None
    for name in sorted(speeds, key=lambda name: -speeds[name]):
        runtime = open_runtime(trunk, name)
        if name.endswith("fp32"):  # checked against torch when the speeds were measured
            return runtime
        if reference is None:
            reference = embed_all(_float32_runtime(trunk, speeds), views)
        if agreement(trunk, embed_all(runtime, views), reference).admitted:
            return runtime
    raise RuntimeUnavailableError(f"No runtime can run {trunk.architecture} on this machine.")


def measure_speeds(
    trunk: Trunk, views: NDArray[np.uint8], *, progress: Progress | None = None
) -> dict[RuntimeName, float]:
    """Time every candidate on this machine and remember the answer beside the trunk.

    Float32 candidates must agree with torch's float32 on `views` to be listed. Runtimes that fail are left
    out, and so are those that one image shows to be far too slow, as bfloat16 is where a processor lacks it.

    Returns:
        Images a second of the trunk alone, all cores busy.

    Raises:
        WeightsMismatchError: The trunk makes no numbers of these views.
    """
    speeds: dict[RuntimeName, float] = {}
    agreements: dict[str, Agreement] = {}
    with (progress or Silent()).stage("Timing runtimes on this machine (once)", len(RUNTIMES)) as advance:
        trusted: RuntimeName = "openvino-fp32" if trunk.is_onnx else "torch-fp32"
        reference_runtime = open_runtime(trunk, trusted)
        reference = embed_all(reference_runtime, views)
        if not np.isfinite(reference).all():
            raise WeightsMismatchError(
                f"{trunk.architecture} makes values that are no numbers of these pictures, in {trusted}. Its "
                "weights are damaged, or meant for pixels on another scale. Take others."
            )
        for name in RUNTIMES:
            try:
                runtime = reference_runtime if name == trusted else open_runtime(trunk, name)
                if _is_hopeless(runtime, views, max(speeds.values(), default=0.0)):
                    continue
                agreements[name] = agreement(trunk, embed_all(runtime, views), reference)
            except (RuntimeUnavailableError, RuntimeError):
                continue
            finally:
                advance(1)
            if agreements[name].admitted or not name.endswith("fp32"):
                speeds[name] = images_per_s(runtime, views)
    write_json(
        _speeds_path(trunk),
        {
            "processor": processor_name(),
            "images_per_s": {name: round(speed, 1) for name, speed in speeds.items()},
            "agreement": {
                name: {"cosine": a.cosine, "same_argmax": a.same_argmax, "n": a.n}
                for name, a in agreements.items()
            },
        },
    )
    return speeds


def read_speeds(trunk: Trunk) -> dict[RuntimeName, float] | None:
    """The remembered images a second of each runtime, or None where none were measured here."""
    try:
        speeds = json.loads(_speeds_path(trunk).read_text(encoding="utf-8"))["images_per_s"]
        return {name: float(speeds[name]) for name in RUNTIMES if name in speeds} or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def agreement(trunk: Trunk, features: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    """Compare features `(n, d)` with float32's."""
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(reference, axis=1)
    cosines = (features * reference).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
    expected = trunk.source_logits(reference)
    if expected.shape[1] < 2:  # nothing to tell classes by
        return Agreement(cosine=float(cosines.mean()), same_argmax=1.0, n=len(features))
    first_two = np.partition(expected, -2, axis=1)[:, -2:]
    clear = first_two[:, 1] - first_two[:, 0] > TIE_LOGITS
    same = trunk.source_logits(features).argmax(axis=1) == expected.argmax(axis=1)
    share = float(same[clear].mean()) if clear.any() else 1.0
    return Agreement(cosine=float(cosines.mean()), same_argmax=share, n=len(features))


def embed_all(runtime: Runtime, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed views `(N, H, W, 3)` with the runtime's own batch size and parallelism."""
    batches = [views[i : i + runtime.batch_size] for i in range(0, len(views), runtime.batch_size)]
    with ThreadPoolExecutor(runtime.parallel) as pool:
        return np.concatenate(list(pool.map(runtime.embed, batches)))


def images_per_s(runtime: Runtime, views: NDArray[np.uint8]) -> float:
    """Throughput of the trunk alone on already decoded views, the best of three short bursts."""
    burst = np.stack(list(islice(cycle(views), _TIMED_IMAGES)))
    best, started = 0.0, time.perf_counter()
    for _ in range(3):
        before = time.perf_counter()
        embed_all(runtime, burst)
        best = max(best, len(burst) / (time.perf_counter() - before))
        if time.perf_counter() - started > _TIMING_LIMIT_S:
            break
    return best


def _is_hopeless(runtime: Runtime, views: NDArray[np.uint8], best: float) -> bool:
    """Whether one image, after one to warm up, takes so long that timing more would be a waste."""
    runtime.embed(views[:1])
    started = time.perf_counter()
    runtime.embed(views[:1])
    return _HOPELESS * runtime.parallel / (time.perf_counter() - started) < best


def _float32_runtime(trunk: Trunk, speeds: Mapping[RuntimeName, float]) -> Runtime:
    return open_runtime(trunk, "openvino-fp32" if "openvino-fp32" in speeds else "torch-fp32")


def _speeds_path(trunk: Trunk) -> Path:
    return trunk.folder / f"speeds-{machine_key()}.json"
