"""Hold an exported file against its run, from image files on, and say whether it may be used.

What is compared is what users meet: the file in its own runtime, fed by its own reading of
the image, against Headstart's reading and the run's model in float32.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.classifier import Classifier
from headstart.data.decode import read_view
from headstart.errors import UnreadableImageError
from headstart.exports.source import Exported
from headstart.metrics.calibration import softmax
from headstart.metrics.intervals import wilson_interval
from headstart.progress import Progress
from headstart.run.environment import available_cores

LEAST_AGREEMENT = 0.995
"""Of the classes that float32 exports answer, with those of the run."""

MOST_DIFFERENCE = 1e-3
"""Of a probability of a float32 export, where it was given the same pixels."""

MOST_LOSS = 0.005
"""Of accuracy, by an int8 export."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right answers, and its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, right: NDArray[np.bool_]) -> "Accuracy":
        """Of `(N,)` answers."""
        low, high = wilson_interval(int(right.sum()), len(right))
        return cls(float(right.mean()), low, high)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a comparison found.

    Attributes:
        images: Compared.
        unreadable: Files that neither could read; they are left out.
        agreeing: Images of which both say the same class.
        equal_pixels: Images of which both were given the same pixels.
        difference: Largest difference of a probability.
        difference_equal: The same among images of equal pixels; None without such.
        original: The run's accuracy on these images.
        exported: The export's.
        refusals: Why it must not be used, a line each; empty if it may be.
    """

    images: int
    unreadable: int
    agreeing: int
    equal_pixels: int
    difference: float
    difference_equal: float | None
    original: Accuracy
    exported: Accuracy
    refusals: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"verified": not self.refusals, **asdict(self)}


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Both answers on one image, `(K,)` each."""

    original: NDArray[np.float64]
    exported: NDArray[np.float64]
    same_pixels: bool


def verify(
    classifier: Classifier,
    exported: Exported,
    paths: Sequence[str],
    labels: Sequence[int],
    *,
    int8: bool,
    progress: Progress,
) -> Verification:
    """Compare on image files.

    Args:
        classifier: The run's, on a float32 runtime.
        exported: The exported file in its own runtime.
        paths: N image files.
        labels: Their classes, as positions in `classifier.classes`.
        int8: Judge by the loss of accuracy instead of by agreement.
        progress: Told how it moves.

    Raises:
        UnreadableImageError: None of the files can be read.
    """

    def compare(path: str) -> _Pair | str:
        return _compare(classifier, exported, path)

    pairs: list[_Pair | str] = []
    with (
        progress.stage(f"Verifying with {exported.runtime}", len(paths)) as advance,
        ThreadPoolExecutor(available_cores(), thread_name_prefix="verify") as pool,
    ):
        for pair in pool.map(compare, paths):
            pairs.append(pair)
            advance(1)
    kept = [(pair, label) for pair, label in zip(pairs, labels, strict=True) if isinstance(pair, _Pair)]
    reasons = [pair for pair in pairs if isinstance(pair, str)]
    if not kept:
        raise UnreadableImageError(
            f"None of the {len(paths)} images to verify with can be read, for example {reasons[0]}"
            if reasons
            else "There are no images to verify with."
        )
    return _summarise([pair for pair, _ in kept], np.array([label for _, label in kept]), len(reasons), int8)


def _compare(classifier: Classifier, exported: Exported, path: str) -> _Pair | str:
    """Both answers on a file, or why the run can't read it; then the export need not either."""
    try:
        view = read_view(path, classifier.trunk.preprocessing)
    except UnreadableImageError as error:
        return str(error)
    original = softmax(classifier.logits(classifier.runtime.embed(view[None])))[0]
    try:
        own = exported.read(path)
    except (OSError, ValueError, SyntaxError):  # an image that the run can read: as wrong as can be
        return _Pair(original, np.zeros_like(original), False)
    answer = exported.predict(own[None])[0].astype(np.float64)
    return _Pair(original, answer, np.array_equal(view, own))


def _summarise(
    pairs: Sequence[_Pair], labels: NDArray[np.int64], unreadable: int, int8: bool
) -> Verification:
    a = np.stack([pair.original for pair in pairs])
    b = np.stack([pair.exported for pair in pairs])
    same = np.array([pair.same_pixels for pair in pairs])
    first, answered = a.argmax(axis=1), np.isclose(b.sum(axis=1), 1, atol=1e-2)
    second = np.where(answered, b.argmax(axis=1), -1)  # one that isn't a distribution answers nothing
    differences = np.abs(a - b).max(axis=1)
    found = Verification(
        images=len(pairs),
        unreadable=unreadable,
        agreeing=int(np.sum(first == second)),
        equal_pixels=int(same.sum()),
        difference=float(differences.max()),
        difference_equal=float(differences[same].max()) if same.any() else None,
        original=Accuracy.of(first == labels),
        exported=Accuracy.of(second == labels),
        refusals=(),
    )
    refusals = _refuse_int8(found) if int8 else _refuse_float(found)
    return replace(found, refusals=tuple(refusals))


def _refuse_float(found: Verification) -> list[str]:
    refusals = []
    if found.agreeing < LEAST_AGREEMENT * found.images - _ROUNDING:
        refusals.append(
            f"it agrees with the run on the class of {found.agreeing:,} of {found.images:,} images "
            f"({found.agreeing / found.images:.2%}), and {LEAST_AGREEMENT:.1%} are asked for"
        )
    if found.difference_equal is not None and not found.difference_equal <= MOST_DIFFERENCE:
        refusals.append(
            f"given the same pixels, a probability differs by {found.difference_equal:.4f}, and "
            f"{MOST_DIFFERENCE} is allowed"
        )
    return refusals


def _refuse_int8(found: Verification) -> list[str]:
    loss = found.original.value - found.exported.value
    if loss <= MOST_LOSS + _ROUNDING:
        return []
    values = f"{found.exported.value:.2%}, {100 * loss:.2f} points below the run's {found.original.value:.2%}"
    return [f"its accuracy is {values}, and {100 * MOST_LOSS} are allowed"]
