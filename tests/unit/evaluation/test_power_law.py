"""The law through a learning curve finds what made it, and never leaves its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.evaluation.power_law import fit_power_laws

SIZES = np.array([20.0, 40.0, 80.0, 160.0, 320.0])


@pytest.mark.parametrize(("floor", "scale", "decay"), [(0.0, 1.0, 0.5), (0.05, 2.0, 0.8), (0.2, 0.0, 1.0)])
def test_a_law_without_noise_is_found_and_foretold(floor: float, scale: float, decay: float) -> None:
    errors = floor + scale * SIZES**-decay
    law = fit_power_laws(SIZES, errors[None], np.ones(5))
    beyond = np.array([640.0, 1280.0])
    np.testing.assert_allclose(law.errors(beyond)[0], floor + scale * beyond**-decay, atol=2e-3)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.lists(st.floats(0.1, 9), min_size=5, max_size=5))
def test_whatever_was_measured_the_error_never_rises_and_stays_a_share(
    errors: list[float], weights: list[float]
) -> None:
    law = fit_power_laws(SIZES, np.array([errors]), np.array(weights))
    foretold = law.errors(np.geomspace(1, 1e6, 50))[0]
    assert (np.diff(foretold) <= 1e-12).all()
    assert foretold.min() >= 0
    assert foretold.max() <= 1
    assert law.floor[0] >= 0
    assert law.scale[0] >= 0


def test_many_laws_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    errors, weights = rng.uniform(0, 0.5, (30, 5)), rng.uniform(1, 5, 5)
    together = fit_power_laws(SIZES, errors, weights).errors(SIZES)
    alone = [fit_power_laws(SIZES, row[None], weights).errors(SIZES)[0] for row in errors]
    np.testing.assert_allclose(together, alone)


def test_one_size_makes_no_law() -> None:
    with pytest.raises(ValueError, match="at two numbers of images or more"):
        fit_power_laws(np.array([9.0, 9.0]), np.zeros((1, 2)), np.ones(2))
