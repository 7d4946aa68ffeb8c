"""Maps add up to logits, follow the head, and show what matters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.network import load_model
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import Trunk, open_trunk
from headstart.classifier import Classifier
from headstart.data.decode import read_view
from headstart.errors import ConfigError
from headstart.evaluation.heat import falls_when_hidden, heat_of, hide, hottest, overlay
from headstart.evaluation.maps import open_mapper
from headstart.evaluation.similar import Neighbours
from headstart.metrics.intervals import bootstrap_interval
from networks import TINY, save_random, some_views

CLASSES = ("a", "b", "c")


def head_on(trunk: Trunk, seed: int) -> Classifier:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((3, trunk.feature_dim)).astype(np.float32)
    bias = rng.standard_normal(3).astype(np.float32)
    return Classifier(CLASSES, trunk, open_runtime(trunk, "torch-fp32"), weight, bias, 1.0)


@pytest.fixture(scope="module", params=[TINY, "test_vit", "test_convnext"])
def trunk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    folder = tmp_path_factory.mktemp(request.param)
    backbone = find_backbone(f"{request.param}@{save_random(folder, request.param)}")
    return open_trunk(backbone, folder / "cache")


def test_maps_follow_the_class_and_the_head(trunk: Trunk) -> None:
    mapper, views = open_mapper(head_on(trunk, 0)), some_views(trunk, 3)
    expected = {TINY: "class-activation", "test_vit": "token-relevance", "test_convnext": "grad-cam"}
    assert mapper.method == expected[trunk.architecture]
    first, second = (mapper.maps(views, np.full(3, k)) for k in (0, 1))
    assert first.shape == second.shape
    assert first.shape[0] == 3
    other = open_mapper(head_on(trunk, 1)).maps(views, np.zeros(3, np.int64))
    for a, b in ((first, second), (first, other)):
        assert np.abs(a - b).max() > 0.1 * np.abs(a).max()
    np.testing.assert_array_equal(first, mapper.maps(views, np.zeros(3, np.int64)))


def test_the_mean_of_an_exact_map_and_the_bias_are_the_logit(tmp_path: Path) -> None:
    trunk = open_trunk(find_backbone(f"{TINY}@{save_random(tmp_path)}"), tmp_path / "cache")
    classifier, views = head_on(trunk, 0), some_views(trunk, 4)
    mapper, classes = open_mapper(classifier), np.array([0, 1, 2, 1])
    logits = mapper.logits(views)
    np.testing.assert_allclose(logits, classifier.logits(classifier.runtime.embed(views)), atol=1e-3)
    means = mapper.maps(views, classes).mean(axis=(1, 2)) + classifier.bias[classes]
    np.testing.assert_allclose(means, logits[np.arange(4), classes], atol=1e-4)


def test_a_head_with_hidden_layers_is_explained_by_gradients(tmp_path: Path) -> None:
    trunk = open_trunk(find_backbone(f"{TINY}@{save_random(tmp_path)}"), tmp_path / "cache")
    rng, plain = np.random.default_rng(0), head_on(trunk, 0)
    hidden = ((rng.standard_normal((8, trunk.feature_dim)).astype(np.float32), np.zeros(8, np.float32)),)
    weight = rng.standard_normal((3, 8)).astype(np.float32)
    classifier, views = replace(plain, hidden=hidden, weight=weight), some_views(trunk, 2)
    mapper = open_mapper(classifier)
    assert mapper.method == "grad-cam"
    np.testing.assert_allclose(
        mapper.logits(views), classifier.logits(classifier.runtime.embed(views)), rtol=1e-3, atol=1e-3
    )
    assert np.abs(mapper.maps(views, np.array([0, 1]))).max() > 0


def test_a_network_without_places_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = open_trunk(find_backbone(f"{TINY}@{save_random(tmp_path)}"), tmp_path / "cache")
    loaded = load_model(trunk)
    monkeypatch.setattr(type(loaded), "forward_features", lambda self, x: self.conv1(x).mean((2, 3)))
    monkeypatch.setattr(type(loaded), "forward_head", lambda self, x, **_: x)
    with pytest.raises(ConfigError, match="test_resnet has no spatial maps: its last activations have"):
        open_mapper(head_on(trunk, 0))


def test_the_hottest_part_is_as_large_as_asked_and_where_the_map_is_hot() -> None:
    found = np.zeros((7, 7), np.float32)
    found[1, 5] = 3
    heat = heat_of(found, 70)
    mask = hottest(heat, 0.1)
    assert mask.sum() == 490
    assert mask[15, 55]
    assert not mask[60, 10]
    view = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    assert (hide(view, mask)[~mask] == view[~mask]).all()
    assert len(np.unique(hide(view, mask)[mask], axis=0)) == 1
    assert overlay(view, heat).shape == view.shape
    assert heat_of(np.full((7, 7), -2, np.float32), 70).max() == 0


def test_neighbours_are_those_of_the_largest_cosine_without_itself() -> None:
    features = np.array([[1, 0], [0, 2], [3, 3], [-1, 0]], np.float32)
    moved: NDArray[np.bool_] = np.array([False, True, False, False])
    neighbours = Neighbours(features, ["w", "x", "y", "z"], ["p", "q", "r", "s"], moved)
    found = neighbours.find(np.array([0, 5], np.float32), 3)
    assert [(some.path, some.moved) for some in found] == [("x", True), ("y", False), ("w", False)]
    assert found[0].cosine == pytest.approx(1)
    assert neighbours.find(np.array([0, 5], np.float32), 1, without="x")[0].label == "r"
    nothing = Neighbours(np.zeros((0, 2), np.float32), [], [], np.zeros(0, np.bool_))
    assert nothing.find(features[0], 3) == []


@pytest.mark.photos
def test_hiding_the_hottest_tenth_costs_more_than_another_tenth(photo_sets: Path, cache: Path) -> None:
    """On 100 photographs of hotdogs, whose class the source classifier knows."""
    trunk = open_trunk(find_backbone("lite0"), cache)
    weight, bias = trunk.source_head
    classifier = Classifier(trunk.source_classes, trunk, open_runtime(trunk, "torch-fp32"), weight, bias, 1.0)
    paths = sorted((photo_sets / "hotdog" / "test").glob("*/*"))
    chosen = [paths[row] for row in np.linspace(0, len(paths) - 1, 100).astype(int)]
    views = np.stack([read_view(str(path), trunk.preprocessing) for path in chosen])
    hot, elsewhere = falls_when_hidden(open_mapper(classifier), views)
    more = hot - elsewhere
    low, _ = bootstrap_interval(lambda drawn: float(more[drawn].mean()), 100, seed=0)
    assert low > 0
