"""Serve: a run answers over HTTP until it is told to end."""

import asyncio
import contextlib
import ipaddress
import math
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from headstart.config import ServeConfig
from headstart.errors import ConfigError, ServeError
from headstart.web.app import make_app
from headstart.web.engine import Engine
from headstart.web.guard import SECURITY_HEADERS
from headstart.web.model import ServedModel
from headstart.web.protocol import PromptProtocol
from headstart.web.watch import watch

_KEEP_ALIVE_S = 10
_MAX_CONNECTIONS = 1000
_BACKLOG = 512


def serve(
    run: str | Path,
    config: ServeConfig | None = None,
    *,
    cache: str | Path | None = None,
    on_start: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> None:
    """Serve a run until the process gets SIGTERM or SIGINT; then what has begun is answered first.

    Args:
        run: The run folder, or a link to one.
        config: Where to listen and what to allow.
        cache: Where converted backbones are kept; default: the platform's cache.
        on_start: Told the address once requests are taken.
        note: Told what happens meanwhile, a line each.

    Raises:
        ConfigError: The address is open to others, and neither a token nor `no_auth` was given.
        ServeError: The address can't be listened at.
        RunError: There is no run, or it is damaged.
    """
    config, run, place = config or ServeConfig(), Path(run), Path(cache) if cache else None
    is_loopback = _is_loopback(config.host)
    if not is_loopback and config.token is None and not config.no_auth:
        raise ConfigError(
            f"--host {config.host} lets other machines in. Give a --token (or HEADSTART_TOKEN) that clients "
            "must send, or --no-auth if everybody may ask."
        )
    with _listen(config) as listening:

        def open_model() -> ServedModel:
            return ServedModel.open(run, cache=place, runtime=config.runtime)

        engine = Engine(open_model(), max_waiting=config.queue, max_pixels=int(config.max_megapixels * 1e6))
        address = f"http://{_written(config.host)}:{listening.getsockname()[1]}"
        server = _Server(
            uvicorn.Config(
                make_app(engine, config, loopback=is_loopback, is_ready=lambda: not server.should_exit),
                http=PromptProtocol,
                ws="none",
                loop="asyncio",
                lifespan="on",
                access_log=False,
                log_level="warning",
                timeout_keep_alive=math.ceil(min(_KEEP_ALIVE_S, config.timeout_s)),
                timeout_graceful_shutdown=int(2 * config.timeout_s) + 1,
                limit_concurrency=_MAX_CONNECTIONS,
                server_header=False,
                headers=list(SECURITY_HEADERS.items()),
            ),
            started=lambda: on_start(address) if on_start else None,
            beside=(lambda: watch(engine, run, open_model, note or (lambda _: None)))
            if config.watch
            else None,
        )
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn's server, with a word at its start and a task beside it."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        started: Callable[[], None],
        beside: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> None:
        super().__init__(config)
        self._tell, self._beside = started, beside

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, then say so."""
        await super().startup(sockets)
        self._tell()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the server, and not reach the process once more at its end."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hands signals to the main thread alone
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def main_loop(self) -> None:
        """Run until told to end."""
        task = asyncio.create_task(self._beside()) if self._beside else None
        try:
            await super().main_loop()
        finally:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _written(host: str) -> str:
    """A host as addresses have it."""
    return f"[{host}]" if ":" in host else host


def _listen(config: ServeConfig) -> socket.socket:
    """Open the address before the model is loaded, which takes longer.

    Raises:
        ServeError: It is taken, forbidden or not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"--host {config.host} is no address of this machine: {error}.") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ServeError(
            f"Can't listen at {config.host}, port {config.port}: {error.strerror or error}. "
            "Choose another with --port, or 0 for any that is free."
        ) from error
    return listening
