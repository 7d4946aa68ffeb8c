"""Other networks: by a name of timm's, and from a file of the user's."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import headstart as hs
from headstart.backbones.catalogue import Backbone, find_backbone
from headstart.backbones.choice import agreement
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import Trunk, digest_tensors, list_trunks, open_trunk
from headstart.backbones.weights import build_source, numpy_tensors
from headstart.errors import (
    UnknownBackboneError,
    WeightsMismatchError,
    WeightsNotFoundError,
)
from networks import SEED, TINY, run_python, save_random, some_views


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


def test_weights_file_without_its_architecture(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackboneError, match=r"Name it before an @, as in resnet18@\S+\.safetensors"):
        find_backbone(str(save_random(tmp_path)))


@pytest.mark.parametrize(
    "name", ["/no/x.safetensors", "resnet18@/no/x.safetensors", "~nobody-of-this-name/x.pth"]
)
def test_weights_file_that_is_not_there(name: str) -> None:
    with pytest.raises(
        WeightsNotFoundError, match=rf"There is no weights file '.*/x\..*' \(from --model {name}\)"
    ):
        find_backbone(name)
    with pytest.raises(
        WeightsNotFoundError, match=r"'nowhere\.safetensors' .* Check the path, which starts at /"
    ):
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
        WeightsMismatchError, match=r"does not fit resnet34: 100 of the 180 .*They are those of resnet18"
    ):
        open_trunk(find_backbone(f"resnet34@{path}"), tmp_path)
    with pytest.raises(
        WeightsMismatchError, match=r"does not fit mobilenetv3_small_100: 0 of .*They are those of resnet18"
    ):
        open_trunk(find_backbone(f"mobilenetv3_small_100@{path}"), tmp_path)
    assert list_trunks(tmp_path) == []


def test_weights_that_make_no_numbers_are_refused(small_set: Path, cache: Path, tmp_path: Path) -> None:
    tensors = load_file(save_random(tmp_path))
    save_file(
        {n: t * 1e30 if t.ndim == 4 else t for n, t in tensors.items()},
        tmp_path / "x.safetensors",
    )
    config = hs.TrainConfig(model=f"{TINY}@{tmp_path / 'x.safetensors'}")
    with pytest.raises(
        WeightsMismatchError, match=r"makes values that are no numbers of these pictures, in t"
    ):
        hs.train(small_set, config, out=tmp_path / "run", cache=cache)


def test_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    for name in ("text.safetensors", "text.pth"):
        path = tmp_path / name
        path.write_text("these are no weights")
        with pytest.raises(WeightsMismatchError, match=rf"{name} can't be read as weights") as caught:
            open_trunk(find_backbone(f"resnet18@{path}"), tmp_path)
        assert "weights_only" not in str(caught.value)  # torch advises to run what the file holds


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
