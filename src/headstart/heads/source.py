"""What the source classifier already knows of the target's classes: a head before any training.

The rows of a pretrained classifier, 1,000 in ImageNet's, are carried over to the target's classes by
name, or mixed by what the classifier answers to the images of each class, P(source | target). The
result predicts as it stands (zero-shot), and is what the probe's ridge can pull towards instead of 0.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.errors import ConfigError
from headstart.heads.logistic import FeatureBlocks, Floats
from headstart.metrics.calibration import softmax

Ints = NDArray[np.int64]
By = Literal["name", "estimate"]

_SHOWN_ROWS = 3  # source classes named for each target class, the weightiest first
_MAX_AMBIGUOUS = 5


@dataclass(frozen=True, slots=True, eq=False)
class SourceClassifier:
    """The linear classifier that a backbone was pretrained with.

    Attributes:
        weight: `(S, d)`.
        bias: `(S,)`.
        names: Of its S classes, synonyms parted by commas; empty where unknown.
    """

    weight: Floats
    bias: Floats
    names: tuple[str, ...]

    def name(self, row: int) -> str:
        """The first name of a row, or its number."""
        return self.names[row].split(",")[0] if self.names else str(row)


class Prior(Protocol):
    """Heads that the source classifier implies."""

    @property
    def by(self) -> By:
        """How rows were found."""
        ...

    def heads(self, used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """One head a subset of the training images `(P, N)`: weights `(K, P, d)` and biases `(K, P)`."""
        ...

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The weightiest source classes of each target class."""
        ...


def match_classes(
    texts: Sequence[str], classes: Sequence[str], source_names: Sequence[str]
) -> dict[int, tuple[int, ...]]:
    """Read rules such as `hotdog=hot dog`: source rows of each target class named, both by index.

    A source class is named in full, by one of its synonyms or by its number; a target class may be
    given several, whose rows are then averaged.

    Raises:
        ConfigError: A text is not TARGET=SOURCE, or names no class or several; lists every such text.
    """
    found: dict[int, tuple[int, ...]] = {}
    problems = []
    for text in texts:
        try:
            target, row = _match(text, classes, source_names)
            found[target] = (*found.get(target, ()), row)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(f"--source-class takes TARGET=SOURCE. Wrong: {'; '.join(problems)}.")
    return found


class NamedPrior:
    """Rows carried over by name; no label has a part in them.

    A class without a source row stands for all source classes that were not named: its logit is their
    joint one, the log of the summed exponentials, averaged over the images. With two classes and one
    row that makes the row and, up to what softmax can't tell, its negation.
    """

    by: By = "name"

    def __init__(
        self,
        source: SourceClassifier,
        matches: dict[int, tuple[int, ...]],
        n_classes: int,
        features: FeatureBlocks,
    ) -> None:
        self._source, self._matches, self._n_classes = source, matches, n_classes
        weight = np.zeros((n_classes, source.weight.shape[1]), np.float32)
        bias = np.full(n_classes, self._rest(features) - np.log(max(n_classes - len(matches), 1)), np.float32)
        for target, rows in matches.items():
            weight[target] = source.weight[list(rows)].mean(axis=0)
            bias[target] = source.bias[list(rows)].mean()
        self._head = weight - weight.mean(axis=0), bias - bias.mean()

    def heads(self, used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """The same for every subset."""
        weight, bias = self._head
        return np.repeat(weight[:, None], len(used), axis=1), np.repeat(bias[:, None], len(used), axis=1)

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The source classes named for each target class."""
        return tuple(
            tuple(self._source.name(row) for row in self._matches.get(target, ()))
            for target in range(self._n_classes)
        )

    def _rest(self, features: FeatureBlocks) -> float:
        """Joint logit of the source classes that no target class was given, averaged over the images."""
        source, named = self._source, {row for rows in self._matches.values() for row in rows}
        others = np.array([row for row in range(len(source.bias)) if row not in named], np.int64)
        if len(self._matches) == self._n_classes or not len(others):
            return 0.0
        total = 0.0
        for _, x in features.blocks():
            logits = x @ source.weight[others].T + source.bias[others]
            largest = logits.max(axis=1)
            total += float((largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))).sum())
        return total / len(features)


class EstimatedPrior:
    """Rows mixed by P(source | target): the mean of the source's probabilities over a class's images.

    Biases put the boundary half-way between the classes' mean features: the source's own tell how
    common its classes were in another set.
    """

    by: By = "estimate"

    def __init__(
        self, source: SourceClassifier, features: FeatureBlocks, labels: Ints, n_classes: int
    ) -> None:
        self._source, self._features, self._labels, self._n_classes = source, features, labels, n_classes

    def heads(self, used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """From each subset's images alone: one pass over the features."""
        shares, means = self._means(used)
        weight = shares @ self._source.weight  # (P, K, d)
        weight -= weight.mean(axis=1, keepdims=True)
        bias = -np.einsum("pkd,pd->pk", weight, means.mean(axis=1))
        return np.ascontiguousarray(weight.transpose(1, 0, 2)), np.ascontiguousarray(bias.T)

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The source classes most often answered to each target class's images."""
        shares, _ = self._means(np.ones((1, len(self._labels)), np.bool_))
        order = np.argsort(-shares[0], axis=1)[:, :_SHOWN_ROWS]
        return tuple(tuple(self._source.name(int(row)) for row in rows) for rows in order)

    def _means(self, used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Each subset's and class's mean source probabilities `(P, K, S)` and features `(P, K, d)`.

        A class that a subset lacks gets the mean of the others.
        """
        from scipy.sparse import csr_array

        source, n_subsets = self._source, len(used)
        cells = n_subsets * self._n_classes
        shares = np.zeros((cells, len(source.bias)), np.float32)
        means = np.zeros((cells, source.weight.shape[1]), np.float32)
        for place, x in self._features.blocks():
            subset, row = np.nonzero(used[:, place])
            cell = subset * self._n_classes + self._labels[place][row]
            belongs = csr_array((np.ones(len(cell), np.float32), (cell, row)), shape=(cells, len(x)))
            shares += belongs @ softmax(x @ source.weight.T + source.bias).astype(np.float32)
            means += belongs @ x
        counts = np.stack([np.bincount(self._labels[row], minlength=self._n_classes) for row in used])
        return tuple(  # type: ignore[return-value]
            _fill(sums.reshape(n_subsets, self._n_classes, -1), counts) for sums in (shares, means)
        )


def judge_prior(prior: Prior, features: FeatureBlocks, folds: Ints) -> Floats:
    """Logits `(N, K)` of the training images by the source's rows alone, no label of a row's fold used."""
    weight, bias = prior.heads(folds != np.arange(int(folds.max()) + 1)[:, None])
    logits = np.empty((len(folds), len(weight)), np.float32)
    for place, x in features.blocks():
        for fold in range(weight.shape[1]):
            own = np.flatnonzero(folds[place] == fold)
            logits[place.start + own] = x[own] @ weight[:, fold].T + bias[:, fold]
    return logits


def _fill(sums: Floats, counts: Ints) -> Floats:
    """Means from sums `(P, K, m)`; a class without images gets the mean of those that have some."""
    means = sums / np.maximum(counts, 1)[:, :, None]
    known = (counts > 0)[:, :, None]
    rest = (means * known).sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
    filled: Floats = np.where(known, means, rest).astype(np.float32)
    return filled


def _match(text: str, classes: Sequence[str], source_names: Sequence[str]) -> tuple[int, int]:
    """Target and source class of one text; a class's own name may hold an equals sign."""
    cuts = [place for place, sign in enumerate(text) if sign == "="]
    if not cuts:
        raise ConfigError(f"{text!r} has no = between the two names")
    place = next((cut for cut in cuts if text[:cut].strip() in classes), cuts[0])
    target, wanted = text[:place].strip(), text[place + 1 :].strip()
    if target not in classes:
        raise ConfigError(f"the data have no class {target!r}{_nearest(target, classes)}")
    return list(classes).index(target), _find_row(wanted, source_names)


def _find_row(wanted: str, names: Sequence[str]) -> int:
    if not names:
        raise ConfigError(
            f"this backbone's source classes have no known names, so {wanted!r} can't be found (leave "
            "--source-class out to estimate the rows)"
        )
    rows = [row for row, full in enumerate(names) if wanted.casefold() in _synonyms(full)]
    if not rows and wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    if len(rows) > 1:
        listed = " or ".join(f"{row} ({names[row]})" for row in rows[:_MAX_AMBIGUOUS])
        raise ConfigError(f"several source classes are called {wanted!r}; give the number: {listed}")
    if not rows:
        known = [name for full in names for name in full.split(", ")]
        raise ConfigError(f"no source class is called {wanted!r}{_nearest(wanted, known)}")
    return rows[0]


def _synonyms(full: str) -> set[str]:
    return {name.strip().casefold() for name in (full, *full.split(","))}


def _nearest(name: str, names: Sequence[str]) -> str:
    by_key = {other.casefold(): other for other in names}
    nearest = difflib.get_close_matches(name.casefold(), by_key, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(repr(by_key[key]) for key in nearest)}?)" if nearest else ""
