"""What env, cache and demo show and do."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from support import Done, Runner, copy_default_trunk, files_below


def test_env_tells_the_machine_and_the_runtimes(call: Runner, trained: Done, cache: Path) -> None:
    done = call("env")
    assert done.returncode == 0
    assert all(
        f"\n{word} " in f"\n{done.stdout}" for word in ("headstart", "python", "cpu", "cores", "packages")
    )
    assert str(cache) in done.stdout
    assert re.search(r"^  (openvino|torch)-(bf16|fp32) +[\d,]+  chosen", done.stdout, re.MULTILINE)
    trunks = json.loads(call("env", "--json").stdout)["trunks"]
    speeds = [trunk["images_per_s"] for trunk in trunks if trunk["architecture"] == "tf_efficientnet_lite0"]
    assert any(speeds)
    assert all(speed > 0 for of_trunk in speeds for speed in of_trunk.values())


def test_env_times_a_model_only_if_asked(call: Runner) -> None:
    done = call("env", "--model", "lite1")
    assert done.returncode == 2
    assert "--model lite1 says what to time; add --time." in done.stderr


def test_env_of_an_empty_cache_says_what_to_do(call: Runner, tmp_path: Path) -> None:
    done = call("env", "--cache", tmp_path / "none")
    assert "headstart env --time" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A cache of made-up files, a day and ten days old, among the user's own."""
    root = tmp_path / "filled"
    days = {
        "trunks/net-1/trunk.json": 1,
        "trunks/net-1/weights.safetensors": 10,
        "trunks/names/lite0.json": 10,
        "features/f1/center/part-1.arrow": 1,
        "features/f1/center/part-2.arrow": 10,
        "features/f2/center/part-3.arrow": 10,
        "features/model.py": 10,
        "features/f2/notes.txt": 10,
        "trunks/README": 10,
        "thesis.txt": 10,
        "other/features/f1/v/part-1.arrow": 10,
    }
    for name, age in days.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 1000)
        os.utime(root / name, (time.time() - age * 86_400,) * 2)
    return root


_OWN = {"features/model.py", "features/f2/notes.txt", "trunks/README", "thesis.txt"}
_OWN |= {"other/features/f1/v/part-1.arrow"}


def test_cache_shows_sizes(filled: Path, call: Runner) -> None:
    done = call("cache", "--cache", filled, "--json")
    sizes = {"trunks": 3, "features": 3, "pixels": 0}
    expected = {part: {"files": n, "size_bytes": n * 1000} for part, n in sizes.items()}
    assert json.loads(done.stdout) == {"cache": str(filled), "cleared": False, **expected}
    done = call("cache", "--cache", filled)
    assert re.search(r"^  features +3 files +0\.0 MB$", done.stdout, re.MULTILINE)


def test_cache_clears_by_age_then_part_then_all_and_nothing_else(filled: Path, call: Runner) -> None:
    done = call("cache", "--cache", filled, "--clear", "--part", "features", "--older-than", "5")
    assert re.search(r"^  features +2 files", done.stdout, re.MULTILINE)
    assert set(files_below(filled)) - _OWN == {
        "trunks/net-1/trunk.json",
        "trunks/net-1/weights.safetensors",
        "trunks/names/lite0.json",
        "features/f1/center/part-1.arrow",
    }
    call("cache", "--cache", filled, "--clear", "--part", "trunks")
    assert set(files_below(filled)) - _OWN == {"features/f1/center/part-1.arrow"}
    call("cache", "--cache", filled, "--clear")
    assert set(files_below(filled)) == _OWN
    assert not (filled / "features" / "f1").exists()
    assert (filled / "features" / "f2").exists()


def test_a_cleared_cache_is_made_again_with_the_same_answer(
    call: Runner, pets_run: Path, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    copy_default_trunk(cache, tmp_path / "cache")
    words = ["train", small_set, "--json", "--cache", tmp_path / "cache"]
    first = json.loads(call(*words).stdout)
    call("cache", "--clear", "--part", "features", "--cache", tmp_path / "cache")
    done = call(*words)
    assert "Embedding images: 40 in" in done.stderr
    assert json.loads(done.stdout)["metrics"] == first["metrics"]


def test_demo_runs_offline(headstart: Runner, trained: Done, tmp_path: Path) -> None:
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = headstart("demo", cwd=tmp_path, **no_network)
    assert done.returncode == 0, done.stderr
    found = re.match(r"(\d+\.\d) % of 1,797 images right", done.stdout)
    assert found
    assert float(found[1]) > 95
    assert (tmp_path / "headstart-demo" / "runs" / "digits" / "README.md").is_file()
    assert "0/0000.png is a 0" in done.stdout
    assert not list(tmp_path.rglob("*.tmp"))
