"""A served run says what `predict` says, whoever asks and however many at once."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving import Server, form, picture, serving
from support import Runner, pictures


@pytest.fixture(scope="module")
def server(pets_run: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("serve") / "log"
    with serving(pets_run, cache, log, "--unknown-below", "0.6") as running:
        yield running


@pytest.fixture(scope="module")
def expected(
    headstart: Runner, pets_run: Path, small_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, object]]]:
    """What `predict` says of each picture's classes."""
    done = headstart(
        "predict",
        pets_run,
        small_set,
        "--format",
        "jsonl",
        "--top",
        "2",
        cwd=tmp_path_factory.mktemp("predict"),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["path"]: row["top"] for row in rows}


def test_many_clients_at_once_get_what_predict_says_each_its_own(
    server: Server, small_set: Path, expected: dict[str, list[dict[str, object]]]
) -> None:
    paths = pictures(small_set)

    def ask(start: int) -> list[tuple[str, list[dict[str, object]]]]:
        sent = paths[start : start + 3]
        with server.client() as client:
            files = form(*((str(path), path.read_bytes()) for path in sent))
            answer = client.post("/v1/predict", params={"top": 2}, files=files).raise_for_status().json()
        assert [row["name"] for row in answer["predictions"]] == [str(path) for path in sent]
        return [(row["name"], row["top"]) for row in answer["predictions"]]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for part in pool.map(ask, range(len(paths))) for answer in part]
    assert len(answers) == 3 * len(paths) - 3
    for path, top in answers:
        said = {str(row["class"]): row["probability"] for row in expected[path]}
        assert {str(row["name"]): row["probability"] for row in top} == said, path


def test_base64_in_json_gets_the_same(server: Server, small_set: Path) -> None:
    path = pictures(small_set)[0]
    encoded = base64.b64encode(path.read_bytes()).decode()
    with server.client() as client:
        body = {
            "images": [
                {"name": "../../etc/passwd", "data": encoded},
                {"data": f"data:image/jpeg;base64,{encoded}"},
            ]
        }
        by_json = client.post("/v1/predict", json=body).raise_for_status().json()["predictions"]
        by_form = client.post("/v1/predict", files=form(("x.jpg", path.read_bytes()))).json()["predictions"]
    assert by_json[0]["name"] == "../../etc/passwd"  # sent back, never looked for
    assert by_json[0]["top"] == by_json[1]["top"] == by_form[0]["top"]


def test_a_map_says_where_it_looked_and_nothing_says_unknown(server: Server, small_set: Path) -> None:
    path = pictures(small_set)[0]
    with server.client() as client:
        files = form(("cat.jpg", path.read_bytes()), ("grey.png", picture((64, 64))))
        cat, _ = client.post("/v1/predict", params={"map": True, "top": 1}, files=files).json()["predictions"]
        plain = client.post("/v1/predict", files=form(("cat.jpg", path.read_bytes()))).json()["predictions"][
            0
        ]
    assert cat["map"]["class_name"] == cat["top"][0]["name"]
    assert {len(row) for row in cat["map"]["rows"]} == {len(cat["map"]["rows"])} == {7}
    assert plain["map"] is None
    assert (cat["predicted"] == "unknown") == (cat["confidence"] < 0.6)


def test_it_tells_what_it_is_without_naming_anybody_s_files(server: Server, pets_run: Path) -> None:
    with server.client() as client:
        model = client.get("/v1/model").raise_for_status().json()
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
    assert model["classes"] == ["cats", "dogs"]
    assert model["name"] == pets_run.name
    assert model["metrics"]["cross-validation"]["n"] == 40
    assert "cats" in model["card"]
    assert str(pets_run.parent) not in json.dumps(model["metrics"])


def test_it_counts_what_it_does(server: Server) -> None:
    with server.client() as client:
        files = form(("a.png", picture()), ("b.png", b"no picture"))
        before = client.get("/metrics").text
        client.post("/v1/predict", files=files).raise_for_status()
        client.get("/made-up")
        after = client.get("/metrics").text
    assert _value(after, 'headstart_images_total{outcome="predicted"}') == (
        _value(before, 'headstart_images_total{outcome="predicted"}') + 1
    )
    assert _value(after, 'headstart_images_total{outcome="unreadable"}') >= 1
    assert _value(after, 'headstart_requests_total{path="other",status="404"}') >= 1
    assert "made-up" not in after


def test_the_description_of_the_api_is_whole_and_its_page_loads_nothing_from_elsewhere(
    server: Server,
) -> None:
    with server.client() as client:
        openapi = client.get("/openapi.json").raise_for_status().json()
        docs = client.get("/docs").raise_for_status()
        page = client.get("/").raise_for_status()
    assert set(openapi["paths"]) == {"/v1/predict", "/v1/model", "/healthz", "/readyz", "/metrics"}
    assert {"Base64Images", "Base64Image", "Predictions", "Refusal"} <= set(openapi["components"]["schemas"])
    assert all(path in docs.text for path in openapi["paths"])
    for answer in (docs, page):
        assert 'src="http' not in answer.text
        assert 'href="http' not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def _value(metrics: str, name: str) -> float:
    return next(
        (float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(f"{name} ")), 0.0
    )
