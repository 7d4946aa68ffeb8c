"""Fixtures that every ring of tests shares: the real photo sets, and one cache a session."""

import os
import shutil
from pathlib import Path

import pytest

_IS_ONE_OF_MANY = "PYTEST_XDIST_WORKER" in os.environ
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    # Several processes test at once, and one that has changed its threads would round otherwise than another.
    os.environ.setdefault(_name, "1")

import torch  # noqa: E402 - reads the above

# Else only the first test of a process that meets one of torch's warnings fails by it, whichever that is.
torch.set_warn_always(True)

pytest.register_assert_rewrite("networks", "pages", "serving", "support")

_DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def photo_sets() -> Path:
    """The folder of real photo sets; skips where it is absent, fails in CI."""
    folder = Path(os.environ.get("HEADSTART_TEST_DATA", _DEFAULT_DATA))
    if not folder.is_dir():
        message = f"no photo sets at {folder}; set HEADSTART_TEST_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of converted trunks and features, filled once a session by all processes that test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if _IS_ONE_OF_MANY else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def small_set(photo_sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty real photographs, 20 cats and 20 dogs, in class folders without splits."""
    root = tmp_path_factory.mktemp("photos") / "pets"
    for name in ("cats", "dogs"):
        (root / name).mkdir(parents=True)
        for path in sorted((photo_sets / "cats_dogs" / "train" / name).iterdir())[:20]:
            shutil.copy(path, root / name / path.name)
    return root
