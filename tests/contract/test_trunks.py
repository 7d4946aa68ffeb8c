"""A converted trunk is kept whole, found again without torch, and made again where it is damaged."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones.catalogue import DEFAULT, Backbone
from headstart.backbones.openvino import load_openvino
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import Trunk, find_trunk, list_trunks, open_trunk
from headstart.errors import StorageError
from networks import TINY, run_python, save_random, some_views

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


_CONVERT = """
import sys
from pathlib import Path

said = []
sys.addaudithook(lambda event, _: said.append(event) if event.startswith(("socket.", "os.fork")) else None)

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import open_trunk

trunk = open_trunk(find_backbone(sys.argv[1]), Path(sys.argv[2]))
open_runtime(trunk, "openvino-fp32")
print([event for event in said if event not in ("socket.__new__", "socket.gethostname")])
"""


def test_converting_tells_nobody(tmp_path: Path) -> None:
    # OpenVINO's import and its convert_model report over the network, in processes of their own
    done = run_python(_CONVERT, f"{TINY}@{save_random(tmp_path)}", tmp_path, CI="false")
    assert done.stdout == "[]\n", done.stdout + done.stderr


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
    assert (
        find_trunk(trunk.folder.parent, trunk.architecture, trunk.source_digest, trunk.preprocessing) is None
    )
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


def test_a_disk_that_fills_while_openvino_writes_is_told(
    tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/core/src/pass: basic_ios::clear: iostream error")

    monkeypatch.setattr(load_openvino(), "save_model", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        open_trunk(tiny, tmp_path / "other")
    assert not list((tmp_path / "other" / "trunks").iterdir())
