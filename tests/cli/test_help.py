"""Help and version, and what they don't import."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from support import Runner, pictures, run_code, words_of

_COMMANDS = ("train", "compare", "evaluate", "predict", "preview", "demo", "env", "cache")


def test_help_lists_the_commands_and_each_has_its_own(call: Runner) -> None:
    done = call("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in _COMMANDS)


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_loses_nothing_of_what_the_command_documents(command: str, call: Runner) -> None:
    done = call(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    shown = words_of(done.stdout)
    function = getattr(importlib.import_module(f"headstart.cli.{command}"), command)
    introduction, _, parameters = inspect.getdoc(function).partition("Parameters\n----------\n")
    for text in [introduction, *re.findall(r"^    .*(?:\n    .*)*", parameters, re.MULTILINE)]:
        assert " ".join(text.split()) in shown
    assert "<" not in shown or ">" in shown


def test_version_is_that_of_the_package(call: Runner) -> None:
    from importlib.metadata import version

    assert call("--version").stdout.strip() == version("headstart")


def imported_by(words: list[str], cwd: Path, environment: dict[str, str]) -> set[str]:
    """Run a command in a process and list the modules it leaves imported."""
    code = (
        "import sys\nfrom headstart.cli import main\n"
        "try:\n    main()\nfinally:\n    print('MODULES', *sys.modules, file=sys.stderr)"
    )
    done = run_code(code, words, cwd, environment)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], {"torch", "numpy", "openvino", "PIL", "scipy", "pyarrow", "matplotlib"}),
        (["train", "--help"], {"torch", "timm", "openvino", "sklearn", "scipy", "matplotlib"}),
        (["compare", "--help"], {"torch", "timm", "openvino", "sklearn", "scipy", "matplotlib", "pyarrow"}),
        (["preview", "--help"], {"torch", "timm", "openvino", "sklearn", "scipy", "matplotlib"}),
        (["predict", "--help"], {"torch", "timm", "openvino", "sklearn", "scipy", "matplotlib", "pyarrow"}),
    ],
)
def test_help_imports_nothing_heavy(
    words: list[str], heavy: set[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    assert not imported_by(words, tmp_path, environment) & heavy


def test_predict_of_one_image_imports_no_torch(
    pets_run: Path, small_set: Path, cache: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ["predict", str(pets_run), str(pictures(small_set)[0]), "--cache", str(cache)]
    heavy = {"torch", "timm", "sklearn", "scipy", "matplotlib"}
    assert not imported_by(words, tmp_path, environment) & heavy
