"""What a server counts of itself, for Prometheus."""

import time
from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.web.engine import Answer, Engine

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_KNOWN = {"/", "/docs", "/healthz", "/metrics", "/openapi.json", "/readyz", "/v1/model", "/v1/predict"}


class Measures:
    """Counts and durations of one server."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, engine: Engine) -> None:
        """Count for this engine, from nothing."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "headstart_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "headstart_request_seconds",
            "From a request's headers to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "headstart_images", "Images by what became of them.", ["outcome"], registry=self._registry
        )
        waiting = Gauge(
            "headstart_images_waiting", "Images that nobody has begun with.", registry=self._registry
        )
        waiting.set_function(lambda: engine.n_waiting)

    def count(self, answers: Sequence[Answer]) -> None:
        """Count the images of one request."""
        for answer in answers:
            self._images.labels("unreadable" if answer.probabilities is None else "predicted").inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application so that its requests are counted and timed."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            path = scope["path"] if scope["path"] in _KNOWN else "other"  # as clients can make up any number
            started = time.perf_counter()

            async def send_counted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._requests.labels(path, str(message["status"])).inc()
                await send(message)

            try:
                await app(scope, receive, send_counted)
            finally:
                self._seconds.labels(path).observe(time.perf_counter() - started)

        return measured
