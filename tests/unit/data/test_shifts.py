import numpy as np
import pytest
from PIL import Image

from headstart.config import Preprocessing
from headstart.data.augment import find_policy
from headstart.data.decode import center_view
from headstart.data.shifts import SHIFTS, STRENGTHS, Kind, Pixels, advise, find_kinds, shift_picture
from headstart.errors import ConfigError

PREPROCESSING = Preprocessing(256, 224, "bicubic", (0, 0, 0), (1, 1, 1))


@pytest.fixture
def picture() -> Image.Image:
    """Coloured waves, wider than high."""
    y, x = np.mgrid[0:240, 0:320]
    waves = [127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), 127 + 60 * np.sin((x + y) / 15)]
    return Image.fromarray(np.stack(waves, 2).astype(np.uint8))


def shifted(picture: Image.Image, kind: Kind, strength: int, seed: int = 0) -> Pixels:
    return shift_picture(picture, center_view(picture, PREPROCESSING), kind, strength, PREPROCESSING, seed)


@pytest.mark.parametrize("kind", SHIFTS)
def test_stronger_shifts_change_more_and_the_same_seed_changes_the_same(
    kind: Kind, picture: Image.Image
) -> None:
    clean = center_view(picture, PREPROCESSING).astype(float)
    views = [shifted(picture, kind, strength) for strength in range(1, STRENGTHS + 1)]
    for view in views:
        assert view.shape == (224, 224, 3)
        assert view.dtype == np.uint8
    distances = [np.abs(view - clean).mean() for view in views]
    assert distances[0] > 0
    if kind not in {"rotation", "crop"}:  # of waves these may return to where they were
        assert distances[-1] > 2 * distances[0]
    if kind not in {"rotation", "crop", "resolution"}:  # a smaller picture moves by parts of a pixel, too
        assert distances == sorted(distances)
    np.testing.assert_array_equal(shifted(picture, kind, 3), views[2])


def test_what_each_shift_does(picture: Image.Image) -> None:
    clean = center_view(picture, PREPROCESSING).astype(float)
    assert shifted(picture, "brightness", 5).mean() == pytest.approx(0.2 * clean.mean(), rel=0.03)
    assert shifted(picture, "contrast", 5).std() < 0.4 * clean.std()
    warm = shifted(picture, "temperature", 3)
    assert warm[..., 0].mean() > clean[..., 0].mean()
    assert warm[..., 2].mean() < clean[..., 2].mean()
    grey = shifted(picture, "saturation", 5)
    assert np.abs(np.diff(grey.astype(int), axis=2)).max() <= 1
    noisy = shifted(picture, "noise", 2)
    assert (noisy - clean).std() == pytest.approx(12, rel=0.1)
    assert not np.array_equal(noisy, shifted(picture, "noise", 2, seed=1))


def test_advice_is_a_policy_that_training_takes() -> None:
    assert advise(["blur", "resolution", "noise", "rotation"]) == "light,blur=3,noise=30,rotation=30"
    assert find_policy(advise(list(SHIFTS))).jpeg_quality == 10


def test_kinds_are_found_by_name_in_their_own_order() -> None:
    assert find_kinds(()) == tuple(SHIFTS)
    assert find_kinds(("crop", "blur")) == ("blur", "crop")
    with pytest.raises(ConfigError, match=r"No shift is called 'brigtness'. Did you mean brightness\? Known"):
        find_kinds(("brigtness",))
