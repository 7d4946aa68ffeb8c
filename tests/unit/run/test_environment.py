"""The environment says enough to repeat a run, and nothing about who made it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.run.environment import (
    anonymous_path,
    available_cores,
    command_line,
    cpu_model,
    describe_environment,
)


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))


def test_it_describes_this_machine() -> None:
    described = describe_environment({"runtime": "openvino bf16"})
    assert described["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert described["runtime"] == "openvino bf16"
    packages = described["packages"]
    assert isinstance(packages, dict)
    assert packages["numpy"]
    assert cpu_model()
    assert available_cores() >= 1
    json.dumps(described, allow_nan=False)


@pytest.mark.usefixtures("alice")
def test_home_and_user_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/alice/bin/headstart", "train", "/media/alice/photos"])
    extra = {
        "cache": Path("/home/alice/.cache"),
        "more": ["--out=/home/alice", {"x": "/home/alice2/y"}],
        "n": 1,
    }
    described = describe_environment(extra)
    assert described["command"] == ["headstart", "train", "/media/_/photos"]
    assert described["cache"] == "~/.cache"
    assert described["more"] == ["--out=~", {"x": "/home/alice2/y"}]
    assert described["n"] == 1


@pytest.mark.usefixtures("alice")
def test_paths_and_commands() -> None:
    assert anonymous_path("malice/x") == "malice/x"
    assert anonymous_path("/home/alicext") == "/home/alicext"
    assert command_line([]) == ["headstart"]
    assert command_line(["/lib/headstart/__main__.py", "env"]) == ["headstart", "env"]
    assert command_line([r"C:\Scripts\headstart.exe", "env"]) == ["headstart.exe", "env"]


def test_without_a_home_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert anonymous_path("/data/x") == "/data/x"


def test_a_machine_without_cpuinfo_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headstart.run.environment._CPUINFO", tmp_path / "absent")
    assert cpu_model()


def test_light_modules_import_no_heavy_package() -> None:
    code = (
        "import sys; import headstart.run.environment as e; e.describe_environment({}); "
        "import headstart.run.atomic, headstart.run.folder, headstart.run.tables, headstart.run.card, "
        "headstart.run.figures, headstart.metrics.summary, headstart.metrics.calibration; "
        "heavy = ('torch', 'pyarrow', 'matplotlib', 'scipy', 'sklearn', 'timm', 'jinja2'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
