"""A server as a process of its own, and pictures to send it."""

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image

_START_S = 90
_END_S = 30


@dataclass(frozen=True)
class Server:
    """A running `headstart serve`."""

    address: str
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)

    def end(self) -> int:
        """Ask it to end, as a system would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_END_S)


@contextmanager
def serving(run: Path, cache: Path, log: Path, *words: str) -> Iterator[Server]:
    """Serve a run at a free port until the block ends."""
    command = [
        sys.executable,
        "-m",
        "headstart",
        "serve",
        str(run),
        "--port",
        "0",
        "--cache",
        str(cache),
        *words,
    ]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdin=subprocess.DEVNULL, text=True)
    try:
        yield Server(_wait_for_address(process, log), process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_END_S)


def wait_for_line(log: Path, pattern: str, within_s: float = 60) -> str:
    """The first line of a log that has the pattern, once it is there."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := re.search(f".*(?:{pattern}).*", log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{pattern!r} not in {log.read_text()!r}")


def _wait_for_address(process: "subprocess.Popen[str]", log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"at (http://\S+) ", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()}")


def picture(size: tuple[int, int] = (32, 24), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A grey picture."""
    stream = io.BytesIO()
    Image.new(mode, size, 128 if mode in {"L", "P"} else None).save(stream, kind)
    return stream.getvalue()


def form(*files: tuple[str, bytes]) -> "list[tuple[str, tuple[str, bytes]]]":
    return [("images", file) for file in files]
