"""How a server starts, changes its model and ends."""

import shutil
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from serving import form, serving, wait_for_line
from support import pictures, small_disk


def test_told_to_end_it_answers_what_has_begun(
    pets_run: Path, cache: Path, small_set: Path, tmp_path: Path
) -> None:
    data = pictures(small_set)[0].read_bytes()
    statuses: list[int] = []
    with serving(pets_run, cache, tmp_path / "log") as server:

        def ask() -> None:
            with server.client() as client:
                files = form(*[("a.jpg", data)] * 32)
                statuses.append(client.post("/v1/predict", files=files, params={"map": True}).status_code)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        with server.client() as client:
            while 'path="/v1/predict"' not in client.get("/metrics").text and any(
                c.is_alive() for c in clients
            ):
                time.sleep(0.01)
        assert server.end() == 0
        for thread in clients:
            thread.join(30)
    assert statuses == [200] * 4


def test_a_new_run_is_taken_up_without_a_request_lost_and_a_broken_one_is_not(
    pets_run: Path, cache: Path, small_set: Path, tmp_path: Path
) -> None:
    first = Path(shutil.copytree(pets_run, tmp_path / "first"))
    second = Path(shutil.copytree(pets_run, tmp_path / "second"))
    broken = Path(shutil.copytree(pets_run, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"damaged")
    current = tmp_path / "current"
    current.symlink_to(first)
    data = pictures(small_set)[0].read_bytes()
    seen: list[str] = []
    ended = threading.Event()
    with serving(current, cache, tmp_path / "log", "--watch") as server:

        def ask() -> None:
            with server.client() as client:
                while not ended.is_set():
                    answer = client.post("/v1/predict", files=form(("a.jpg", data)))
                    seen.append(answer.json()["model"] if answer.status_code == 200 else answer.text)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            _point(current, broken)
            wait_for_line(server.log, "can't be served, so first stays")
            _point(current, second)
            wait_for_line(server.log, "serving second from now on")
            shutil.rmtree(second)
            n_seen = len(seen)
            while len(seen) < n_seen + 5 and asking.is_alive():
                time.sleep(0.01)
        finally:
            ended.set()
            asking.join(60)
        assert server.end() == 0
    assert set(seen) == {"first", "second"}
    assert seen == sorted(seen)
    assert seen[-1] == "second"


def test_a_run_that_is_copied_there_file_by_file_is_taken_up_once_it_is_whole(
    pets_run: Path, cache: Path, tmp_path: Path
) -> None:
    current = Path(shutil.copytree(pets_run, tmp_path / "current"))
    with serving(current, cache, tmp_path / "log", "--watch") as server, server.client() as client:
        shutil.rmtree(current)
        current.mkdir()
        shutil.copy(pets_run / "config.json", current)
        wait_for_line(server.log, "can't be served, so current stays")
        assert client.get("/readyz").status_code == 200
        for file in pets_run.iterdir():
            if file.is_file() and file.name != "config.json":
                shutil.copy(file, current)
        wait_for_line(server.log, "serving current from now on")
        assert server.end() == 0


def test_neither_a_circle_of_links_nor_a_run_of_another_shape_ends_the_watching(
    pets_run: Path, cache: Path, tmp_path: Path
) -> None:
    current, odd = tmp_path / "current", Path(shutil.copytree(pets_run, tmp_path / "odd"))
    (odd / "metrics.json").write_text("[1]")
    current.symlink_to(pets_run)
    with serving(current, cache, tmp_path / "log", "--watch") as server, server.client() as client:
        _point(current, current)
        time.sleep(2.5)
        _point(current, odd)
        wait_for_line(server.log, "can't be served")
        assert client.get("/readyz").status_code == 200
        second = shutil.copytree(pets_run, tmp_path / "second")
        _point(current, second)
        wait_for_line(server.log, "serving second from now on")
        assert server.end() == 0


def test_a_full_disk_is_no_matter_as_uploads_stay_in_memory(
    pets_run: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "size=100k") as is_real:
        if is_real:
            (tmp_path / "disk" / "fill").write_bytes(b"x" * 100 * 1024)
        there = [path.name for path in (tmp_path / "disk").iterdir()]
        monkeypatch.setenv("TMPDIR", str(tmp_path / "disk"))
        with serving(pets_run, cache, tmp_path / "log") as server, server.client() as client:
            noise = Image.effect_noise((1500, 1500), 100).convert("RGB")  # some megabytes
            noise.save(tmp_path / "large.png")
            files = form(*[("large.png", (tmp_path / "large.png").read_bytes())] * 3)
            answer = client.post("/v1/predict", files=files)
            assert answer.status_code == 200, answer.text
            assert server.end() == 0
        assert [path.name for path in (tmp_path / "disk").iterdir()] == there


def _point(link: Path, target: Path) -> None:
    """Turn a link in one step."""
    aside = link.with_name("aside")
    aside.symlink_to(target)
    aside.rename(link)
