"""Does a classifier hold where pictures are darker, warmer, blurrier or smaller than in training?

Each picture is decoded once, shifted in all ways and embedded; memory holds a few pictures a core.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.classifier import Classifier
from headstart.data.decode import center_view, decode
from headstart.data.files import Skipped
from headstart.data.shifts import SHIFTS, STRENGTHS, Kind, advise, shift_picture
from headstart.errors import UnreadableImageError
from headstart.metrics.calibration import softmax
from headstart.metrics.intervals import bootstrap_interval, wilson_interval
from headstart.metrics.paired import Estimate, mean_accuracy, mean_gain
from headstart.metrics.scores import calibration_error
from headstart.progress import Progress, Silent
from headstart.run.environment import available_cores

_AHEAD = 4
_RESAMPLES = 300
_HARM = 0.02  # of accuracy lost, averaged over strengths: less is not worth an augmentation


@dataclass(frozen=True, slots=True)
class Level:
    """What one strength of one shift does.

    Attributes:
        level: In the unit of the shift.
        accuracy: Share right.
        accuracy_interval: 95 % Wilson interval.
        change: Accuracy less that of the same pictures unchanged.
        change_interval: 95 %, paired (Newcombe).
        ece: Expected calibration error.
        ece_interval: 95 %, percentile bootstrap.
        flips: Share of the pictures whose answer changed, for better or worse.
        flips_interval: 95 % Wilson interval.
    """

    level: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    change: float
    change_interval: tuple[float, float]
    ece: float
    ece_interval: tuple[float, float]
    flips: float
    flips_interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


@dataclass(frozen=True, slots=True, eq=False)
class ShiftScores:
    """What shifts do to a classifier.

    Attributes:
        right: Whether each of N pictures was judged rightly: as it is, then by shift and strength,
            `(N, 1 + 5 kinds)`.
        accuracy: Of the pictures unchanged; 95 % Wilson interval.
        ece: Of the pictures unchanged; 95 %, percentile bootstrap.
        kinds: Five levels of each shift, from weak to strong.
        changes: Of each shift, accuracy averaged over its strengths less that of the pictures unchanged;
            95 %, percentile bootstrap over pictures.
        shifted: Accuracy averaged over all shifts and strengths; 95 % Wilson interval.
        robustness: The same, divided by the accuracy of the pictures unchanged; 1 is unmoved. 95 %,
            percentile bootstrap over pictures.
    """

    right: NDArray[np.bool_]
    accuracy: Estimate
    ece: Estimate
    kinds: Mapping[Kind, tuple[Level, ...]]
    changes: Mapping[Kind, Estimate]
    shifted: Estimate
    robustness: Estimate

    @property
    def n(self) -> int:
        """How many pictures."""
        return len(self.right)

    @property
    def harmful(self) -> tuple[Kind, ...]:
        """Shifts that cost accuracy for sure and worth mending, the worst first."""
        sure = [kind for kind, change in self.changes.items() if change.high < 0 and change.value <= -_HARM]
        return tuple(sorted(sure, key=lambda kind: self.changes[kind].value))

    @property
    def policy(self) -> str:
        """The `--augment` policy that would help; empty where nothing harms."""
        return advise(self.harmful) if self.harmful else ""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for `shift.json`."""
        told: dict[str, Any] = {"n": self.n}
        for name in ("accuracy", "ece", "shifted", "robustness"):
            told |= _named(name, getattr(self, name))
        return {
            **told,
            "harmful": list(self.harmful),
            "policy": self.policy,
            "shifts": {
                kind: {
                    "title": SHIFTS[kind].title,
                    "unit": SHIFTS[kind].unit,
                    **_named("change", self.changes[kind]),
                    "levels": [level.to_json() for level in levels],
                }
                for kind, levels in self.kinds.items()
            },
        }


@dataclass(frozen=True, slots=True)
class ShiftGain:
    """How far one classifier fares better than another on the same pictures.

    Attributes:
        accuracy: On the pictures as they are; 95 %, paired (Newcombe).
        shifted: Averaged over all shifts and strengths; 95 %, percentile bootstrap over pictures.
        kinds: The same of each shift.
    """

    accuracy: Estimate
    shifted: Estimate
    kinds: Mapping[Kind, Estimate]

    @property
    def verdict(self) -> str:
        """Whether it was worth it, in words."""
        if self.shifted.low > 0:
            return "Training against the shifts helped."
        if self.shifted.high < 0:
            return "Training against the shifts did harm: keep the first run, or give more images or epochs."
        return "On so few images it can't be told whether training against the shifts helped."

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for `shift.json`."""
        kinds = {kind: _named("gain", gain) for kind, gain in self.kinds.items()}
        return {
            "verdict": self.verdict,
            **_named("accuracy", self.accuracy),
            **_named("shifted", self.shifted),
            "shifts": kinds,
        }


def compare_shifts(before: ShiftScores, after: ShiftScores) -> ShiftGain:
    """How far a second classifier fares better than the first under the same shifts of the same pictures.

    Raises:
        ValueError: They judged different numbers of pictures or shifts.
    """
    if before.right.shape != after.right.shape or list(before.kinds) != list(after.kinds):
        raise ValueError(f"both must judge the same; got {before.right.shape} and {after.right.shape}")

    def gain(columns: slice) -> Estimate:
        return _mean_change(_shares(after.right[:, columns]), _shares(before.right[:, columns]))

    return ShiftGain(
        accuracy=mean_gain(_shares(after.right[:, :1]), _shares(before.right[:, :1])),
        shifted=gain(slice(1, None)),
        kinds={kind: gain(own) for kind, own in _columns(before.kinds).items()},
    )


def _columns(kinds: Iterable[Kind]) -> dict[Kind, slice]:
    """Where each shift's strengths stand; the first column is the picture as it is."""
    return {kind: slice(1 + k * STRENGTHS, 1 + (k + 1) * STRENGTHS) for k, kind in enumerate(kinds)}


def _named(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}


def _shares(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each picture the share of columns in which it is judged rightly, `(1, N)`."""
    shares: NDArray[np.float64] = right.mean(axis=1)[None]
    return shares


def _mean_change(after: NDArray[np.float64], before: NDArray[np.float64]) -> Estimate:
    """How far shares `(1, N)` lie above others of the same pictures: percentile bootstrap over these.

    Newcombe's interval takes a share of five strengths for one throw of a coin, and is far too wide; but
    where no picture changes it is right, and a bootstrap would be a point.
    """
    differences = (after - before)[0]
    if not differences.any():
        return mean_gain(after, before)
    return _bootstrap(lambda drawn: float(differences[drawn].mean()), len(differences))


def _bootstrap(statistic: Callable[[NDArray[np.intp]], float], n: int, n_resamples: int = 1000) -> Estimate:
    """A statistic of N pictures; the interval holds it even where resamples are all above, as of errors."""
    value = statistic(np.arange(n))
    low, high = bootstrap_interval(statistic, n, seed=0, n_resamples=n_resamples)
    return Estimate(value, min(low, value), max(high, value))


def measure_shift(
    classifier: Classifier,
    paths: Sequence[str],
    labels: NDArray[np.int64],
    kinds: Sequence[Kind],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[ShiftScores, tuple[Skipped, ...]]:
    """Measure a classifier on N pictures, unchanged and shifted; also return files that can't be decoded.

    Args:
        classifier: The model.
        paths: N image files.
        labels: Class indices of the model, `(N,)`.
        kinds: Which shifts.
        seed: Of the noise.
        progress: Told how the work moves.

    Raises:
        UnreadableImageError: No image can be decoded.
    """
    rows, answers, confidence, failed = [], [], [], []
    with (progress or Silent()).stage("Shifting images", len(paths)) as advance:
        for row, found in enumerate(_answers(classifier, paths, kinds, seed)):
            if isinstance(found, str):
                failed.append(Skipped(paths[row], found))
            else:
                rows.append(row)
                answers.append(found[0])
                confidence.append(found[1])
            advance(1)
    if not rows:
        reason = f", such as {failed[0].path}: {failed[0].reason}" if failed else ""
        raise UnreadableImageError(f"None of the {len(paths)} images can be decoded{reason}.")
    scores = score_shift(np.stack(answers), np.stack(confidence), labels[rows], kinds)
    return scores, tuple(failed)


def score_shift(
    answers: NDArray[np.int64],
    confidence: NDArray[np.float64],
    labels: NDArray[np.int64],
    kinds: Sequence[Kind],
) -> ShiftScores:
    """Score answers to N pictures, each unchanged and then shifted, strength by strength and kind by kind.

    Args:
        answers: Class indices, `(N, 1 + 5 kinds)`.
        confidence: Their probabilities, of the same shape.
        labels: True class indices, `(N,)`.
        kinds: In the order of the columns.
    """
    right = answers == labels[:, None]
    n = len(labels)
    levels = [
        _level(SHIFTS[kinds[k // STRENGTHS]].levels[k % STRENGTHS], answers, confidence, right, k + 1)
        for k in range(answers.shape[1] - 1)
    ]
    unchanged, shifted = _shares(right[:, :1]), _shares(right[:, 1:])[0]
    return ShiftScores(
        right=right,
        accuracy=mean_accuracy(unchanged),
        ece=_ece(confidence[:, 0], right[:, 0]),
        kinds={kind: tuple(levels[own.start - 1 : own.stop - 1]) for kind, own in _columns(kinds).items()},
        changes={
            kind: _mean_change(_shares(right[:, own]), unchanged) for kind, own in _columns(kinds).items()
        },
        shifted=mean_accuracy(shifted[None]),
        robustness=_bootstrap(
            lambda drawn: float(shifted[drawn].mean() / max(unchanged[0, drawn].mean(), 1 / n)), n
        ),
    )


def _level(
    level: float,
    answers: NDArray[np.int64],
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    column: int,
) -> Level:
    n, found = len(right), int(right[:, column].sum())
    change = mean_gain(right[None, :, column], right[None, :, 0])
    flipped = int((answers[:, column] != answers[:, 0]).sum())
    ece = _ece(confidence[:, column], right[:, column])
    return Level(
        level=level,
        accuracy=found / n,
        accuracy_interval=wilson_interval(found, n),
        change=change.value,
        change_interval=(change.low, change.high),
        ece=ece.value,
        ece_interval=(ece.low, ece.high),
        flips=flipped / n,
        flips_interval=wilson_interval(flipped, n),
    )


def _ece(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Estimate:
    return _bootstrap(
        lambda drawn: calibration_error(confidence[drawn], right[drawn]), len(right), n_resamples=_RESAMPLES
    )


_Answers = tuple[NDArray[np.int64], NDArray[np.float64]]


def _answers(
    classifier: Classifier, paths: Sequence[str], kinds: Sequence[Kind], seed: int
) -> Iterator[_Answers | str]:
    """Of each file the answers `(1 + 5 kinds,)` and how sure they are, or why there are none; in order."""

    def work(path: str) -> _Answers | str:
        try:
            views = shifted_views(path, kinds, classifier, seed)
        except UnreadableImageError as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        p = softmax(classifier.logits(classifier.runtime.embed(views)))
        return p.argmax(axis=1), p.max(axis=1)

    in_parallel = classifier.runtime.parallel > 1
    with (
        _one_torch_thread() if in_parallel else nullcontext(),
        ThreadPoolExecutor(available_cores(), thread_name_prefix="shift") as pool,
    ):
        under_way: deque[Future[_Answers | str]] = deque()
        try:
            for path in paths:
                under_way.append(pool.submit(work, path))
                if len(under_way) > _AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let torch work in one thread, where pictures are shifted on all cores at once already."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shifted_views(path: str, kinds: Sequence[Kind], classifier: Classifier, seed: int) -> NDArray[np.uint8]:
    """A file's view and its shifted ones, `(1 + 5 kinds, crop_px, crop_px, 3)`; decoded once.

    Raises:
        OSError: It can't be read.
        UnreadableImageError: It can't be decoded.
    """
    preprocessing = classifier.trunk.preprocessing
    data = Path(path).read_bytes()
    picture = decode(data, min_side_px=preprocessing.resize_px)
    view = center_view(picture, preprocessing)
    own = zlib.crc32(data, seed)
    shifted = [
        shift_picture(picture, view, kind, strength, preprocessing, own)
        for kind in kinds
        for strength in range(1, STRENGTHS + 1)
    ]
    return np.stack([view, *shifted])
