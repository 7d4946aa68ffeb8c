"""Augmentation is decided by its generator, keeps shapes, and does what its name says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.data.augment import POLICIES, Augmentation, augment, find_policy
from headstart.errors import ConfigError


def picture(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(list(POLICIES)),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(8, 64),
    st.integers(0, 99),
)
def test_any_policy_takes_any_picture_and_repeats_itself(
    name: str, height: int, width: int, size_px: int, seed: int
) -> None:
    views = [
        augment(picture(height, width), POLICIES[name], size_px, np.random.default_rng(seed))
        for _ in range(2)
    ]
    assert views[0].shape == (size_px, size_px, 3)
    assert views[0].dtype == np.uint8
    np.testing.assert_array_equal(views[0], views[1])


def test_without_a_policy_nothing_is_random() -> None:
    views = [augment(picture(), POLICIES["none"], 32, np.random.default_rng(seed)) for seed in (0, 1)]
    np.testing.assert_array_equal(*views)


def test_flip_only_flips() -> None:
    plain = augment(picture(), POLICIES["none"], 32, np.random.default_rng(0))
    flipped = augment(picture(), Augmentation(flip=1.0), 32, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, plain[:, ::-1])


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "none"])
def test_other_generators_show_other_views(name: str) -> None:
    views = [augment(picture(), POLICIES[name], 32, np.random.default_rng(seed)) for seed in range(8)]
    assert any((view != views[0]).any() for view in views[1:])


def test_warmer_light_is_redder_and_cooler_light_bluer() -> None:
    grey = np.full((40, 40, 3), 120, np.uint8)
    shifts = [
        augment(grey, Augmentation(temperature=0.3), 32, np.random.default_rng(seed))[0, 0].astype(int)
        for seed in range(20)
    ]
    assert all((red - 120) * (blue - 120) <= 0 for red, _, blue in shifts)
    assert {bool(red > 120) for red, _, _ in shifts} == {True, False}


def test_an_unknown_policy_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"No augmentation is called 'strang'. Did you mean strong\?"):
        find_policy("strang")
