"""Exports of heads with hidden layers hold the whole of them; verification can tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import Trunk
from headstart.classifier import Classifier
from headstart.errors import ConfigError
from headstart.exports import hub, onnx, openvino
from headstart.exports.source import Source
from headstart.exports.verify import verify
from headstart.metrics.calibration import softmax
from headstart.progress import Silent
from headstart.run.folder import RunFolder
from networks import Views, some_views

Photos = Callable[[Trunk, int], Views]


@pytest.fixture
def source(timed_tiny: Trunk, tmp_path: Path) -> Source:
    """Three classes on a tiny trunk, through two hidden layers."""
    d, rng = timed_tiny.feature_dim, np.random.default_rng(0)
    sizes = [(16, d), (8, 16), (3, 8)]
    layers = [
        (rng.normal(size=size).astype(np.float32), rng.normal(size=size[0]).astype(np.float32))
        for size in sizes
    ]
    runtime = open_runtime(timed_tiny, "openvino-fp32")
    classifier = Classifier(
        ("a", "b", "c"), timed_tiny, runtime, *layers[2], temperature=1.0, hidden=tuple(layers[:2])
    )
    return Source(RunFolder(tmp_path / "run"), classifier, "a card")


def test_hidden_layers_are_exported(source: Source, tmp_path: Path) -> None:
    classifier = source.classifier
    views = some_views(classifier.trunk, 5)
    features = classifier.runtime.embed(views)
    expected = softmax(classifier.logits(features))
    assert len(set(expected.argmax(axis=1))) > 1 or expected.std(axis=0).max() > 0
    (tmp_path / "onnx").mkdir()
    onnx.write(source, tmp_path / "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / onnx.FILE)
    probabilities, embedded = session.run(None, {"views": views})
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(embedded, features, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(session.run(None, {"views": views[:1]})[0], expected[:1], atol=1e-4)
    (tmp_path / "openvino").mkdir()
    openvino.write(source, tmp_path / "openvino")
    answer = openvino.open_exported(tmp_path / "openvino").predict(views)
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_transformers_has_no_place_for_hidden_layers(source: Source, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hidden layers, and transformers has no place for them"):
        hub.write(source, tmp_path)


class Shifted:
    """The run's own model, whose classes have been put in another order."""

    runtime = "a test"

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def read(self, path: str) -> Views:
        from headstart.data.decode import read_view

        return read_view(path, self._classifier.trunk.preprocessing)

    def predict(self, views: Views) -> np.ndarray:
        p = softmax(self._classifier.logits(self._classifier.runtime.embed(views)))
        return np.roll(p, 1, axis=1).astype(np.float32)


def test_another_class_order_is_refused(source: Source, small_set: Path) -> None:
    paths = [str(path) for path in sorted(small_set.rglob("*.jpg"))[:6]]
    classifier = source.classifier
    labels = classifier.predict_proba(paths).argmax(axis=1).tolist()
    found = verify(classifier, Shifted(classifier), paths, labels, int8=False, progress=Silent())
    assert (found.agreeing, found.equal_pixels, found.original.value) == (0, 6, 1.0)
    assert any("agrees with the run on the class of 0 of 6 images" in line for line in found.refusals)
    found = verify(classifier, Shifted(classifier), paths, labels, int8=True, progress=Silent())
    assert any("100.00 points below the run's 100.00%" in line for line in found.refusals)
    right = verify(replace(classifier), _Same(classifier), paths, labels, int8=False, progress=Silent())
    assert right.refusals == ()


class _Same(Shifted):
    def predict(self, views: Views) -> np.ndarray:
        return np.roll(super().predict(views), -1, axis=1)
