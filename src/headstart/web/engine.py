"""Pictures of all requests wait in one queue; a few threads decode them and embed them together.

How many a thread takes at once is what the runtime is fastest with, and never more than its share of
those that wait: on OpenVINO one, on torch up to a batch. A picture's answer is that of `predict`, bit
for bit, as both decode, embed and weigh it by the same code.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headstart.data.decode import view_of
from headstart.data.files import open_image
from headstart.errors import UnreadableImageError
from headstart.metrics.calibration import softmax
from headstart.run.environment import available_cores
from headstart.web.model import ServedModel

_SPARE_WORKERS = 2  # they decode while the others wait for a stream
_SMOOTHING = 0.05  # of the newest picture in the running mean of seconds


class QueueFullError(Exception):
    """So many pictures wait that more would only wait longer.

    Attributes:
        retry_after_s: When there should be room again.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"come again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model says of one picture.

    Attributes:
        model: Which model it was; a server may take up another one at any time.
        probabilities: Calibrated, `(K,)`; None where the picture can't be read.
        evidence: What each place adds to the best class's logit, `(h, w)`; None unless asked for.
        error: Why the picture can't be read, or None.
    """

    model: ServedModel
    probabilities: NDArray[np.float64] | None
    evidence: NDArray[np.float64] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    data: bytes
    with_map: bool
    answer: "Future[Answer]" = field(default_factory=Future)


class Engine:
    """Answers pictures with the model that it holds at the moment."""

    def __init__(self, model: ServedModel, *, max_waiting: int, max_pixels: int) -> None:
        """Start the threads; `close` ends them."""
        self.model = model
        self._max_waiting, self._max_pixels = max_waiting, max_pixels
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._seconds = 0.01  # a picture, a thread; a running mean
        n_workers = available_cores() + _SPARE_WORKERS
        self._workers = [
            threading.Thread(target=self._work, name=f"engine-{k}", daemon=True) for k in range(n_workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def n_waiting(self) -> int:
        """Pictures that nobody has begun with."""
        return len(self._waiting)

    def submit(self, pictures: Sequence[bytes], *, with_map: bool = False) -> "list[Future[Answer]]":
        """Queue the pictures of one request, all or none of them.

        Raises:
            QueueFullError: There is no room for all of them.
        """
        jobs = [_Job(data, with_map) for data in pictures]
        with self._changed:
            if len(self._waiting) + len(jobs) > self._max_waiting:
                wait_s = len(self._waiting) * self._seconds / len(self._workers)
                raise QueueFullError(max(1, round(wait_s)))
            self._waiting.extend(jobs)
            self._changed.notify(len(jobs))
        return [job.answer for job in jobs]

    def close(self) -> None:
        """Answer what waits, then end the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while jobs := self._take():
            started = time.perf_counter()
            try:
                self._answer(jobs, self.model)
            except Exception as error:
                for job in jobs:
                    if not job.answer.done():
                        job.answer.set_exception(error)
            seconds = (time.perf_counter() - started) / len(jobs)
            self._seconds += _SMOOTHING * (seconds - self._seconds)

    def _take(self) -> list[_Job]:
        """Wait for pictures and take a share of them; none once closed."""
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            share = -(-len(self._waiting) // len(self._workers))
            n = min(self.model.classifier.runtime.batch_size, share)
            return [self._waiting.popleft() for _ in range(n)]

    def _answer(self, jobs: Sequence[_Job], model: ServedModel) -> None:
        """Decode, embed, weigh; a picture that can't be read is answered with the reason."""
        wanted = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
        views: list[tuple[_Job, NDArray[np.uint8]]] = []
        for job in wanted:
            try:
                self._check_size(job.data)
                views.append((job, view_of(job.data, model.classifier.trunk.preprocessing)))
            except UnreadableImageError as error:
                job.answer.set_result(Answer(model, None, error=str(error)))
        if not views:
            return
        features = model.classifier.runtime.embed(np.stack([view for _, view in views]))
        probabilities = softmax(model.classifier.logits(features))
        for (job, view), p in zip(views, probabilities, strict=True):
            evidence = model.evidence(view, int(p.argmax())) if job.with_map else None
            job.answer.set_result(Answer(model, p, evidence))

    def _check_size(self, data: bytes) -> None:
        """Refuse by the header what would cost too much to decode.

        Raises:
            UnreadableImageError: It is no image, or has too many pixels.
        """
        image = open_image(data)
        if image.width * image.height > self._max_pixels:
            raise UnreadableImageError(
                f"{image.width:,} by {image.height:,} pixels, more than the limit of {self._max_pixels:,}"
            )
