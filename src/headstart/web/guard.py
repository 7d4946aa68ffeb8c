"""What every request passes first: who asks, how much, how slowly; and the headers of every answer."""

import asyncio
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.web.refusals import RefusedError, busy, too_large, too_slow

PUBLIC = {"/", "/icon.svg", "/page.js", "/page.css", "/docs", "/openapi.json", "/healthz", "/readyz"}
"""What needs no token: it tells nothing about the model."""

_REQUESTS_IN_MEMORY = 16
"""So many of the largest requests may arrive at once."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


@dataclass(slots=True)
class _Arriving:
    """Bytes of one request that have come so far."""

    n_bytes: int = 0


class Guard:
    """Refuses what is not allowed before the application sees it, and counts what arrives."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] | None,
        token: str | None,
        max_bytes: int,
        timeout_s: float,
    ) -> None:
        """Wrap an application.

        Args:
            app: What answers.
            hosts: Names it answers to, so that a page which has its own name point here gets nothing; None
                for all.
            token: What clients must know; None lets everybody in.
            max_bytes: Of one request's body.
            timeout_s: In which the body must have come.
        """
        self.app, self.hosts = app, hosts
        self.token, self.max_bytes, self.timeout_s = token, max_bytes, timeout_s
        self._in_memory = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, arriving = Headers(scope=scope), _Arriving()
        try:
            self._check(scope["path"], headers)
        except RefusedError as refused:
            await refused.response()(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self.timeout_s

        async def receive_guarded() -> Message:
            return await self._receive(receive, arriving, deadline)

        try:
            await self.app(scope, receive_guarded, send)
        finally:
            self._in_memory -= arriving.n_bytes

    def _check(self, path: str, headers: Headers) -> None:
        """Look at what is known before the body.

        Raises:
            RefusedError: The request is not allowed.
        """
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and _name_of(host) not in self.hosts:
            raise RefusedError(400, "other_host", "This server is not called so.")
        if origin is not None and origin.partition("://")[2] != host:
            raise RefusedError(403, "other_origin", "Pages of other sites may not ask this server.")
        if self.token is not None and path not in PUBLIC:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, b"Bearer " + self.token.encode("ascii")):
                wanted = {"WWW-Authenticate": "Bearer"}
                raise RefusedError(401, "no_token", "Send the header 'Authorization: Bearer TOKEN'.", wanted)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.max_bytes:
            raise too_large(self.max_bytes)

    async def _receive(self, receive: Receive, arriving: _Arriving, deadline: float) -> Message:
        """Take the next part of a body.

        Raises:
            RefusedError: It comes too slowly, the body is too large, or too much arrives at once.
        """
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise too_slow(self.timeout_s) from error
        n_bytes = len(message.get("body", b""))
        arriving.n_bytes += n_bytes
        self._in_memory += n_bytes
        if arriving.n_bytes > self.max_bytes:
            raise too_large(self.max_bytes)
        if self._in_memory > _REQUESTS_IN_MEMORY * self.max_bytes:
            raise busy(1)
        return message


def _name_of(host: str) -> str | None:
    """The name in a `Host` header, without the port and the brackets of IPv6; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
