"""Whether the server keeps up with the process it is made of, and stays right and small under load.

A run is trained on the cats and dogs and served; its clients live in this process and share its cores.

- Throughput: 32 clients ask for one picture at a time, over and over, against `predict_proba` on the same
  files in this process; in turn, the median of the ratios counts.
- Latency: one client, one picture at a time, against decoding it and one pass of the network, in turn.
- Load: for ten minutes, clients send forms of one to eight pictures, JSON, maps, broken and cut pictures,
  too much, the wrong kind, and hang up half-way. Every answer is compared with what `predict_proba` says,
  bit for bit. Memory is the server's resident set, once a second, after the first tenth.

    python bench/serving.py
    python bench/serving.py --repeats 1 --minutes 1     a quick trial
"""

import base64
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import numpy as np

import headstart as hs
from headstart.data.decode import read_view
from support import (
    HEADSTART,
    alternate,
    data_folder,
    make_parser,
    middle,
    print_table,
    run,
    scratch_cache,
    seconds_of,
    verdict,
)

LEAST_THROUGHPUT = 0.85
MOST_OVERHEAD_MS = 5.0
MOST_DRIFT = 0.05
_CLIENTS = 32
_LOADERS = 12
_SINGLES = 100
_START_S = 120
_BOUNDARY = "of-the-benchmark"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Photo:
    """A picture's file, and what `predict_proba` says of it."""

    path: str
    data: bytes
    expected: dict[str, float]


@dataclass(frozen=True)
class Request:
    """What is sent, and what must come back: a status, and of pictures their answers."""

    kind: str
    method: str
    address: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    photos: tuple[Photo, ...] = ()


@dataclass
class Tally:
    """What one loader saw."""

    asked: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    single_ms: list[float] = field(default_factory=list)


def form(pictures: Sequence[bytes]) -> bytes:
    """The body of a form with these files."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{k}.jpg"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for k, data in enumerate(pictures)
    ]
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def in_json(pictures: Sequence[bytes]) -> bytes:
    """The same as JSON."""
    return json.dumps({"images": [{"data": base64.b64encode(data).decode()} for data in pictures]}).encode()


def make_request(photos: Sequence[Photo], chance: np.random.Generator) -> Request:
    """Draw one of all kinds; half of them are a single picture."""
    chosen = tuple(photos[k] for k in chance.integers(len(photos), size=chance.integers(2, 9)))
    data = [photo.data for photo in chosen]
    first, one = chosen[:1], chosen[0].data
    predict = "/v1/predict?top=2"
    kinds = {
        "single": (50, Request("single", "POST", predict, form([one]), _FORM, photos=first)),
        "several": (15, Request("several", "POST", predict, form(data), _FORM, photos=chosen)),
        "json": (10, Request("json", "POST", predict, in_json(data[:2]), _JSON, photos=chosen[:2])),
        "map": (5, Request("map", "POST", f"{predict}&map=true", form([one]), _FORM, photos=first)),
        "cut": (4, Request("cut", "POST", predict, form([one[: len(one) // 9]]), _FORM, 422)),
        "no picture": (3, Request("no picture", "POST", predict, form([b"words"]), _FORM, 422)),
        "no form": (2, Request("no form", "POST", predict, one, {"Content-Type": "image/jpeg"}, 415)),
        "bad json": (2, Request("bad json", "POST", predict, b'{"images": 3}', _JSON, 422)),
        "too many": (1, Request("too many", "POST", predict, form([b"x"] * 40), _FORM, 413)),
        "nowhere": (2, Request("nowhere", "GET", "/etc/passwd", status=404)),
        "state": (4, Request("state", "GET", str(chance.choice(["/metrics", "/healthz", "/v1/model", "/"])))),
        "hangs up": (2, Request("hangs up", "POST", predict, form(data), _FORM)),
    }
    weights = np.array([weight for weight, _ in kinds.values()])
    return list(kinds.values())[chance.choice(len(kinds), p=weights / weights.sum())][1]


def exchange(connection: HTTPConnection, request: Request) -> tuple[int, bytes]:
    """Send a request and read its answer to the end."""
    connection.request(request.method, request.address, request.body or None, request.headers)
    answer: HTTPResponse = connection.getresponse()
    return answer.status, answer.read()


def hang_up(port: int, request: Request) -> None:
    """Send half of a request and go."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(request.method, request.address)
    for name, value in {**request.headers, "Content-Length": str(len(request.body))}.items():
        connection.putheader(name, value)
    connection.endheaders(request.body[: len(request.body) // 2])
    connection.close()


def check(request: Request, status: int, body: bytes) -> str | None:
    """What is wrong with an answer."""
    if status != request.status:
        return f"{request.kind}: {status} instead of {request.status}: {body[:200]!r}"
    if not request.photos:
        return None
    rows = json.loads(body)["predictions"]
    if len(rows) != len(request.photos):
        return f"{request.kind}: {len(rows)} answers to {len(request.photos)} pictures"
    for row, photo in zip(rows, request.photos, strict=True):
        if {top["name"]: top["probability"] for top in row["top"]} != photo.expected:
            return f"{request.kind}: {photo.path}: {row['top']} instead of {photo.expected}"
    return None


def load(port: int, photos: Sequence[Photo], seed: int, seconds: float) -> Tally:
    """Ask for some time, one request after the other."""
    chance, tally, deadline = np.random.default_rng(seed), Tally(), time.monotonic() + seconds
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < deadline:
        request = make_request(photos, chance)
        tally.asked[request.kind] += 1
        if request.kind == "hangs up":
            hang_up(port, request)
            continue
        started = time.perf_counter()
        try:
            status, body = exchange(connection, request)
        except (HTTPException, OSError) as error:
            tally.lost.append(f"{request.kind}: {error!r}")
            connection.close()
            continue
        if request.kind == "single":
            tally.single_ms.append(1000 * (time.perf_counter() - started))
        if problem := check(request, status, body):
            tally.wrong.append(problem)
    connection.close()
    return tally


@contextmanager
def serving(folder: Path, cache: Path) -> Iterator[tuple[int, int]]:
    """A server as a process of its own: its port and its id; that it ends well is checked."""
    with (folder.parent / "server.log").open("w+") as log:
        words = ["serve", folder, "--port", "0", "--cache", cache]
        process = subprocess.Popen([HEADSTART, *map(str, words)], stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield _wait_for_port(process, Path(log.name)), process.pid
            process.send_signal(signal.SIGTERM)
            if code := process.wait(60):
                sys.exit(f"The server ended with {code}: {Path(log.name).read_text()[-2000:]}")
        finally:
            process.kill()
            process.wait()


def _wait_for_port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        _, found, rest = log.read_text().partition("http://127.0.0.1:")
        if found and rest.split()[1:]:
            return int(rest.split()[0])
        time.sleep(0.05)
    sys.exit(f"The server did not start: {log.read_text()}")


def resident_mb(pid: int) -> float:
    """The resident set of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def throughput_per_s(port: int, photos: Sequence[Photo]) -> float:
    """Pictures a second, by clients of one picture at a time."""
    requests = [Request("single", "POST", "/v1/predict?top=2", form([p.data]), _FORM) for p in photos]

    def ask(k: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        for request in requests[k::_CLIENTS]:
            status, body = exchange(connection, request)
            assert status == request.status, body
        connection.close()

    with ThreadPoolExecutor(_CLIENTS) as pool:
        return len(photos) / seconds_of(lambda: list(pool.map(ask, range(_CLIENTS))))


def measure_throughput(port: int, photos: Sequence[Photo], model: hs.Classifier, repeats: int) -> list[str]:
    paths = [photo.path for photo in photos]
    speeds = alternate(
        repeats,
        {
            "server": lambda: throughput_per_s(port, photos),
            "process": lambda: len(paths) / seconds_of(lambda: model.predict_proba(paths)),
        },
    )
    ratios = [a / b for a, b in zip(speeds["server"], speeds["process"], strict=True)]
    print(f"images/s: server {middle(speeds['server'], 1)}, in process {middle(speeds['process'], 1)}")
    reached = verdict(median(ratios) >= LEAST_THROUGHPUT)
    return [f"{_CLIENTS} clients / in process", middle(ratios), f">= {LEAST_THROUGHPUT}", reached]


def measure_latency(port: int, photos: Sequence[Photo], model: hs.Classifier) -> list[str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    served, alone = [], []
    for photo in photos[:_SINGLES]:
        request = Request("single", "POST", "/v1/predict?top=2", form([photo.data]), _FORM)
        served.append(1000 * seconds_of(lambda request=request: exchange(connection, request)))  # type: ignore[misc]  # bound at once
        started = time.perf_counter()
        model.runtime.embed(read_view(photo.path, model.trunk.preprocessing)[None])
        alone.append(1000 * (time.perf_counter() - started))
    connection.close()
    more = median(served) - median(alone)
    print(f"one picture, ms: served {middle(served, 1)}, decode and network {middle(alone, 1)}")
    reached = verdict(more <= MOST_OVERHEAD_MS)
    return ["one client, median - decode and network, ms", f"{more:.1f}", f"<= {MOST_OVERHEAD_MS}", reached]


def measure_load(port: int, pid: int, photos: Sequence[Photo], minutes: float) -> list[list[str]]:
    memory: list[float] = []
    ended = Event()

    def watch() -> None:
        while not ended.wait(1):
            memory.append(resident_mb(pid))

    watcher = Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(_LOADERS) as pool:
        tallies = list(pool.map(lambda seed: load(port, photos, seed, 60 * minutes), range(_LOADERS)))
    ended.set()
    watcher.join()
    asked = sum((tally.asked for tally in tallies), Counter[str]())
    lost, wrong = ([x for t in tallies for x in getattr(t, name)] for name in ("lost", "wrong"))
    for problem in (*lost[:5], *wrong[:5]):
        print(problem)
    ms = np.array([value for tally in tallies for value in tally.single_ms])
    settled = memory[len(memory) // 10 :]
    drift = max(abs(value / median(settled) - 1) for value in settled)
    print(", ".join(f"{n:,} {kind}" for kind, n in asked.most_common()))
    print(f"one picture among {_LOADERS} loaders, ms: " + _percentiles(ms))
    print(f"resident MB: {middle(settled, 0)}; at the end {memory[-1]:,.0f}")
    return [
        [f"requests in {minutes:g} minutes", f"{asked.total():,}", "", ""],
        ["lost answers", str(len(lost)), "0", verdict(not lost)],
        ["wrong answers", str(len(wrong)), "0", verdict(not wrong)],
        ["one picture, 99th percentile, ms", f"{np.percentile(ms, 99):,.0f}", "", ""],
        [
            "memory, farthest from its median",
            f"{drift:.1%}",
            f"<= {MOST_DRIFT:.0%}",
            verdict(drift <= MOST_DRIFT),
        ],
    ]


def _percentiles(ms: "np.ndarray[Any, np.dtype[np.float64]]") -> str:
    return ", ".join(f"p{q} {np.percentile(ms, q):,.0f}" for q in (50, 90, 99, 99.9))


def main() -> None:
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument("--minutes", type=float, default=10, help="of mixed load (default 10)")
    options = parser.parse_args()
    data = data_folder("cats_dogs")
    with scratch_cache() as cache:
        folder = cache.parent / "runs" / "pets"
        run([HEADSTART, "train", data, "--out", folder, "--cache", cache, "--quiet"])
        model = hs.load(folder, cache=cache)
        paths = sorted(str(path) for path in (data / "test").rglob("*.jpg"))
        photos = [
            Photo(path, Path(path).read_bytes(), dict(zip(model.classes, p.tolist(), strict=True)))
            for path, p in zip(paths, model.predict_proba(paths), strict=True)
        ]
        with serving(folder, cache) as (port, pid):
            throughput_per_s(port, photos)
            rows = [
                measure_throughput(port, photos, model, options.repeats),
                measure_latency(port, photos, model),
                *measure_load(port, pid, photos, options.minutes),
            ]
    print_table(
        f"Serving {len(photos)} photos by {model.runtime.name}", ["measure", "found", "must", "reached"], rows
    )


if __name__ == "__main__":
    main()
