import subprocess
import sys
from pathlib import Path

import headstart
from headstart import errors


def test_public_names_are_sorted_and_there() -> None:
    assert headstart.__all__ == sorted(headstart.__all__)
    for name in headstart.__all__:
        assert getattr(headstart, name) is not None
    assert dir(headstart) == headstart.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(headstart, "tarin")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, headstart; print([m for m in ('torch', 'numpy', 'openvino', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_error_descends_from_one_and_is_drawn_in_the_tree() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert all(issubclass(c, errors.HeadstartError) for c in classes)
    assert all(c.__name__ in (errors.__doc__ or "") for c in classes)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(headstart.__file__).parent / "py.typed").exists()
