"""What a run was made on and with, so that a number can be understood later.

Nothing that names a person or a machine is kept: no user, no host, no home folder.
"""

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "simplejpeg",
    "imagehash",
    "pyarrow",
    "safetensors",
    "torch",
    "torchvision",
    "timm",
    "openvino",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "jinja2",
)
"""Distributions that can change a number or a file of a run."""

_CPUINFO = Path("/proc/cpuinfo")
_CPU_NAMES = ("model name", "Model", "Hardware", "cpu")  # x86, then what Arm and others write


def describe_environment(extra: Mapping[str, object]) -> dict[str, object]:
    """Describe the machine, the versions and the command; imports none of the packages it names.

    Args:
        extra: What the caller adds, such as the runtime chosen; added as it stands, but for home
            folders and the user's name in paths, and taken where a key is there already.
    """
    described: dict[str, object] = {
        "headstart": _version("headstart"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "memory_gb": memory_gb(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "command": command_line(sys.argv),
    }
    described.update({key: _anonymous(value) for key, value in extra.items()})
    return described


def command_line(argv: Sequence[str]) -> list[str]:
    """Return the command's words without home folders; the first is the program's name alone.

    `python -m headstart` names its own file instead of what was typed, so that is put right.
    """
    program, *words = argv or ["headstart"]
    name = re.split(r"[/\\]", program)[-1]
    return ["headstart" if name == "__main__.py" else name, *(anonymous_path(word) for word in words)]


def cpu_model() -> str:
    """Name the processor as its maker does; "unknown" where the system doesn't tell."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    named = next((facts[key] for key in _CPU_NAMES if facts.get(key)), "")
    return named or platform.processor() or platform.machine() or "unknown"


def available_cores() -> int:
    """Count the logical cores this process may use, which in a container can be fewer than there are."""
    counting = getattr(os, "process_cpu_count", None)  # Python 3.13
    if counting is not None:
        return int(counting() or 1)
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def memory_gb() -> float | None:
    """Return the machine's memory in GB (10⁹ bytes), to one digit; None where the system doesn't tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def anonymous_path(text: str) -> str:
    """Replace the home folder by `~`, and the user's name in any other path by `_`."""
    try:
        home = Path.home()
    except RuntimeError:  # a container without a user
        return text
    if home.parent == home:
        return text
    text = re.sub(rf"{re.escape(str(home))}(?=[/\\]|$)", "~", text)
    return re.sub(rf"(?<=[/\\]){re.escape(home.name)}(?=[/\\]|$)", "_", text)


def _anonymous(value: object) -> object:
    if isinstance(value, str):
        return anonymous_path(value)
    if isinstance(value, Path):
        return anonymous_path(str(value))
    if isinstance(value, Mapping):
        return {str(key): _anonymous(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_anonymous(item) for item in value]
    return value


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
