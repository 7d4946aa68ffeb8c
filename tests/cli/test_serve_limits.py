"""Clients that send nonsense, too much or too slowly get a clear answer; the server lives on."""

import base64
import contextlib
import io
import json
import re
import shutil
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from serving import Server, form, picture, serving
from support import Runner, pictures, refused

_LIMITS = (
    "--max-upload-mb",
    "1",
    "--max-images",
    "4",
    "--queue",
    "4",
    "--timeout-s",
    "2",
    "--max-megapixels",
    "2",
)


@pytest.fixture(scope="module")
def server(pets_run: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(pets_run, cache, tmp_path_factory.mktemp("serve") / "log", *_LIMITS) as running:
        yield running


@pytest.fixture(autouse=True)
def _lives_on(server: Server) -> Iterator[None]:
    yield
    with server.client() as client:
        files = form(("fine.png", picture()))
        assert client.post("/v1/predict", files=files).status_code == 200
    assert server.process.poll() is None


def _huge_png() -> bytes:
    """A header of 30,000 x 30,000 pixels with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _bomb() -> bytes:
    """A small PNG of 9 megapixels of one colour."""
    return picture((3000, 3000), "L")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "zero bytes"),
        (b"hello", "not an image"),
        (_huge_png(), r"30,000|more than the limit|900,000,000"),
        (_bomb(), "3,000 by 3,000 pixels, more than the limit of 2,000,000"),
        (picture(kind="JPEG", size=(600, 400))[:400], "truncated|damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "truncated|damaged"),
    ],
    ids=["empty", "text", "huge", "bomb", "truncated", "garbage"],
)
def test_what_is_no_picture_is_refused_with_the_reason(server: Server, data: bytes, message: str) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", files=form(("x.png", data)))
        mixed = client.post("/v1/predict", files=form(("x.png", data), ("y.png", picture())))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "unreadable"
    assert re.search(message, answer.json()["error"]["message"])
    assert mixed.status_code == 200
    first, second = mixed.json()["predictions"]
    assert first["error"]
    assert first["predicted"] is None
    assert second["error"] is None


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "I;16", "CMYK", "animated", "one pixel"])
def test_every_kind_of_picture_is_answered(server: Server, mode: str) -> None:
    if mode == "animated":
        stream = io.BytesIO()
        frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
        frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
        data = stream.getvalue()
    elif mode == "one pixel":
        data = picture((1, 1))
    else:
        data = picture(mode=mode, kind="JPEG" if mode == "CMYK" else "PNG")
    with server.client() as client:
        answer = client.post("/v1/predict", files=form(("x", data)))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "C:\\x", "a\u0000b", "é" * 400, ""])
def test_file_names_are_words_and_nothing_else(server: Server, name: str) -> None:
    with server.client() as client:
        answer = client.post(
            "/v1/predict", json={"images": [{"name": name[:255], "data": _base64(picture())}]}
        )
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["name"] == name[:255]


def test_a_form_may_write_names_in_an_encoding_that_utf_8_can_t_hold(server: Server) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="+2AA-"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b; charset=utf-7"}
    with server.client() as client:
        for data, status in ((picture(), 200), (b"none", 422)):
            answer = client.post("/v1/predict", content=head + data + b"\r\n--b--\r\n", headers=kind)
            assert answer.status_code == status, answer.text
            assert "\\\\ud800" in answer.text


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {"images": []}}, 422, "bad_json"),
        ({"json": {"images": [{"data": "%%%"}]}}, 422, "bad_base64"),
        ({"json": {"images": [{"data": "aGk=", "path": "/etc/passwd"}]}}, 422, "bad_json"),
        ({"json": {"urls": ["http://127.0.0.1/x.jpg"]}}, 422, "bad_json"),
        ({"json": [1]}, 422, "bad_json"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "bad_json"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "unsupported_type"),
        ({}, 415, "unsupported_type"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "bad_form"),
        (
            {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            422,
            "bad_form|no_images",
        ),
        ({"files": [("other", ("a.png", picture()))]}, 422, "bad_form"),
        ({"files": form(("a.png", picture())), "data": {"url": "file:///etc/passwd"}}, 422, "bad_form"),
        ({"files": form(*[("a.png", picture())] * 5)}, 413, "too_many_images"),
        ({"files": form(("a.png", bytes(2_000_000)))}, 413, "too_large"),
        ({"files": form(("a.png", picture())), "params": {"top": 0}}, 422, "bad_setting"),
        ({"files": form(("a.png", picture())), "params": {"top": "x"}}, 422, "bad_setting"),
    ],
)
def test_requests_that_make_no_sense_are_told_so(
    server: Server, request_: dict[str, object], status: int, code: str
) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", **request_)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    problem = answer.json()["error"]
    assert problem["code"] in code.split("|")
    assert problem["message"]
    assert "Traceback" not in answer.text
    assert "/src/" not in answer.text


def test_more_bytes_than_announced_at_first_are_cut_off(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield bytes(100_000)

    with server.client() as client:
        kind = {"content-type": "multipart/form-data; boundary=b"}
        try:
            answer = client.post("/v1/predict", content=endless(), headers=kind)
        except httpx.HTTPError:  # the connection was closed while it sent
            return
    assert answer.status_code == 413


def test_wrong_addresses_and_methods_are_answered_in_the_same_form(server: Server) -> None:
    with server.client() as client:
        assert client.get("/../../etc/passwd").json()["error"]["code"] == "not_found"
        assert client.get("/v1/predict").json()["error"]["code"] == "wrong_method"
        assert client.get("/v1/predict").status_code == 405


def test_pages_of_other_sites_may_not_ask(server: Server) -> None:
    with server.client(Origin="http://evil.example") as client:
        assert client.post("/v1/predict", files=form(("a.png", picture()))).status_code == 403
    for origin in ("null", "http://[", "127.0.0.1", server.address + "0"):
        with server.client(Origin=origin) as client:
            assert client.get("/healthz").json()["error"]["code"] == "other_origin"
    for host in ("evil.example", "127.0.0.1.evil.example", "[", ""):
        with server.client(Host=host) as client:
            assert client.get("/v1/model").json()["error"]["code"] == "other_host"
    with server.client(Host="[::1]:80") as client:
        assert client.get("/v1/model").status_code == 200
    with server.client(Origin=server.address) as client:
        assert client.post("/v1/predict", files=form(("a.png", picture()))).status_code == 200


def test_a_full_queue_says_when_to_come_again(server: Server, small_set: Path) -> None:
    data = pictures(small_set)[0].read_bytes()

    def ask(_: int) -> httpx.Response:
        with server.client() as client:
            return client.post("/v1/predict", files=form(*[("a.jpg", data)] * 4), params={"map": True})

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(72)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200, 429, 504}  # 504 where this machine is so busy that two seconds go by
    assert 429 in statuses
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_client_that_never_finishes_its_headers_loses_its_connection(server: Server, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


_HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_CHUNKED = (
    b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (_HEAD, b"X-A: " + b"a" * 1000 + b"\r\n"),
        (_HEAD + b"X-A: ", b"a" * 1000),
        (b"GET /", b"a" * 1000),
        (_CHUNKED + b"0\r\n", b"X-A: " + b"a" * 1000 + b"\r\n"),
        (_CHUNKED + b"0\r\nX-A: ", b"a" * 1000),
        (_CHUNKED + b"1;", b"a" * 1000),
        (b"", (_HEAD + b"\r\n") * 100),
    ],
    ids=["headers", "header", "address", "trailers", "trailer", "extension", "pipelined"],
)
def test_a_client_that_floods_is_refused_before_it_fills_the_memory(
    server: Server, head: bytes, more: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head)
        _is_cut_off(connection, more, 1_000_000 // len(more))
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                received += part
    assert b"bad_http" in received


def test_what_is_no_http_is_refused_in_the_form_of_all_errors(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"BAD / HTTP/1.1\r\n\r\n")
        head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"x-content-type-options: nosniff" in head
    assert json.loads(body)["error"]["code"] == "bad_http"


def test_a_client_that_takes_no_answers_loses_its_connection(server: Server) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert _is_cut_off(connection, request, 20_000, pause_s=0.0005)  # so that few wait in line


def test_a_client_that_drips_its_body_is_told_that_it_took_too_long(server: Server) -> None:
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
        b"Content-Type: application/json\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head)
        received = b""
        for _ in range(40):
            connection.sendall(b"x")
            time.sleep(0.1)
            connection.settimeout(0.01)
            try:
                received = connection.recv(4096)
                break
            except TimeoutError:
                connection.settimeout(20)
    assert received.startswith(b"HTTP/1.1 408")


def test_clients_that_hang_up_cost_nothing(server: Server) -> None:
    body = b"x" * 1000
    for cut in (0, 10, 500):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            head = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            connection.sendall(head + b"Content-Length: 1000\r\n\r\n" + body[:cut])


def _is_cut_off(connection: socket.socket, data: bytes, times: int, pause_s: float = 0) -> bool:
    """Whether the server ends a connection while something is sent again and again."""
    try:
        for _ in range(times):
            connection.sendall(data)
            time.sleep(pause_s)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_token_opens_and_nothing_else_does(pets_run: Path, cache: Path, tmp_path: Path) -> None:
    with (
        serving(pets_run, cache, tmp_path / "log", "--token", "s3cret") as running,
        running.client() as client,
    ):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            answer = client.get("/v1/model", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/v1/model", headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200


def test_what_can_t_be_served_is_said_before_anything_starts(
    call: Runner, pets_run: Path, tmp_path: Path
) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - refused before anything is bound
    refused(call("serve", pets_run, "--host", everywhere), "lets other machines in", "--token", "--no-auth")
    refused(call("serve", tmp_path / "nothing"), "There is no run at")
    refused(
        call("serve", pets_run, "--host", "no.such.host.invalid", "--no-auth"),
        "is no address of this machine",
    )
    refused(call("serve", pets_run, "--port", "70000"), "--port must lie between 0 and 65535, not 70000")
    refused(call("serve", pets_run, "--token", "a", "--no-auth"), "exclude each other")
    refused(call("serve", pets_run, "--queue", "2"), "--max-images 32 could never fit into --queue 2")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(call("serve", pets_run, "--port", port), f"Can't listen at 127.0.0.1, port {port}", "--port")


def test_a_damaged_run_is_refused(call: Runner, pets_run: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(pets_run, tmp_path / "broken"))
    metrics = json.loads((broken / "metrics.json").read_text())
    (broken / "metrics.json").write_text(json.dumps({**metrics, "format_version": 99}))
    refused(call("serve", broken, "--port", "0"), "format version 99")
