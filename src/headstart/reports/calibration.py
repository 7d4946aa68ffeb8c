"""The reliability diagram: of the answers given with 90 %, are 90 % right?"""

from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from headstart.metrics.intervals import wilson_interval
from headstart.reports.charts import Axes, Series, draw_chart

_BINS = 10
_FEWEST = 5


def draw_reliability(
    after: NDArray[np.floating[Any]], before: NDArray[np.floating[Any]], right: NDArray[np.bool_]
) -> Markup:
    """Draw how often answers are right by how sure they are, before and after calibration.

    Bins have equal width; those of fewer than five images are left out, as chance alone decides there,
    and nothing is drawn if that leaves none. The bars are 95 % Wilson intervals.

    Source: DeGroot and Fienberg, "The Comparison and Evaluation of Forecasters", 1983.

    Args:
        after: How sure each answer was, calibrated, `(N,)`.
        before: Likewise uncalibrated.
        right: Whether the most probable class is the true one, `(N,)`.
    """
    series = [
        _series("before calibration", before, right, colour=2),
        _series("calibrated", after, right, colour=0),
    ]
    if not any(one.x for one in series):
        return Markup("")
    lowest = min(x for one in series for x in (*one.x, *one.low))
    start = max(np.floor(10 * lowest) / 10, 0.0)
    return draw_chart(
        [Series("as sure as right", (start, 1.0), (start, 1.0), colour=3, dashed=True, dots=False), *series],
        Axes("how sure it was", "right", x_range=(start, 1.0), y_range=(start, 1.0), percent=True),
    )


def _series(
    name: str, confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_], colour: int
) -> Series:
    bins = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
    x, y, low, high = [], [], [], []
    for number in range(_BINS):
        inside = bins == number
        n = int(inside.sum())
        if n < _FEWEST:
            continue
        found = int(right[inside].sum())
        x.append(float(confidence[inside].mean()))
        y.append(found / n)
        bounds = wilson_interval(found, n)
        low.append(bounds[0])
        high.append(bounds[1])
    is_main = colour == 0
    return Series(name, x, y, low if is_main else (), high if is_main else (), colour, line=not is_main)
