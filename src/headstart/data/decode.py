"""The one decoder and the one resize: file bytes to upright RGB to the network's view.

JPEG goes through libjpeg-turbo (simplejpeg), which can decode at 1/2, 1/4 or 1/8
size for a fraction of the cost when the picture is much larger than the view;
everything else, CMYK, and every JPEG that it refuses, goes through Pillow, whose
`draft` scales by the same rule to the same pixels, so that an exported model's users
need Pillow alone. Training,
evaluation, prediction, export and serving all call `decode` and `center_view`.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from struct import error as StructError  # noqa: N812

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.config import Preprocessing
from headstart.data.files import ImageFile, Skipped, open_image, read_file
from headstart.errors import UnreadableImageError
from headstart.progress import Progress
from headstart.run.environment import available_cores

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_DIVISORS = (8, 4, 2)
_ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_TAG = 258
_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 262, 0
_MAX_OF_8_BITS, _MAX_OF_16_BITS = 255, 65_535
_PROOF_SIDE_PX = 256
_CAN_BE_TRANSPARENT = {"RGBA", "LA", "PA", "RGBa", "La"}


def read_view(path: str, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read a file and return its centre view, `uint8 (crop_px, crop_px, 3)`.

    Raises:
        UnreadableImageError: The file can't be read or decoded; the message starts with its path.
    """
    return center_view(decode_file(path, min_side_px=preprocessing.resize_px), preprocessing)


def decode_file(path: str, *, min_side_px: int = 0) -> Image.Image:
    """Read and `decode` a file.

    Raises:
        UnreadableImageError: It can't be read or decoded; the message starts with its path.
    """
    try:
        return decode(read_file(path), min_side_px=min_side_px)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{path}: {error}") from error


def view_of(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The centre view of a file's bytes, `uint8 (crop_px, crop_px, 3)`.

    Raises:
        UnreadableImageError: With a short reason.
    """
    return center_view(decode(data, min_side_px=preprocessing.resize_px), preprocessing)


def find_undecodable(files: Sequence[ImageFile], *, progress: Progress) -> list[Skipped]:
    """Decode files on all cores for the sake of knowing which can't be; memory holds one a core."""

    def prove(file: ImageFile) -> Skipped | None:
        try:
            decode(read_file(file.path), min_side_px=_PROOF_SIDE_PX)
        except UnreadableImageError as error:
            return Skipped(file.path, str(error))
        return None

    found = []
    with progress.stage("Decoding images", len(files)) as advance:
        pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="decode")
        try:
            for result in pool.map(prove, files):
                found += [result] if result else []
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
    return found


def decode(data: bytes, *, min_side_px: int = 0) -> Image.Image:
    """Decode any supported image to upright RGB.

    EXIF orientation is applied (invalid values are ignored), transparency is laid over
    white, animations give their first frame, 16-bit samples keep their upper 8 bits. TIFFs of
    32-bit samples don't say how bright their values are; see `_scale_to_bytes` for what is assumed.

    Args:
        data: The bytes of the file.
        min_side_px: A JPEG may come out smaller than stored, by a power of two, as long as
            neither side falls below this; 0 decodes at full size.

    Raises:
        UnreadableImageError: With a short reason.
    """
    image = open_image(data)
    if image.format == "JPEG":
        orientation = read_orientation(image)
        upright = None if image.mode == "CMYK" else _decode_jpeg(data, image.size, min_side_px)
        if upright is not None:
            transpose = _TRANSPOSES.get(orientation)
            return upright if transpose is None else upright.transpose(transpose)
        if min_side_px:
            image.draft("RGB", (min_side_px, min_side_px))
    bits, is_negative = _bits_a_sample(image), _is_negative(image)
    try:
        image.load()
        upright = _to_rgb(ImageOps.exif_transpose(image), bits)
        return ImageOps.invert(upright) if is_negative else upright
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise UnreadableImageError(_reason(error)) from error


def center_view(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize the shorter side, keep the central square: `uint8 (crop_px, crop_px, 3)`.

    Both happen in one resampling pass over the part that is kept, which is a quarter faster
    than resizing everything first.
    """
    width, height = image.size
    scale = preprocessing.resize_px / min(width, height)
    out_width, out_height = max(round(width * scale), 1), max(round(height * scale), 1)
    crop = preprocessing.crop_px
    left, top = (out_width - crop) // 2, (out_height - crop) // 2
    box = (
        left * width / out_width,
        top * height / out_height,
        (left + crop) * width / out_width,
        (top + crop) * height / out_height,
    )
    return np.asarray(image.resize((crop, crop), _FILTERS[preprocessing.interpolation], box=box))


def _decode_jpeg(data: bytes, size: tuple[int, int], min_side_px: int) -> Image.Image | None:
    """Decode by libjpeg-turbo; None where it refuses what is damaged, so that Pillow decides."""
    divisor = next((d for d in _DIVISORS if min_side_px and min(size) // min_side_px >= d), 1)
    width, height = (math.ceil(side / divisor) for side in size)
    try:  # asked for the least side alone, it would take 3/8 as well
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=divisor)
    except ValueError:
        return None
    return Image.fromarray(pixels)


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where it is absent or damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (ValueError, TypeError, SyntaxError, OSError, KeyError, StructError):
        return 1


def _to_rgb(image: Image.Image, bits: int) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        upper = np.asarray(image) >> (bits - 8)
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        return Image.fromarray(_scale_to_bytes(np.asarray(image))).convert("RGB")
    if image.mode in _CAN_BE_TRANSPARENT or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _bits_a_sample(image: Image.Image) -> int:
    """Of deep grey: 16, unless a TIFF says 12, which Pillow leaves in the lower bits."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, (16,))
    return 12 if tuple(bits) == (12,) else 16


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF of deep grey says that 0 is white, which Pillow heeds in shallower ones only."""
    is_deep = image.mode.startswith("I;16")
    return is_deep and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO


def _scale_to_bytes(samples: NDArray[np.int32] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey values of 32-bit samples, by the narrowest range that holds the picture's.

    0 to 1 (of floats), 0 to 255, or 0 to 65,535. Gaps (NaN) become black.

    Raises:
        UnreadableImageError: The values lie outside all of these; any guess could turn the picture
            black or white.
    """
    values = samples.astype(np.float64)
    known = values[~np.isnan(values)]
    if known.size == 0 or known.min() < 0 or known.max() > _MAX_OF_16_BITS:
        raise UnreadableImageError(
            "32-bit samples outside 0 to 65,535, of unknown scale; save it with 8 or 16 bits a channel"
        )
    if samples.dtype.kind == "f" and known.max() <= 1:
        values = np.round(values * 255)
    elif known.max() > _MAX_OF_8_BITS:
        values = values // 256
    return np.nan_to_num(values).astype(np.uint8)


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return "truncated" if "truncated" in text.lower() or "premature" in text.lower() else f"damaged ({text})"
