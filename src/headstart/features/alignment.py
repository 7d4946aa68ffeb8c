"""How alike two small pictures are once one is laid onto the other: zoomed, stretched and shifted a little.

A crop, a frame, another resolution or another aspect move what a picture shows by a few per cent. That is
undone by image registration (Lucas and Kanade, 1981), with the correlation as the measure of fit
(Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient
maximization", 2008), so that another brightness or contrast doesn't matter either.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MAX_ZOOM, MAX_SHIFT = 0.15, 0.12
"""Of the size, and of half the size: what is laid over one another beyond that isn't the same picture."""

SAME = 0.9999
"""Correlation that needs no alignment: what is above it tells nothing more."""

_STEPS = 3  # more of them raise no correlation by a thousandth
_HOPELESS = 0.3
"""Correlation before any alignment below which none is tried."""

_MARGIN = 0.1
"""Of the size on each side: left out of the comparison, as zooming out would look beyond the border."""

_CHUNK = 128  # of which all arrays fit into the processor's cache
_DAMPING = 1e-3


def aligned_correlation(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> Floats:
    """Correlation of each pair of pictures at the best alignment found, `(M,)` within -1 to 1.

    Args:
        left: `(M, s, s)`, grey.
        right: Likewise. Which of the two is the left one doesn't matter.
    """
    out = np.empty(len(left), np.float32)
    for start in range(0, len(left), _CHUNK):
        part = slice(start, start + _CHUNK)
        out[part] = _align(left[part].astype(np.float32), right[part].astype(np.float32))
    return out


def _align(left: Floats, right: Floats) -> Floats:
    """The more detailed picture of each pair is moved onto the other."""
    swapped = (_detail(right) > _detail(left))[:, None, None]
    moving, still = np.where(swapped, right, left), np.where(swapped, left, right)
    side = moving.shape[1]
    margin = max(round(_MARGIN * side), 1)
    inside = np.s_[:, margin : side - margin, margin : side - margin]
    grid = np.linspace(-1, 1, side, dtype=np.float32)
    target = _standard(still[inside])
    best: Floats = (_standard(moving[inside]) * target).sum(axis=1)
    rows = np.flatnonzero((best >= _HOPELESS) & (best < SAME))
    moving, target = moving[rows], target[rows]
    zoom, shift = np.zeros((2, len(rows), 2), np.float32)  # of y and x
    for _ in range(_STEPS):
        seen = _look(moving, grid, zoom, shift)
        slope_y, slope_x = (np.gradient(seen, 2 / (side - 1), axis=axis) for axis in (1, 2))
        slopes = (slope_y * grid[:, None], slope_x * grid, slope_y, slope_x)
        step = _step(seen[inside], np.stack([slope[inside] for slope in slopes], axis=1), target)
        zoom = np.clip(zoom + step[:, :2], -MAX_ZOOM, MAX_ZOOM)
        shift = np.clip(shift + step[:, 2:], -MAX_SHIFT, MAX_SHIFT)
        reached = (_standard(_look(moving, grid, zoom, shift)[inside]) * target).sum(axis=1)
        best[rows] = np.maximum(best[rows], reached)
    return best


def _look(pictures: Floats, grid: Floats, zoom: Floats, shift: Floats) -> Floats:
    """Each picture zoomed and shifted, linearly interpolated; beyond the border its edge goes on."""
    side = len(grid)
    for axis in (0, 1):
        at = (grid * (1 + zoom[:, axis, None]) + shift[:, axis, None] + 1) * ((side - 1) / 2)
        at = np.clip(at, 0, side - 1)
        low = np.minimum(at.astype(np.int64), side - 2)
        share = (at - low).astype(np.float32)[:, :, None]
        number = np.arange(len(pictures))[:, None]
        pictures = pictures[number, low] * (1 - share) + pictures[number, low + 1] * share
        pictures = pictures.swapaxes(1, 2)  # so that either axis is the first once
    return pictures


def _step(seen: Floats, slopes: Floats, target: Floats) -> Floats:
    """The Gauss-Newton step of `(zoom y, zoom x, shift y, shift x)`, `(M, 4)`; light doesn't matter.

    Args:
        seen: Pictures as they are moved now, `(M, h, w)`.
        slopes: By the four parameters, `(M, 4, h, w)`.
        target: Standardised, `(M, h * w)`.
    """
    now = _standard(seen)
    scale = np.maximum(np.linalg.norm(_centred(seen), axis=1), 1e-6)
    ways = _centred(slopes) / scale[:, None, None]
    ways -= (ways @ now[:, :, None]) * now[:, None]  # what contrast alone could do
    fit = np.maximum((now * target).sum(axis=1), _HOPELESS)
    rest = target / fit[:, None] - now
    normal = ways @ ways.swapaxes(1, 2)
    damping = _DAMPING * np.trace(normal, axis1=1, axis2=2) + 1e-9
    normal += damping[:, None, None] * np.eye(4, dtype=np.float32)
    step: Floats = np.linalg.solve(normal, ways @ rest[:, :, None])[:, :, 0]
    return step


def _detail(pictures: Floats) -> Floats:
    """Summed squared differences of neighbours, `(M,)`."""
    down, across = (np.square(np.diff(pictures, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    total: Floats = down + across
    return total


def _standard(pictures: Floats) -> Floats:
    """Flat, of mean 0 and length 1, `(M, h * w)`; a plain picture is 0."""
    flat = _centred(pictures)
    unit: Floats = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def _centred(pictures: Floats) -> Floats:
    """Flat and of mean 0, `(..., h * w)`."""
    flat = pictures.reshape(*pictures.shape[:-2], pictures.shape[-2] * pictures.shape[-1])
    centred: Floats = flat - flat.mean(axis=-1, keepdims=True)
    return centred
