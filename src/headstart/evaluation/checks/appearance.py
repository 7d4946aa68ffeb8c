"""What a picture looks like in numbers: brightness, sharpness, colour, border, quality of the JPEG.

The measures of darkness, brightness, blur and information are those of CleanVision (Cleanlab, 2022,
Apache-2.0), on a picture of at most 128 pixels. CleanVision itself would decode every file once more, in full
and by another decoder than the network's; a JPEG decoded small takes a fraction of that. What was
measured is kept beside the features, by content.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from PIL.JpegImagePlugin import JpegImageFile

from headstart.data.decode import decode, read_orientation
from headstart.data.files import ImageFile, open_image
from headstart.errors import UnreadableImageError
from headstart.features.store import FeatureStore
from headstart.progress import Progress
from headstart.run.environment import available_cores

COLUMNS = (
    *("orientation", "jpeg_quality", "chroma"),
    *("dark", "bright", "edges", "histogram_spread", "entropy"),
    *("red", "green", "blue", "border_red", "border_green", "border_blue", "border_spread"),
)
"""orientation: EXIF's, 1 is upright. jpeg_quality: 1 to 100, 0 of what is no JPEG. chroma: mean distance
of the channels, 0 of a grey picture. dark: brightness below which 99 % of the pixels lie; bright: above which
95 % lie. edges: spread of the edge filter at 64 pixels; histogram_spread: of its grey histogram.
entropy: bits of the histogram of a pixel. Means and spread of colour: 0 to 255, of all and of the border."""

_VERSION = 1
_SIDE_PX, _BLUR_SIDE_PX = 128, 64
_BORDER_SHARE = 0.05
_CHUNK = 64
_PART_ROWS = 2048
_WEIGHTS = np.array([0.241, 0.691, 0.068], np.float32)  # of red, green and blue in perceived brightness
_LUMINANCE_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""ITU-T T.81 (1992), table K.1: the quantisation of quality 50."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """Measures of N pictures.

    Attributes:
        values: `(N, len(COLUMNS)) float32`.
    """

    values: NDArray[np.float32]

    def __getitem__(self, column: str) -> NDArray[np.float32]:
        return self.values[:, COLUMNS.index(column)]

    def take(self, columns: Sequence[str]) -> NDArray[np.float32]:
        """Several columns, `(N, len(columns))`."""
        return self.values[:, [COLUMNS.index(column) for column in columns]]


def measure_appearance(files: Sequence[ImageFile], cache: Path, *, progress: Progress) -> Appearance:
    """Measure what the cache lacks, on all cores, and return all.

    Args:
        files: Can all be decoded.
        cache: Where measures are kept.
        progress: Told how the work moves.

    Raises:
        StorageError: The cache can't be written.
    """
    store = FeatureStore(cache / "features" / f"appearance-{_VERSION}" / f"side-{_SIDE_PX}", len(COLUMNS))
    todo = list({file.key: file for file in files if file.key not in store}.values())
    if todo:
        with progress.stage("Measuring pictures", len(todo)) as advance:
            for start in range(0, len(todo), _PART_ROWS):
                part = todo[start : start + _PART_ROWS]
                chunks = [part[at : at + _CHUNK] for at in range(0, len(part), _CHUNK)]
                measured = []
                pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="appearance")
                try:
                    for rows in pool.map(_measure_chunk, chunks):
                        measured += rows
                        advance(len(rows))
                finally:
                    pool.shutdown(cancel_futures=True)
                keys = [file.key for file in part]
                store.append(keys, np.array(measured, np.float32), np.zeros(len(part), np.uint64))
    return Appearance(store.table([file.key for file in files]).matrix())


def measure(data: bytes) -> list[float]:
    """One picture's measures, in the order of `COLUMNS`.

    Raises:
        UnreadableImageError: It can't be decoded.
    """
    with open_image(data) as header:
        orientation = read_orientation(header)
        quality = _jpeg_quality(header) if isinstance(header, JpegImageFile) else 0.0
    image = _fit(decode(data, min_side_px=_SIDE_PX), _SIDE_PX)
    pixels = np.asarray(image).astype(np.float32)
    flat = pixels.reshape(-1, 3)
    brightness = np.sqrt(np.square(flat) @ _WEIGHTS) / 255
    dark, bright = np.percentile(brightness, (99, 5))
    chroma = float(np.abs(flat - flat[:, [1, 2, 0]]).mean())
    grey = _fit(image, _BLUR_SIDE_PX).convert("L")
    edges = np.asarray(grey.filter(ImageFilter.FIND_EDGES))
    border = _border(pixels)
    return [
        *(orientation, quality, chroma),
        *(dark, bright, edges.std(), np.std(grey.histogram()), image.entropy()),
        *flat.mean(axis=0),
        *border.mean(axis=0),
        border.std(axis=0).mean(),
    ]


def _measure_chunk(files: Sequence[ImageFile]) -> list[list[float]]:
    return [_measure_file(file) for file in files]


def _measure_file(file: ImageFile) -> list[float]:
    """Zeros of a file that has changed or gone since it was listed: others are measured all the same."""
    try:
        return measure(Path(file.path).read_bytes())
    except (OSError, UnreadableImageError):
        return [float("nan")] * len(COLUMNS)


def _fit(image: Image.Image, side_px: int) -> Image.Image:
    """No side longer than so."""
    ratio = max(image.size) / side_px
    if ratio <= 1:
        return image
    return image.resize((max(int(image.width / ratio), 1), max(int(image.height / ratio), 1)))


def _border(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of the outermost twentieth, `(n, 3)`."""
    height, width = pixels.shape[:2]
    y, x = max(round(height * _BORDER_SHARE), 1), max(round(width * _BORDER_SHARE), 1)
    sides = (pixels[:y], pixels[-y:], pixels[y:-y, :x], pixels[y:-y, -x:])
    return np.concatenate([side.reshape(-1, 3) for side in sides])


def _jpeg_quality(image: JpegImageFile) -> float:
    """The quality setting whose luminance table is nearest, by the IJG's scaling of table K.1."""
    table = image.quantization.get(0)
    if not table:
        return 0.0
    scale = 100 * sum(table) / sum(_LUMINANCE_TABLE)
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return float(np.clip(round(quality), 1, 100))
