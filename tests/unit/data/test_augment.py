"""Augmentation is decided by its generator, keeps shapes, and does what its name says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.data.augment import POLICIES, Augmentation, augment, describe_policy, find_policy
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


def test_the_policies_are_what_the_documentation_says() -> None:
    assert {name: describe_policy(policy) for name, policy in POLICIES.items()} == {
        "none": "none",
        "flip": "none,flip=0.5",
        "light": "none,crop=0.35-1,aspect=0.75-1.33,flip=0.5",
        "strong": (
            "none,crop=0.2-1,aspect=0.75-1.33,flip=0.5,brightness=0.4,contrast=0.4,saturation=0.4,rotation=15"
        ),
        "trivial": "none,crop=0.35-1,aspect=0.75-1.33,flip=0.5,trivial=1",
        "photo-shift": (
            "none,crop=0.35-1,aspect=0.75-1.33,flip=0.5,brightness=0.5,temperature=0.25,blur=1.5,jpeg=30"
        ),
    }


@pytest.mark.parametrize("name", POLICIES)
def test_every_part_can_be_switched_off_and_on(name: str) -> None:
    off = "crop=0,flip=0,vertical_flip=0,brightness=0,contrast=0,saturation=0,hue=0,rotation=0,temperature=0"
    assert describe_policy(find_policy(f"{name},{off},blur=0,noise=0,jpeg=0,trivial=0")) == "none"
    on = (
        "crop=0.1-1,aspect=0.5-2,flip=0.25,vertical_flip=0.5,brightness=0.5,contrast=0.5,saturation=0.5,"
        "hue=0.5,rotation=30,temperature=0.3,blur=2,noise=20,jpeg=40,trivial=1"
    )
    policy = find_policy(f"{name},{on}")
    assert describe_policy(policy) == f"none,{on}"
    assert find_policy(describe_policy(policy)) == policy
    assert policy == Augmentation(
        crop=(0.1, 1),
        aspect=(0.5, 2),
        flip=0.25,
        vertical_flip=0.5,
        brightness=0.5,
        contrast=0.5,
        saturation=0.5,
        hue=0.5,
        rotation_deg=30,
        temperature=0.3,
        blur_sigma=2,
        noise_sigma=20,
        jpeg_quality=40,
        trivial=True,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"No augmentation is called ''\. Known: none, flip"),
        ("flip=0.5", r"called 'flip=0\.5'\..*The policy's name comes first, as in none,flip=0\.5"),
        ("strong,", r"--augment strong,: No part of an augmentation is called ''\. Known: crop"),
        ("strong,rotatoin=3", r"No part of an augmentation is called 'rotatoin'\. Did you mean rotation\?"),
        ("strong,vertical-flip=1", r"'vertical-flip'\. Did you mean vertical_flip\?"),
        ("strong,hue", r"hue must be a share of the circle from 0 to 0\.5, not ''"),
        ("light,flip=2", r"flip must be a probability from 0 to 1, not '2'"),
        ("light,flip=nan", r"flip must be a probability from 0 to 1, not 'nan'"),
        ("light,rotation=-3", r"rotation must be an angle from 0 to 180 degrees, not '-3'"),
        ("light,crop=0.5", r"crop must be LOW-HIGH, shares of the area from 0\.01 to 1, or 0, not '0\.5'"),
        ("light,crop=1-0.5", r"crop must be LOW-HIGH.*not '1-0\.5'"),
        ("light,crop=0-1", r"crop must be LOW-HIGH.*not '0-1'"),
        ("light,aspect=0", r"aspect must be LOW-HIGH.*not '0'"),
        ("flip,aspect=0.5-2", r"aspect is that of a crop\. Add one, such as crop=0\.35-1"),
        ("light,jpeg=50.5", r"jpeg must be a whole quality from 1 to 100, or 0, not '50\.5'"),
        ("light,trivial=yes", r"trivial must be 0 or 1, not 'yes'"),
        ("light,flip=1,flip=0", r"flip is set twice"),
        ("light,hue=9,blr=1", r"hue must be.*No part.*'blr'\. Did you mean blur\?"),
    ],
)
def test_a_text_that_makes_no_policy_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_policy(text)


def test_vertical_flip_only_turns_it_over() -> None:
    plain = augment(picture(), POLICIES["none"], 32, np.random.default_rng(0))
    turned = augment(picture(), Augmentation(vertical_flip=1.0), 32, np.random.default_rng(0))
    np.testing.assert_array_equal(turned, plain[::-1])


def test_hue_moves_colours_and_leaves_greys() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    seen = {
        int(augment(red, Augmentation(hue=0.5), 8, np.random.default_rng(seed))[0, 0].argmax())
        for seed in range(30)
    }
    assert seen == {0, 1, 2}
    grey = np.full((8, 8, 3), 90, np.uint8)
    np.testing.assert_array_equal(augment(grey, Augmentation(hue=0.5), 8, np.random.default_rng(3)), grey)


def test_noise_is_as_strong_as_asked_at_most_and_has_no_bias() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    views = [augment(grey, Augmentation(noise_sigma=30), 64, np.random.default_rng(k)) for k in range(30)]
    spreads = [view.std() for view in views]
    assert max(spreads) == pytest.approx(29, abs=2)
    assert min(spreads) < 5
    assert np.mean(views) == pytest.approx(128, abs=0.5)


def test_crops_keep_to_their_area_and_aspect() -> None:
    """On a picture whose red is x and green y, a view tells which box it was cut from."""
    y, x = np.mgrid[0:200, 0:200].astype(np.uint8)
    ramps = np.stack([x, y, np.zeros_like(x)], -1)
    policy = find_policy("none,crop=0.1-0.4,aspect=0.5-2")
    areas, aspects = [], []
    for seed in range(200):
        view = augment(ramps, policy, 64, np.random.default_rng(seed)).astype(float)
        width, height = (np.ptp(view[..., channel]) * 64 / 63 for channel in (0, 1))
        areas.append(width * height / 200**2)
        aspects.append(width / height)
    assert 0.09 < min(areas) < 0.13
    assert 0.36 < max(areas) < 0.42
    assert 0.47 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.1
