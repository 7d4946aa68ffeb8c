"""HTTP over a connection that must neither dawdle nor flood."""

import asyncio
import json
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEADER_BYTES = 1 << 16  # of one request: its address, its headers, and those after a body
_MAX_PIPELINED = 16  # requests sent ahead; browsers send none
_LOG = logging.getLogger("uvicorn.error")


class _FloodError(Exception):
    """More than any honest client sends; the parser makes a 400 of it."""


class PromptProtocol(HttpToolsProtocol):
    """Ends a connection that holds the server up or fills its memory.

    uvicorn limits only how long a connection rests between two requests. Here it may not take longer
    than that to send the next request's headers, nor to take any of an answer; headers have a size, and so
    many requests at most wait in line.
    """

    _headers_due: asyncio.TimerHandle | None = None
    _taking_due: asyncio.TimerHandle | None = None
    _n_header_bytes = 0
    _n_unparsed_bytes = 0  # of a header, a trailer or a chunk's extension, which is not yet at its end
    _is_parsed = False

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first headers."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Take data in; once they complete the headers, the waiting ends."""
        self._is_parsed = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._n_unparsed_bytes = 0 if self._is_parsed else self._n_unparsed_bytes + len(data)
        if self._n_unparsed_bytes > _MAX_HEADER_BYTES:
            self.send_400_response("too long headers")
        elif self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._headers_due is None:
            self._wait_for_headers()

    def on_message_begin(self) -> None:
        """Begin a request, unless too many wait before it."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise _FloodError
        self._is_parsed, self._n_header_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, which the guard counts."""
        self._is_parsed = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of all errors."""
        problem = {"code": "bad_http", "message": "This is no HTTP request, or one with too long headers."}
        content = json.dumps({"error": problem}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 400 Bad Request", *(b": ".join(header) for header in headers), b"", content]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()
        _LOG.debug("refused a connection: %s", msg)

    def pause_writing(self) -> None:
        """Wait for the client to take some of what was written."""
        super().pause_writing()
        self._wait_for_taking()

    def on_response_complete(self) -> None:
        """Leave the connection to rest; how long, uvicorn limits."""
        self._stop_waiting()
        self._wait_for_taking()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        if self._taking_due is not None:
            self._taking_due.cancel()
        super().connection_lost(exc)

    def _count(self, n_bytes: int) -> None:
        """Count what belongs to a request's headers.

        Raises:
            _FloodError: There are too many.
        """
        self._is_parsed = True
        self._n_header_bytes += n_bytes
        if self._n_header_bytes > _MAX_HEADER_BYTES:
            raise _FloodError

    def _wait_for_headers(self) -> None:
        self._headers_due = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _wait_for_taking(self) -> None:
        if self._taking_due is not None:
            self._taking_due.cancel()
            self._taking_due = None
        if n_bytes := self.transport.get_write_buffer_size():
            self._taking_due = self.loop.call_later(self.timeout_keep_alive, self._end_unless_taken, n_bytes)

    def _end_unless_taken(self, n_bytes_before: int) -> None:
        """Drop a client that has taken nothing meanwhile: what was written would be kept for ever."""
        if self.transport.get_write_buffer_size() >= n_bytes_before:
            self.transport.abort()
        else:
            self._wait_for_taking()
