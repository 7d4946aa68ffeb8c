"""Views grow from half the side to all of it, in steps that networks like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import ConfigError
from headstart.recipes.growth import STEP_PX, growing_sizes


@settings(deadline=None)
@given(full_px=st.integers(33, 1024), epochs=st.integers(2, 60))
def test_sizes_never_fall_and_end_at_the_full_one(full_px: int, epochs: int) -> None:
    sizes = growing_sizes(full_px, epochs)
    assert len(sizes) == epochs
    assert list(sizes) == sorted(sizes)
    assert sizes[0] < full_px
    assert all(size % STEP_PX == 0 and 2 * size >= full_px for size in sizes if size != full_px)
    assert sizes.count(full_px) >= max(epochs / 5, 1)


def test_what_the_help_says() -> None:
    sizes = growing_sizes(224, 5)
    assert sizes == (128, 128, 160, 192, 224)
    assert sum(px**2 for px in sizes) / (5 * 224**2) == pytest.approx(0.58, abs=0.01)


@pytest.mark.parametrize(("full_px", "epochs"), [(32, 5), (224, 1)])
def test_what_cannot_grow_is_refused(full_px: int, epochs: int) -> None:
    with pytest.raises(ConfigError, match=rf"{full_px} pixels and {epochs} epochs? leave nothing to grow"):
        growing_sizes(full_px, epochs)
