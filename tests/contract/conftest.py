"""Trunks of the catalogue, and a tiny one that tests may damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.backbones.catalogue import CATALOGUE, Backbone, find_backbone
from headstart.backbones.choice import choose_runtime
from headstart.backbones.trunk import Trunk, open_trunk
from headstart.features.embed import read_sample
from networks import TINY, Views, save_random, some_views


@pytest.fixture(scope="session")
def trunks(cache: Path) -> Callable[[str], Trunk]:
    """Opens a catalogue entry's trunk, converted once a session."""
    return lambda name: open_trunk(CATALOGUE[name], cache)


@pytest.fixture(scope="session")
def photos(photo_sets: Path) -> Callable[[Trunk, int], Views]:
    """Centre views of real photos of hotdogs, evenly spread over the test split."""
    paths = [str(path) for path in sorted((photo_sets / "hotdog" / "test" / "hotdog").iterdir())]
    return lambda trunk, n: read_sample(paths, trunk.preprocessing, n)


@pytest.fixture(scope="session")
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
