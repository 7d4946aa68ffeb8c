"""What several test files need: to call a command's outcome right or wrong, and pictures to try it on."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

Done = subprocess.CompletedProcess[str]
Runner = Callable[..., Done]

TIMEOUT_S = 300  # ends what hangs


def refused(done: Done, *patterns: str) -> str:
    """Check for exit 2 and nothing on standard output; every pattern must be in the message."""
    message = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())
    assert done.returncode == 2, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} not in {message!r}"
    return message


def went_well(done: Done, *patterns: str) -> str:
    """Check that it went well; every pattern must be in what was printed."""
    assert done.returncode == 0, done.stderr
    message = " ".join(done.stdout.split())
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} not in {message!r}"
    return message


def paint(path: Path, seed: int, kind: str = "PNG") -> Path:
    """An image unlike those of other seeds, for what fails before anything is embedded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


def paint_set(root: Path, **counts: int) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            paint(root / name / f"{k}.png", 1000 * number + k)
    return root


def words_of(text: str) -> str:
    """Text without boxes and line ends."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def digest(content: Path | bytes) -> str:
    """Tells contents apart; pytest would take hours to show where two long strings of bytes differ."""
    return sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


def files_below(folder: Path) -> dict[str, str]:
    """Each file's digest by its name."""
    return {str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()}


def copy_default_trunk(cache: Path, target: Path) -> None:
    """Copy it from a cache that others are filling, but for what they have under way, by hidden names."""
    for trunk in (cache / "trunks").glob("tf_efficientnet_lite0-*"):
        shutil.copytree(trunk, target / "trunks" / trunk.name, ignore=shutil.ignore_patterns(".*"))


def take(source: Path, target: Path, count: int) -> None:
    """Copy the first images of each class folder."""
    for folder in sorted(source.iterdir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:count]:
            shutil.copy(path, target / folder.name)


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path: Path, place: float) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 4
    path.write_bytes(data)


def run_code(code: str, words: list[str], cwd: Path, environment: dict[str, str]) -> Done:
    """Run a program in a process of its own; the words are its arguments."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[bool]:
    """Mount a tiny disk there, if the system lets us."""
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = [str(mount), "-t", "tmpfs", "-o", options, "none", str(folder)]
    is_mounted = (
        bool(mount and unmount) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run([str(unmount), str(folder)], check=True, timeout=30)
