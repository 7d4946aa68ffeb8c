"""A Ctrl-C or a kill leaves nothing half done, and what was done is kept."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from support import TIMEOUT_S, Done, Runner, pictures, run_code


@pytest.fixture(scope="module")
def crops(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures: five squares of each photograph."""
    root = tmp_path_factory.mktemp("crops") / "crops"
    for path in pictures(small_set):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            side = min(image.size) * 3 // 4
            corners = [(0, 0), (image.width - side, 0), (0, image.height - side)]
            corners += [(image.width - side, image.height - side), ((image.width - side) // 2, 0)]
            for number, (x, y) in enumerate(corners):
                square = image.convert("RGB").crop((x, y, x + side, y + side))
                square.save(root / path.parent.name / f"{path.stem}-{number}.jpg")
    return root


@pytest.fixture
def own_cache(cache: Path, trained: Done, tmp_path: Path) -> Path:
    """A cache with the session's trunks and no features."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "trunks").symlink_to(cache / "trunks")
    return tmp_path / "own"


@pytest.fixture
def real_interrupts() -> Iterator[None]:
    """Let children get Ctrl-C even where the tests run in the background, with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


_SIGNALLED = """
import os, signal, sys
from headstart.api import save
from headstart.features import extract

where, number = sys.argv.pop(1), int(sys.argv.pop(1))

def stop():
    os.kill(os.getpid(), number)

def embed_files(*words, original=extract.embed_files, **named):
    for n, chunk in enumerate(original(*words, **named)):
        if n == 3:
            stop()
        yield chunk

def write_predictions(*words, original=save.write_predictions):
    original(*words)
    stop()

if where == "embedding":
    extract.embed_files = embed_files
    if number == signal.SIGKILL:  # Ctrl-C stores what is there; a kill leaves what was stored before
        extract._PART_ROWS = 16
else:
    save.write_predictions = write_predictions
from headstart.cli import main
main()
"""


def train_and_stop(where: str, number: int, words: list[str], cwd: Path, environment: dict[str, str]) -> Done:
    """Train in a process that gets a signal while it embeds or saves."""
    return run_code(_SIGNALLED, [where, str(number), "train", *words], cwd, environment)


@pytest.mark.usefixtures("real_interrupts")
def test_an_interruption_that_an_import_would_lose_comes_after_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    losing = "import signal\ntry: signal.raise_signal(signal.SIGINT)\nexcept BaseException: pass\n"
    (tmp_path / "losing.py").write_text(losing)
    code = (
        "import sys, time\n"
        "from headstart import __main__, cli\n"
        "def work():\n"
        "    import losing\n"
        "    print('imported', flush=True)\n"
        "    time.sleep(60)\n"
        "    print('never interrupted')\n"
        "cli.main = work\n"
        "__main__.main()"
    )
    stopped = run_code(code, [], tmp_path, environment)
    assert (stopped.returncode, stopped.stdout) == (130, "imported\n")
    assert stopped.stderr == "headstart: interrupted\n"


@pytest.mark.usefixtures("real_interrupts")
def test_a_training_stopped_while_embedding_leaves_no_run_and_continues(
    crops: Path, own_cache: Path, tmp_path: Path, environment: dict[str, str], call: Runner
) -> None:
    words = [str(crops), "--out", "done/run", "--cache", str(own_cache)]
    interrupted = train_and_stop("embedding", signal.SIGINT, words, tmp_path, environment)
    assert interrupted.returncode == 130
    assert interrupted.stderr.endswith("headstart: interrupted; what was embedded is kept\n")
    killed = train_and_stop("embedding", signal.SIGKILL, words, tmp_path, environment)
    assert killed.returncode == -signal.SIGKILL
    for stopped in (interrupted, killed):
        assert stopped.stdout == ""
        assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "done").exists()
    assert {path.suffix for path in own_cache.joinpath("features").rglob("*") if path.is_file()} == {".arrow"}
    continued = call("train", *words)
    assert continued.returncode == 0, continued.stderr
    assert "Embedding images: 104 in" in continued.stderr  # each of the two had stored three chunks of 16
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["run"]


@pytest.mark.usefixtures("real_interrupts")
def test_a_training_stopped_while_saving_leaves_no_half_run(
    small_set: Path, cache: Path, trained: Done, tmp_path: Path, environment: dict[str, str], call: Runner
) -> None:
    words = [str(small_set), "--out", "done/run", "--cache", str(cache)]
    stopped = train_and_stop("saving", signal.SIGINT, words, tmp_path, environment)
    assert stopped.returncode == 130
    assert list((tmp_path / "done").iterdir()) == []
    stopped = train_and_stop("saving", signal.SIGKILL, words, tmp_path, environment)
    assert stopped.returncode == -signal.SIGKILL
    assert list((tmp_path / "done" / "run").iterdir()) == []
    refused = call("predict", "done/run", pictures(small_set)[0])
    assert refused.returncode == 2
    assert "done/run is not a run" in refused.stderr
    finished = call("train", *words)
    assert finished.returncode == 0
    assert "Saved in done/run after" in finished.stdout
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["run"]  # the killed one's is swept
    assert call("predict", "done/run", pictures(small_set)[0]).returncode == 0


@pytest.mark.usefixtures("real_interrupts")
def test_ctrl_c_during_the_first_conversion_leaves_nothing_behind(
    small_set: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    trunks = tmp_path / "cache" / "trunks"
    with subprocess.Popen(
        [sys.executable, "-m", "headstart", "train", str(small_set), "--cache", str(tmp_path / "cache")],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not (trunks.is_dir() and list(trunks.glob(".converting-*"))):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, err
    assert out == ""
    assert err.endswith("headstart: interrupted; what was embedded is kept\n")
    assert list(trunks.iterdir()) == []
    assert not (tmp_path / "runs").exists()
