"""Multinomial logistic regression on standardised features, many problems at once.

Cross-validation asks for the same fit on a dozen overlapping subsets. They share the
features, so they are solved together: every pass over the features is one matrix product
for all subsets and classes, and features may stream from disk.

The method is preconditioned nonlinear conjugate gradients (Polak-Ribière+) with an exact
line search. The line search costs no pass, because logits along a line are linear. The
preconditioner approximates the Hessian by the features' own covariance, through its
leading eigenvectors: w -> (n h C + l2 I)^-1 w. Strengths are solved from strong to weak,
each starting where the last ended.

Objective per problem, with standardised x and weights s (as scikit-learn's, C = 1 / l2):
    sum_i s_i * cross_entropy(y_i, W x_i + b) + l2 / 2 * ||W - W_0||^2
where the prior mean W_0 is 0 unless one is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

EXACT = 1e-10
"""Tolerance that keeps probabilities within 1e-4 of the exact solution (tested against scikit-learn)."""

_MAX_STEPS = 300
_MAX_EIGENVECTORS = 256
_LINE_SEARCH_STEPS = 12
_LINE_SEARCH_TOLERANCE = 0.02
_TINY_VARIANCE = 1e-10
_BLOCK_ROWS = 2048


class FeatureBlocks(Protocol):
    """Features that can be walked over again and again, whole or block by block."""

    @property
    def dim(self) -> int:
        """Length d of a feature vector."""
        ...

    def __len__(self) -> int: ...

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Blocks `(slice, (b, d) float32)` in order."""
        ...


@dataclass(frozen=True, slots=True)
class StackedBlocks:
    """The rows of several feature tables, one table after the other.

    Attributes:
        tables: Features of the same length.
    """

    tables: tuple[FeatureBlocks, ...]

    @property
    def dim(self) -> int:
        """Length d of a feature vector."""
        return self.tables[0].dim

    def __len__(self) -> int:
        return sum(len(table) for table in self.tables)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Blocks `(slice, (b, d) float32)` in order."""
        start = 0
        for table in self.tables:
            for rows, x in table.blocks():
                yield slice(start + rows.start, start + rows.stop), x
            start += len(table)


@dataclass(frozen=True, slots=True)
class LinearHeads:
    """P linear classifiers on raw (not standardised) features.

    Attributes:
        weight: `(K, P, d) float32`.
        bias: `(K, P) float32`.
        logits: Of every row under every problem, `(K, P, N) float32`.
    """

    weight: Floats
    bias: Floats
    logits: Floats


@dataclass(frozen=True, slots=True)
class Directions:
    """Leading directions of all rows' correlation: the preconditioner's knowledge of the features.

    Attributes:
        eigenvalues: `(r,)`, falling.
        eigenvectors: `(d, r)`.
    """

    eigenvalues: Floats
    eigenvectors: Floats


def leading_directions(features: FeatureBlocks) -> Directions:
    """Find them by subspace iteration on the d by d correlation: two passes over the features."""
    n = len(features)
    mean, scale = (row[0] for row in _mean_and_scale(features, np.ones((1, n), np.float32)))
    gram = np.zeros((features.dim, features.dim), np.float32)
    for _, x in _small_blocks(features):
        standard = (x - mean) / scale
        gram += standard.T @ standard
    gram /= n
    return _leading_eigenpairs(gram, min(_MAX_EIGENVECTORS, features.dim, n))


class LogisticPath:
    """P weighted logistic regressions over the same rows, solved along a path of strengths.

    Arrays are laid out `(K, P, N)` and `(K, P, d)`, so that sums over classes run over long rows.

    Args:
        features: N rows of d features.
        labels: Class indices `(N,)`.
        n_classes: K.
        weights: Sample weights `(P, N)`; 0 leaves a row out of a problem, of its mean and its
            scale too.
        directions: What `leading_directions(features)` gave, where several paths share it.
        prior: Weights on raw features that each problem's are drawn towards, `(K, P, d)`; else 0.
        start: Where to start, on raw features, `(K, P, d)` and `(K, P)`; else at the class frequencies.
    """

    def __init__(  # noqa: PLR0913 - four facts about the problems, three ways to start
        self,
        features: FeatureBlocks,
        labels: NDArray[np.int64],
        n_classes: int,
        weights: Floats,
        *,
        directions: Directions | None = None,
        prior: Floats | None = None,
        start: tuple[Floats, Floats] | None = None,
    ) -> None:
        self._features = features
        self._labels = labels
        self._weights = weights
        self._total = weights.sum(axis=1)  # (P,)
        self._directions = directions or leading_directions(features)
        self._mean, self._scale = _mean_and_scale(features, weights)  # (P, d)
        self._prior = None if prior is None else prior * self._scale  # (K, P, d)
        self._at = self._at_frequencies(n_classes) if start is None else self._on_standard_features(*start)

    def solve(self, l2: float, *, tolerance: float = EXACT) -> LinearHeads:
        """Solve every problem at strength `l2`, starting from the last solution.

        Ends when the estimated excess of each problem's mean loss is below `tolerance`. Two arrays of
        `(K, P, N)` live meanwhile, and none afterwards: with many classes they are what is large.
        """
        logits = self._logits_of(self._at)
        gradient, curvature = self._gradient(logits, l2)
        precondition = _Preconditioner(self._directions, curvature, l2)
        step = precondition(gradient)
        direction, descent = -step, _dot(gradient, step)
        for _ in range(_MAX_STEPS):
            unsolved = descent > 2 * tolerance * self._total
            if not unsolved.any():
                break
            along = self._logits_of(direction)
            # A solved problem rests: what it becomes must not depend on how long the others take.
            length = self._line_search(direction, logits, along, l2) * unsolved
            self._at = self._at + direction.scaled(length)
            along *= length[:, None]
            logits += along
            del along
            previous, (gradient, _) = gradient, self._gradient(logits, l2)
            step = precondition(gradient)
            new_descent = _dot(gradient, step)
            beta = np.maximum(new_descent - _dot(previous, step), 0) / np.maximum(descent, 1e-30)
            descent = new_descent
            direction = direction.scaled(beta) - step
            uphill = _dot(gradient, direction) >= 0
            if uphill.any():
                direction = direction.scaled(~uphill) + (-step).scaled(uphill)
        raw, bias = self._on_raw_features(self._at)
        return LinearHeads(raw, bias, logits)

    def _at_frequencies(self, n_classes: int) -> "_Point":
        """Predict each class as often as it occurs, whatever the features, or as the prior says."""
        frequencies = np.stack([self._weights[:, self._labels == k].sum(axis=1) for k in range(n_classes)])
        bias = np.log(np.maximum(frequencies, 0.5) / self._total).astype(np.float32)
        w = np.zeros((*bias.shape, self._features.dim), np.float32) if self._prior is None else self._prior
        return _Point(w, bias)

    def _on_standard_features(self, weight: Floats, bias: Floats) -> "_Point":
        """The same linear functions of standardised features; undoes `_on_raw_features`."""
        return _Point(weight * self._scale, bias + np.einsum("pd,kpd->kp", self._mean, weight))

    def _on_raw_features(self, point: "_Point") -> tuple[Floats, Floats]:
        """The same linear functions `(K, P, d)`, `(K, P)` of features that aren't standardised."""
        raw = point.w / self._scale
        return raw, point.b - np.einsum("pd,kpd->kp", self._mean, raw)

    def _logits_of(self, point: "_Point") -> Floats:
        """Logits `(K, P, N)` of a point in parameter space: one pass over the features."""
        raw, bias = self._on_raw_features(point)
        flat = raw.reshape(-1, raw.shape[2])
        out = np.empty((len(flat), len(self._labels)), np.float32)
        for rows, x in _small_blocks(self._features):
            out[:, rows] = flat @ x.T
        out += bias.reshape(-1, 1)
        return out.reshape(*bias.shape, -1)

    def _gradient(self, logits: Floats, l2: float) -> tuple["_Point", Floats]:
        """Gradient of the objective, and the sum of p (1 - p) `(K, P)`: one pass over the features."""
        raw = np.zeros((self._at.b.size, self._features.dim), np.float32)
        total, curvature = np.zeros_like(self._at.b), np.zeros_like(self._at.b)
        for rows, x in _small_blocks(self._features):
            p, weights = _softmax(logits[:, :, rows]), self._weights[:, rows]
            curvature += np.einsum("kpn,pn->kp", p - np.square(p), weights)
            p[self._labels[rows], :, np.arange(len(x))] -= 1
            p *= weights
            total += p.sum(axis=2)
            raw += p.reshape(len(raw), -1) @ x
        w = raw.reshape(self._at.w.shape) - self._mean * total[:, :, None]
        point = _Point(w / self._scale + l2 * self._from_prior(), total)
        return point, np.maximum(curvature, 1e-3 * self._total / len(curvature))

    def _from_prior(self) -> Floats:
        """Where the weights are from the prior mean, `(K, P, d)`: what the ridge penalises."""
        return self._at.w if self._prior is None else self._at.w - self._prior

    def _line_search(self, direction: "_Point", logits: Floats, along: Floats, l2: float) -> Floats:
        """Length of step `(P,)` at which each problem's slope along the direction vanishes (Newton)."""
        ridge_slope = l2 * np.einsum("kpd,kpd->p", self._from_prior(), direction.w)
        ridge_bend = l2 * np.einsum("kpd,kpd->p", direction.w, direction.w)
        length = np.zeros(len(self._total), np.float32)
        low, high = np.zeros_like(length), np.full_like(length, np.inf)
        first_slope: Floats | None = None
        for _ in range(_LINE_SEARCH_STEPS):
            slope, bend = self._slope_and_bend(logits, along, length)
            slope, bend = slope + ridge_slope + length * ridge_bend, bend + ridge_bend
            if first_slope is None:
                first_slope = np.abs(slope)
            done = np.abs(slope) <= _LINE_SEARCH_TOLERANCE * first_slope
            if done.all():
                break
            low, high = np.where(slope < 0, length, low), np.where(slope > 0, length, high)
            newton = length - slope / np.maximum(bend, 1e-30)
            outside = (newton <= low) | (newton >= high)
            middle = np.where(np.isinf(high), 2 * low + 1, (low + high) / 2)
            length = np.where(done, length, np.where(outside, middle, newton)).astype(np.float32)
        return length

    def _slope_and_bend(self, logits: Floats, along: Floats, length: Floats) -> tuple[Floats, Floats]:
        """First and second derivative of the summed losses by the length of step, `(P,)` each."""
        slope, bend = np.zeros_like(length), np.zeros_like(length)
        for start in range(0, len(self._labels), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            labels, weights, part = self._labels[rows], self._weights[:, rows], along[:, :, rows]
            p = _softmax(logits[:, :, rows] + length[:, None] * part)
            p *= part
            mean = p.sum(axis=0)
            p *= part
            target = part[labels, :, np.arange(len(labels))].T
            slope += (weights * (mean - target)).sum(axis=1)
            bend += (weights * (p.sum(axis=0) - np.square(mean))).sum(axis=1)
        return slope, bend


@dataclass(frozen=True, slots=True)
class _Point:
    """A point or direction in the space of all problems' parameters."""

    w: Floats  # (K, P, d)
    b: Floats  # (K, P)

    def __neg__(self) -> "_Point":
        return _Point(-self.w, -self.b)

    def __add__(self, other: "_Point") -> "_Point":
        return _Point(self.w + other.w, self.b + other.b)

    def __sub__(self, other: "_Point") -> "_Point":
        return _Point(self.w - other.w, self.b - other.b)

    def scaled(self, factor: NDArray[np.floating] | NDArray[np.bool_]) -> "_Point":
        """Each problem's part times its factor `(P,)`."""
        f = factor.astype(np.float32)
        return _Point(self.w * f[:, None], self.b * f)


class _Preconditioner:
    """Approximate inverse Hessian: covariance times each class's curvature `(K, P)`, plus the ridge."""

    def __init__(self, directions: Directions, curvature: Floats, l2: float) -> None:
        eigenvalues, self._v = directions.eigenvalues, directions.eigenvectors
        # Directions outside the leading ones are taken to be as wide as the narrowest of these.
        floor = float(eigenvalues[-1]) if len(eigenvalues) < len(self._v) else 0.0
        bends = curvature[:, :, None]
        self._rest = (1 / (l2 + bends * floor)).astype(np.float32)  # (K, P, 1)
        self._leading = (1 / (l2 + bends * eigenvalues) - self._rest).astype(np.float32)  # (K, P, r)
        self._bias = (1 / curvature).astype(np.float32)

    def __call__(self, gradient: _Point) -> _Point:
        shape = (*gradient.b.shape, -1)
        inside = (gradient.w.reshape(-1, len(self._v)) @ self._v).reshape(shape) * self._leading
        w = (inside.reshape(-1, self._v.shape[1]) @ self._v.T).reshape(shape)
        return _Point(w + gradient.w * self._rest, gradient.b * self._bias)


def _small_blocks(features: FeatureBlocks) -> Iterator[tuple[slice, Floats]]:
    """Blocks of a bounded number of rows, so that what is computed of each stays small."""
    for rows, x in features.blocks():
        for start in range(0, len(x), _BLOCK_ROWS):
            part = x[start : start + _BLOCK_ROWS]
            yield slice(rows.start + start, rows.start + start + len(part)), part


def _mean_and_scale(features: FeatureBlocks, weights: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each problem's rows, `(P, d)` each; constant features scale by 1."""
    used = (weights > 0).astype(np.float32)
    n = used.sum(axis=1)[:, None]
    shift = next(x.mean(axis=0) for _, x in _small_blocks(features))  # against cancellation
    first = np.zeros((len(used), features.dim))
    second = np.zeros_like(first)
    for rows, x in _small_blocks(features):
        centred = x - shift
        first += used[:, rows] @ centred
        second += used[:, rows] @ np.square(centred)
    variance = second / n - np.square(first / n)
    scale = np.sqrt(np.where(variance > _TINY_VARIANCE, variance, 1.0))
    return (first / n + shift).astype(np.float32), scale.astype(np.float32)


def _leading_eigenpairs(gram: Floats, rank: int) -> Directions:
    """Leading eigenpairs of a symmetric matrix by subspace iteration (Halko et al. 2011)."""
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((len(gram), rank), np.float32)
    for _ in range(3):
        basis, _ = np.linalg.qr(gram @ basis)
    values, inner = np.linalg.eigh(basis.T @ gram @ basis)
    return Directions(np.maximum(values[::-1], 0), basis @ inner[:, ::-1])


def _dot(a: _Point, b: _Point) -> NDArray[np.float64]:
    """Inner product of each problem's parts, `(P,)`."""
    products: NDArray[np.float64] = np.einsum("kpd,kpd->p", a.w, b.w).astype(np.float64)
    products += (a.b * b.b).sum(axis=0)
    return products


def _softmax(logits: Floats) -> Floats:
    """Over classes, the first axis."""
    p: Floats = logits - logits.max(axis=0)
    np.exp(p, out=p)
    p /= p.sum(axis=0)
    return p
