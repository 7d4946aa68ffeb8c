"""Does a classifier hold where pictures are darker, warmer, blurrier or smaller than in training?

Each picture is decoded once, shifted in all ways and embedded; memory holds a few pictures a core.
"""

import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.classifier import Classifier
from headstart.data.decode import center_view, decode
from headstart.data.files import Skipped
from headstart.data.shifts import SHIFTS, STRENGTHS, Kind, advise, shift_picture
from headstart.errors import UnreadableImageError
from headstart.metrics.calibration import softmax
from headstart.metrics.intervals import bootstrap_interval, wilson_interval
from headstart.metrics.paired import mean_gain
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


@dataclass(frozen=True, slots=True)
class ShiftScores:
    """What shifts do to a classifier.

    Attributes:
        n: Pictures.
        accuracy: Of the pictures unchanged.
        accuracy_interval: 95 % Wilson interval.
        ece: Of the pictures unchanged.
        ece_interval: 95 %, percentile bootstrap.
        kinds: Five levels of each shift, from weak to strong.
        robustness: Mean accuracy over all shifts and strengths, divided by that of the pictures unchanged;
            1 is unmoved.
        robustness_interval: 95 %, percentile bootstrap over pictures.
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    ece: float
    ece_interval: tuple[float, float]
    kinds: Mapping[Kind, tuple[Level, ...]]
    robustness: float
    robustness_interval: tuple[float, float]

    @property
    def harmful(self) -> tuple[Kind, ...]:
        """Shifts that cost accuracy for sure and worth mending, the worst first."""
        losses = {
            kind: -float(np.mean([one.change for one in levels])) for kind, levels in self.kinds.items()
        }
        sure = [k for k, levels in self.kinds.items() if any(one.change_interval[1] < 0 for one in levels)]
        return tuple(sorted((k for k in sure if losses[k] >= _HARM), key=lambda kind: -losses[kind]))

    @property
    def policy(self) -> str:
        """The `--augment` policy that would help; empty where nothing harms."""
        return advise(self.harmful) if self.harmful else ""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for `shift.json`."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "ece": self.ece,
            "ece_interval": list(self.ece_interval),
            "robustness": self.robustness,
            "robustness_interval": list(self.robustness_interval),
            "harmful": list(self.harmful),
            "policy": self.policy,
            "shifts": {
                kind: {
                    "title": SHIFTS[kind].title,
                    "unit": SHIFTS[kind].unit,
                    "levels": [level.to_json() for level in levels],
                }
                for kind, levels in self.kinds.items()
            },
        }


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

    def robustness(drawn: NDArray[np.intp]) -> float:
        return float(right[drawn, 1:].mean() / max(right[drawn, 0].mean(), 1 / n))

    return ShiftScores(
        n=n,
        accuracy=float(right[:, 0].mean()),
        accuracy_interval=wilson_interval(int(right[:, 0].sum()), n),
        ece=calibration_error(confidence[:, 0], right[:, 0]),
        ece_interval=_ece_interval(confidence[:, 0], right[:, 0]),
        kinds={kind: tuple(levels[k * STRENGTHS : (k + 1) * STRENGTHS]) for k, kind in enumerate(kinds)},
        robustness=robustness(np.arange(n)),
        robustness_interval=bootstrap_interval(robustness, n, seed=0),
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
    return Level(
        level=level,
        accuracy=found / n,
        accuracy_interval=wilson_interval(found, n),
        change=change.value,
        change_interval=(change.low, change.high),
        ece=calibration_error(confidence[:, column], right[:, column]),
        ece_interval=_ece_interval(confidence[:, column], right[:, column]),
        flips=flipped / n,
        flips_interval=wilson_interval(flipped, n),
    )


def _ece_interval(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    return bootstrap_interval(
        lambda drawn: calibration_error(confidence[drawn], right[drawn]),
        len(right),
        seed=0,
        n_resamples=_RESAMPLES,
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

    with ThreadPoolExecutor(available_cores(), thread_name_prefix="shift") as pool:
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
