"""Every runtime gives the features of float32; the fastest that does is chosen and remembered."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart.backbones.catalogue import CATALOGUE, DEFAULT
from headstart.backbones.choice import agreement, choose_runtime, embed_all, read_speeds
from headstart.backbones.runtime import RUNTIMES, Runtime, RuntimeName, TorchRuntime, open_runtime
from headstart.backbones.trunk import Trunk
from headstart.errors import RuntimeUnavailableError
from networks import SEED, Views, some_views
from support import digest

ENTRIES = list(CATALOGUE)


def open_or_skip(trunk: Trunk, name: RuntimeName) -> Runtime:
    try:
        return open_runtime(trunk, name)
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("runtime_name", [name for name in RUNTIMES if name != "torch-fp32"])
def test_runtimes_agree_with_float32(
    name: str,
    runtime_name: RuntimeName,
    trunks: Callable[[str], Trunk],
    photos: Callable[[Trunk, int], Views],
) -> None:
    trunk = trunks(name)
    runtime = open_or_skip(trunk, runtime_name)
    assert runtime.name == runtime_name
    views = photos(trunk, 16)
    reference = _reference(trunk, views)
    found = agreement(trunk, embed_all(runtime, views), reference)
    assert found.n == 16
    if runtime_name.endswith("fp32"):
        assert found.cosine >= 0.99999
        assert found.same_argmax == 1.0
        assert found.admitted
    else:
        assert found.cosine >= 0.998


@pytest.mark.parametrize("runtime_name", ["openvino-fp32", "torch-fp32"])
def test_pictures_that_cannot_be_written_are_embedded(
    runtime_name: RuntimeName, trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(DEFAULT)
    runtime = open_or_skip(trunk, runtime_name)
    views = photos(trunk, 2)
    views.flags.writeable = False
    read_only = embed_all(runtime, views)
    assert digest(read_only.tobytes()) == digest(embed_all(runtime, views.copy()).tobytes())


_references: dict[tuple[Path, int], NDArray[np.float32]] = {}


def _reference(trunk: Trunk, views: Views) -> NDArray[np.float32]:
    """torch's float32 features, computed once a trunk: they are the slowest."""
    place = trunk.folder, len(views)
    if place not in _references:
        _references[place] = embed_all(open_runtime(trunk, "torch-fp32"), views)
    return _references[place]


def test_agreement_refuses_other_features(
    trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(DEFAULT)
    reference = _reference(trunk, photos(trunk, 16))
    assert agreement(trunk, reference, reference).admitted
    assert not agreement(trunk, reference[::-1].copy(), reference).admitted
    rng = np.random.default_rng(SEED)
    noisy = reference + 0.1 * reference.std() * rng.standard_normal(reference.shape).astype(np.float32)
    assert not agreement(trunk, noisy, reference).admitted


@pytest.mark.parametrize("runtime_name", ["openvino-bf16", "openvino-fp32"])
def test_features_do_not_depend_on_neighbours(
    runtime_name: RuntimeName, trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(DEFAULT)
    runtime = open_or_skip(trunk, runtime_name)
    views = photos(trunk, 12)
    together = runtime.embed(views)
    alone = np.concatenate([runtime.embed(view[None]) for view in views])
    assert digest(together.tobytes()) == digest(alone.tobytes())
    assert digest(runtime.embed(views[::-1])[::-1].tobytes()) == digest(together.tobytes())
    assert digest(open_runtime(trunk, runtime_name).embed(views).tobytes()) == digest(together.tobytes())


@pytest.mark.parametrize("runtime_name", RUNTIMES)
def test_calls_from_threads_equal_calls_in_a_row(
    runtime_name: RuntimeName, trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(DEFAULT)
    runtime = open_or_skip(trunk, runtime_name)
    views = photos(trunk, 12)
    batches = [views[:1], views[1:3], views[:1]] if "torch" in runtime_name else [*views[:, None], views]
    serial = [runtime.embed(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(runtime.embed, batches))
    assert all((a == b).all() for a, b in zip(serial, parallel, strict=True))


def test_features_are_not_overwritten_by_the_next_call(
    trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(DEFAULT)
    runtime, views = open_runtime(trunk, "openvino-fp32"), photos(trunk, 12)
    first = runtime.embed(views[:1])
    kept = first.copy()
    runtime.embed(views[5:6])
    assert (first == kept).all()


def test_fastest_admitted_runtime_is_chosen_and_remembered(
    trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(DEFAULT)
    views = photos(trunk, 16)
    chosen = choose_runtime(trunk, views)
    speeds = read_speeds(trunk)
    assert speeds is not None
    assert chosen.name in speeds
    reference = _reference(trunk, views)
    faster = [name for name, speed in speeds.items() if speed > speeds[chosen.name]]  # type: ignore[index]
    for name in faster:
        assert not agreement(trunk, embed_all(open_runtime(trunk, name), views), reference).admitted
    (remembered,) = trunk.folder.glob("speeds-*.json")
    before = remembered.read_bytes()
    assert choose_runtime(trunk, views).name == chosen.name
    assert remembered.read_bytes() == before  # not timed again


def remember(trunk: Trunk, speeds: dict[str, float]) -> None:
    (path,) = trunk.folder.glob("speeds-*.json")
    path.write_text(json.dumps({"images_per_s": speeds}), encoding="utf-8")


@pytest.mark.parametrize("fastest", ["openvino-fp32", "torch-fp32"])
def test_speed_decides(timed_tiny: Trunk, fastest: str) -> None:
    remember(timed_tiny, {"openvino-fp32": 10, "torch-fp32": 10, fastest: 20})
    assert choose_runtime(timed_tiny, some_views(timed_tiny, 8)).name == fastest


def test_fast_but_wrong_runtime_is_not_chosen(timed_tiny: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(timed_tiny, {"torch-bf16": 1000, "openvino-fp32": 10, "torch-fp32": 5})
    right = TorchRuntime.embed

    def wrong(self: TorchRuntime, views: Views) -> NDArray[np.float32]:
        return right(self, views[::-1]) if self.name == "torch-bf16" else right(self, views)

    monkeypatch.setattr(TorchRuntime, "embed", wrong)
    views = some_views(timed_tiny, 8)
    views[:4] //= 4
    assert choose_runtime(timed_tiny, views).name == "openvino-fp32"
    assert choose_runtime(timed_tiny, views, "torch-bf16").name == "torch-bf16"  # asked for by name


@pytest.mark.parametrize("damage", ["", "{", '{"images_per_s": 7}', "[]"])
def test_damaged_speeds_are_measured_again(timed_tiny: Trunk, damage: str) -> None:
    (path,) = timed_tiny.folder.glob("speeds-*.json")
    path.write_text(damage, encoding="utf-8")
    assert read_speeds(timed_tiny) is None
    choose_runtime(timed_tiny, some_views(timed_tiny, 2))
    assert read_speeds(timed_tiny)


def test_what_openvino_cannot_convert_runs_by_torch(timed_tiny: Trunk) -> None:
    unconverted = replace(timed_tiny, openvino=False)
    with pytest.raises(RuntimeUnavailableError, match="can't convert test_resnet; use --runtime torch-fp32"):
        open_runtime(unconverted, "openvino-fp32")
    assert open_runtime(unconverted, "torch-fp32").embed(some_views(timed_tiny, 1)).shape == (1, 96)
