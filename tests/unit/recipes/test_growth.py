"""Views grow from half the side to all of it, in steps that networks like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import ConfigError
from headstart.recipes.growth import STEP_PX, growing_sizes, share_views


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


@settings(deadline=None)
@given(full_px=st.integers(33, 1024), epochs=st.integers(2, 60), views=st.integers(1, 16))
def test_every_side_gets_a_view_and_none_that_no_epoch_shows(full_px: int, epochs: int, views: int) -> None:
    sizes = growing_sizes(full_px, epochs)
    shares = share_views(sizes, views)
    assert list(shares) == sorted(set(sizes))
    assert all(1 <= n <= sizes.count(px) for px, n in shares.items())


def test_views_are_shared_by_epochs() -> None:
    assert share_views(growing_sizes(224, 5), 4) == {128: 2, 160: 1, 192: 1, 224: 1}
