"""Evidence for the checks without pictures: features, looks and headers as a test wants them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.dataset import Dataset, Sample
from headstart.data.files import ImageFile
from headstart.data.splits import Split
from headstart.evaluation.checks.appearance import COLUMNS, Appearance
from headstart.evaluation.checks.evidence import Evidence
from headstart.features.store import FeatureStore

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_ORDINARY = {
    "orientation": 1,
    "jpeg_quality": 90,
    "chroma": 20,
    "dark": 0.9,
    "bright": 0.1,
    "edges": 80,
    "histogram_spread": 100,
    "entropy": 7,
}


def clusters(labels: Ints, dim: int = 24, distance: float = 6.0, seed: int = 0) -> Floats:
    """Features of each class around a point of its own, `(N, dim)`."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((int(labels.max()) + 1, dim))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    return (centres[labels] + rng.standard_normal((len(labels), dim))).astype(np.float32)


def make_evidence(
    folder: Path,
    labels: Sequence[int] | Ints,
    features: Floats | None = None,
    *,
    splits: Sequence[Split | None] | None = None,
    near: Sequence[tuple[int, int]] = (),
    looks: Mapping[str, Any] | None = None,
) -> Evidence:
    """Pictures that nothing is wrong with, but for what is named; all headers are alike.

    Args:
        folder: Where features may be written.
        labels: Class of each of N pictures; classes are called a, b, c ... or c100, c101 ...
        features: `(N, d)`; else a cluster a class.
        splits: Of each picture; else none.
        near: Pairs of near-duplicates.
        looks: Columns of the appearance, a value or `(N,)`; the means of colour vary by themselves.
    """
    classes = np.array(labels, np.int64)
    n, n_classes = len(classes), int(classes.max()) + 1
    names = [chr(ord("a") + k) if n_classes <= 26 else f"c{100 + k}" for k in range(n_classes)]
    keys = [f"{row:032x}" for row in range(n)]
    x = clusters(classes) if features is None else features
    store = FeatureStore(folder / "features", x.shape[1])
    store.append(keys, x, np.zeros(n, np.uint64))
    values = np.random.default_rng(1).uniform(60, 190, (n, len(COLUMNS))).astype(np.float32)
    for column, value in {**_ORDINARY, **(looks or {})}.items():
        values[:, COLUMNS.index(column)] = value
    samples = tuple(
        Sample(
            ImageFile(f"/set/{names[k]}/{row}.jpg", keys[row], "JPEG", 400, 300, 40_000),
            names[k],
            splits[row] if splits else None,
            None,
        )
        for row, k in enumerate(classes.tolist())
    )
    dataset = Dataset("/set", tuple(names), samples, ())
    pairs = np.array(near, np.int64).reshape(-1, 2)
    return Evidence(dataset, store.table(keys), Appearance(values), pairs)


def with_files(evidence: Evidence, **fields: Sequence[Any] | NDArray[Any]) -> Evidence:
    """The same with other headers: fields of `ImageFile`, a value a picture."""
    samples = []
    for row, sample in enumerate(evidence.dataset.samples):
        changes = {name: values[row] for name, values in fields.items()}
        samples.append(replace(sample, file=replace(sample.file, **changes)))
    return replace(evidence, dataset=replace(evidence.dataset, samples=tuple(samples)))
