"""Maps made visible, and put to the proof: overlays, and pictures with their hottest part hidden."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.evaluation.maps import Mapper
from headstart.metrics.calibration import softmax

Views = NDArray[np.uint8]
Maps = NDArray[np.float32]

_COLOURS = "inferno"
_STRENGTH = 0.75  # of the colour where a map is hottest; the picture shines through everywhere


def heat_of(found: Maps, size_px: int) -> Maps:
    """One map `(h, w)` as heat `(size_px, size_px)` from 0 to 1: what speaks for the class.

    Where nothing does, what speaks least against it.
    """
    wide = np.asarray(
        Image.fromarray(found.astype(np.float32)).resize((size_px, size_px), Image.Resampling.BICUBIC)
    )
    heat = np.maximum(wide, 0) if wide.max() > 0 else wide - wide.min()
    top = float(heat.max())
    return (heat / top).astype(np.float32) if top > 0 else np.zeros_like(wide)


def overlay(view: Views, heat: Maps) -> Views:
    """Lay heat `(H, W)` over a picture `(H, W, 3)`: the hotter, the more of its colour."""
    from matplotlib import colormaps

    colours = colormaps[_COLOURS](0.3 + 0.65 * heat)[..., :3] * 255
    grey = view.mean(axis=2, keepdims=True)
    ground = 0.55 * view + 0.3 * grey  # paler, so that the colours are the map's
    share = _STRENGTH * heat[..., None] ** 0.7
    laid: Views = np.clip(ground * (1 - share) + colours * share, 0, 255).astype(np.uint8)
    return laid


def hottest(heat: Maps, share: float) -> NDArray[np.bool_]:
    """Where the hottest `share` of a picture is, `(H, W)`; exactly as many pixels."""
    count = max(round(share * heat.size), 1)
    mask = np.zeros(heat.size, np.bool_)
    mask[np.argsort(-heat, axis=None, kind="stable")[:count]] = True
    return mask.reshape(heat.shape)


def hide(view: Views, mask: NDArray[np.bool_]) -> Views:
    """Paint a part of a picture in the picture's mean colour."""
    hidden = view.copy()
    hidden[mask] = view.mean(axis=(0, 1)).round().astype(np.uint8)
    return hidden


def falls_when_hidden(
    mapper: Mapper, views: Views, *, share: float = 0.1, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the predicted class's probability falls when a part of each picture is hidden.

    (After Samek et al., "Evaluating the visualization of what a deep neural network has learned", 2017.)

    Args:
        mapper: Of the network.
        views: `(N, H, W, 3)`.
        share: Of each picture.
        seed: Of the other part.

    Returns:
        Of the hottest part, and of one of the same size and shape at a random place, `(N,)` each.
    """
    rng = np.random.default_rng(seed)
    before = softmax(mapper.logits(views))
    classes, rows = before.argmax(axis=1), np.arange(len(views))
    maps = mapper.maps(views, classes)
    masks = [hottest(heat_of(found, views.shape[1]), share) for found in maps]
    elsewhere = [np.roll(mask, rng.integers(0, mask.shape[0], 2), axis=(0, 1)) for mask in masks]
    falls = []
    for some in (masks, elsewhere):
        hidden = np.stack([hide(view, mask) for view, mask in zip(views, some, strict=True)])
        falls.append((before - softmax(mapper.logits(hidden)))[rows, classes])
    return falls[0], falls[1]
