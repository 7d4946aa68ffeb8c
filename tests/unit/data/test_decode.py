"""Every kind of file becomes the same upright RGB, and one view of it, or a reason why not."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.config import Interpolation, Preprocessing
from headstart.data.decode import center_view, decode, read_view
from headstart.errors import UnreadableImageError

ORIENTATION = 0x0112
VIEW = Preprocessing(64, 48, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth colours, different in every corner, so that no flip or turn goes unseen."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return Image.fromarray(np.stack([red, green, 255 - red / 2 - green / 2], axis=2).astype(np.uint8))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG of raw rows; Pillow can't write every kind that it reads."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def rgb16_tiff(pixels: NDArray[np.uint16]) -> bytes:
    """An uncompressed TIFF of three 16-bit samples a pixel, which Pillow reads but can't write."""
    height, width, _ = pixels.shape
    fields = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, 8),  # bits a sample: three values, right after the header
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 14),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, pixels.nbytes),
    ]
    data = struct.pack("<3H", 16, 16, 16) + pixels.astype("<u2").tobytes()
    directory = struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", *field) for field in fields)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 0)


def pixels_of(data: bytes, **options: int) -> NDArray[np.int64]:
    image = decode(data, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def spread(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Grey levels as RGB."""
    return np.repeat(values[:, :, None], 3, axis=2)


# ------------------------------------------------------------------ modes and formats


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}], ids=str)
def test_jpeg(options: dict[str, Any]) -> None:
    data = encode(scene(), "JPEG", quality=90, **options)
    pillow = np.asarray(Image.open(io.BytesIO(data))).astype(np.int64)
    assert np.abs(pixels_of(data) - pillow).max() <= 2
    assert np.abs(pixels_of(data) - np.asarray(scene()).astype(np.int64)).mean() < 6


def test_grey_jpeg() -> None:
    grey = scene().convert("L")
    found = pixels_of(encode(grey, "JPEG", quality=95))
    assert (found == found[:, :, :1]).all()
    assert np.abs(found - spread(np.asarray(grey).astype(np.int64))).max() <= 6


def test_cmyk_jpeg() -> None:
    # Adobe's CMYK JPEGs hold inverted inks; whoever forgets it sees a negative.
    found = pixels_of(encode(scene().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found - np.asarray(scene()).astype(np.int64)).mean() < 6


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("PNG", {"optimize": True}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
    + [("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate")],
    ids=str,
)
def test_lossless_formats(image_format: str, options: dict[str, Any]) -> None:
    assert (pixels_of(encode(scene(), image_format, **options)) == np.asarray(scene())).all()


def test_lossy_webp() -> None:
    found = pixels_of(encode(scene(), "WEBP", quality=90))
    assert np.abs(found - np.asarray(scene()).astype(np.int64)).mean() < 6


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_one_bit(mode: str, image_format: str) -> None:
    image = scene().convert(mode)
    assert (pixels_of(encode(image, image_format)) == np.asarray(image.convert("RGB"))).all()


def test_transparency_lies_over_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 128, 255)
    for image_format in ("PNG", "TIFF"):
        found = pixels_of(encode(Image.fromarray(rgba), image_format))
        assert found[0, 0].tolist() == [255, 255, 255]
        assert np.abs(found[0, 1] - (227, 127, 127)).max() <= 1
        assert found[0, 2].tolist() == [200, 0, 0]


def test_transparent_webp_lies_over_white() -> None:
    rgba = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (pixels_of(encode(rgba, "WEBP", lossless=True, exact=True)) == 255).all()


def test_transparent_grey_lies_over_white() -> None:
    grey = np.array([[[100, 0], [100, 255]]], np.uint8)
    found = pixels_of(png(2, 1, 8, 4, grey.tobytes()))
    assert found[0, :, 0].tolist() == [255, 100]


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_white(image_format: str) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    found = pixels_of(encode(image, image_format, transparency=0))
    assert found[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_transparent_colour_of_an_rgb_png_becomes_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    found = pixels_of(encode(image, "PNG", transparency=(1, 2, 3)))
    assert found[0].tolist() == [[255, 255, 255], [4, 5, 6]]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_upper_bits(image_format: str) -> None:
    values = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    found = pixels_of(encode(Image.fromarray(values), image_format))
    assert (found == spread((values >> 8).astype(np.int64))).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey_use_the_whole_range(depth: int) -> None:
    found = pixels_of(png(8 // depth, 1, depth, 0, b"\x1b" if depth == 2 else b"\x0f"))
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_sixteen_bit_colour_and_alpha_png(colour_type: int) -> None:
    samples = {2: (0x1234, 0x56FF, 0xFF00), 4: (0x1234, 0xFFFF), 6: (0x1234, 0x56FF, 0xFF00, 0xFFFF)}
    found = pixels_of(png(1, 1, 16, colour_type, np.array(samples[colour_type], ">u2").tobytes()))
    expected = (0x12, 0x12, 0x12) if colour_type == 4 else (0x12, 0x56, 0xFF)
    assert np.abs(found[0, 0] - expected).max() <= 1


def test_sixteen_bit_colour_tiff() -> None:
    pixels = np.array([[[0x1234, 0x56FF, 0xFF00], [0, 0xFFFF, 0x8000]]], np.uint16)
    assert (pixels_of(rgb16_tiff(pixels)) == pixels >> 8).all()


def test_cmyk_tiff() -> None:
    found = pixels_of(encode(scene().convert("CMYK"), "TIFF"))
    assert np.abs(found - np.asarray(scene()).astype(np.int64)).max() <= 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.1, 0.5, 1.0]], np.float32), [0, 26, 128, 255]),
        (np.array([[0.0, 1.01, 100.4, 255.0]], np.float32), [0, 1, 100, 255]),
        (np.array([[0.0, 255.5, 0x8000, 0xFFFF]], np.float32), [0, 0, 0x80, 0xFF]),
        (np.array([[0.25, np.nan, 0.5]], np.float32), [64, 0, 128]),
        (np.array([[0, 1, 200, 255]], np.int32), [0, 1, 200, 255]),
        (np.array([[0, 256, 0x7FFF, 0xFFFF]], np.int32), [0, 1, 0x7F, 0xFF]),
    ],
    ids=["0 to 1", "0 to 255", "0 to 65535", "gaps", "bytes as integers", "16 bits as integers"],
)
def test_32_bit_tiff_is_scaled_by_the_range_of_its_values(
    values: NDArray[np.float32] | NDArray[np.int32], expected: list[int]
) -> None:
    found = pixels_of(encode(Image.fromarray(values), "TIFF"))
    assert (found == spread(np.array([expected]))).all()


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 65_536]], np.int32),
        np.array([[-1, 200]], np.int32),
        np.array([[0.0, 1e6]], np.float32),
        np.array([[-0.5, 0.5]], np.float32),
        np.array([[0.5, np.inf]], np.float32),
        np.array([[np.nan, np.nan]], np.float32),
    ],
    ids=["20 bits", "negative", "large floats", "centred floats", "infinite", "nothing but gaps"],
)
def test_32_bit_tiff_of_unknown_scale_is_refused(values: NDArray[np.float32] | NDArray[np.int32]) -> None:
    with pytest.raises(
        UnreadableImageError, match=r"^32-bit samples outside 0 to 65,535, .*; save it with 8"
    ):
        decode(encode(Image.fromarray(values), "TIFF"))


def test_12_bit_tiff_uses_the_whole_range() -> None:
    packed = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048, twelve bits each
    fields = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    directory = struct.pack("<H", len(fields)) + b"".join(
        struct.pack("<HHII", tag, 3, 1, value) for tag, value in fields
    )
    data = b"II*\0" + struct.pack("<I", 12) + packed + b"\0" + directory + struct.pack("<I", 0)
    assert pixels_of(data)[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_in_which_zero_is_white(bits: int) -> None:
    samples = bytes([0, 255]) if bits == 8 else struct.pack("<2H", 0, 0xFFFF)
    fields = [(256, 2), (257, 1), (258, bits), (259, 1), (262, 0), (273, 8), (277, 1), (278, 1)]
    fields.append((279, len(samples)))
    directory = struct.pack("<H", len(fields)) + b"".join(
        struct.pack("<HHII", tag, 3, 1, value) for tag, value in fields
    )
    start = 8 + len(samples)
    data = b"II*\0" + struct.pack("<I", start) + samples + directory + struct.pack("<I", 0)
    assert pixels_of(data)[0, :, 0].tolist() == [255, 0]


def test_tiff_of_float_colours_is_refused_for_what_it_is() -> None:
    data = rgb16_tiff(np.zeros((1, 2, 3), np.uint16))
    with pytest.raises(UnreadableImageError, match="a TIFF of a kind that is not supported; save it with 8"):
        decode(data.replace(struct.pack("<3H", 16, 16, 16), struct.pack("<3H", 32, 32, 32)))


def test_transparent_colour_of_sixteen_bits_does_no_harm() -> None:
    rows = np.array([[0x1234, 0x5678, 0x9ABC], [0x1111, 0x2222, 0x3333]], ">u2").tobytes()
    plain = png(2, 1, 16, 2, rows)
    key = png_chunk(b"tRNS", rows[:6])
    data = plain.replace(plain[33:], key + plain[33:])  # after the header
    assert pixels_of(data)[0, 1].tolist() == [0x11, 0x22, 0x33]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(image_format: str) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    assert (pixels_of(data) == (255, 0, 0)).all()


# ------------------------------------------------------------------ orientation


def oriented(image: Image.Image, image_format: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, image_format, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_as_pillow_does(image_format: str, orientation: int) -> None:
    options: dict[str, Any] = {"quality": 95} if image_format == "JPEG" else {"lossless": True}
    data = oriented(scene(), image_format, orientation, **options)
    pillow = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = pixels_of(data)
    assert found.shape == ((48, 32, 3) if orientation >= 5 else (32, 48, 3)) == pillow.shape
    assert np.abs(found - pillow).max() <= 2
    # and the oracle itself: what it did is not nothing
    upright = np.abs(found[:32, :32] - np.asarray(scene())[:32, :32]).mean() < 6
    assert upright == (orientation == 1)


def test_orientation_of_a_jpeg_that_pillow_decodes() -> None:
    data = oriented(scene().convert("CMYK"), "JPEG", 6, quality=95)
    expected = np.asarray(scene().transpose(Image.Transpose.ROTATE_270)).astype(np.int64)
    assert np.abs(pixels_of(data) - expected).mean() < 6


@pytest.mark.parametrize("orientation", [0, 9, 56624])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
def test_invalid_orientation_is_ignored(image_format: str, orientation: int) -> None:
    plain = encode(scene(), image_format)
    assert (pixels_of(oriented(scene(), image_format, orientation)) == pixels_of(plain)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's word on it
@pytest.mark.parametrize(
    "garbage", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x05\x01\x12"]
)
def test_damaged_exif_is_ignored(garbage: bytes) -> None:
    plain = encode(scene(), "JPEG")
    data = encode(scene(), "JPEG", exif=b"Exif\0\0" + garbage)
    assert (pixels_of(data) == pixels_of(plain)).all()


# ------------------------------------------------------------------ what can't be decoded


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(image_format: str, share: float) -> None:
    data = encode(noise(64, 48), image_format)
    with pytest.raises(UnreadableImageError, match=r"truncated|damaged"):
        decode(data[: int(share * len(data))])


@pytest.mark.parametrize("min_side_px", [0, 16])
def test_truncated_jpeg_says_truncated(min_side_px: int) -> None:
    data = encode(noise(64, 48), "JPEG")
    with pytest.raises(UnreadableImageError, match=r"^truncated$"):
        decode(data[: len(data) // 2], min_side_px=min_side_px)


def test_garbage_after_a_jpeg_is_no_matter() -> None:
    data = encode(scene(), "JPEG")
    assert (pixels_of(data + b"appended by some camera") == pixels_of(data)).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "^zero bytes$"),
        (b"hello, I am a text file", "^not an image$"),
        (b"<html><body>404</body></html>", "^not an image$"),
        (b"%PDF-1.7\n", "^not an image$"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC.*convert it to JPEG or PNG"),
        (b"\xff\xd8\xff", "truncated or damaged JPEG"),
    ],
    ids=["empty", "text", "html", "pdf", "heic", "jpeg-start"],
)
def test_not_a_picture(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode(data)


def test_decompression_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")
    with pytest.raises(
        UnreadableImageError, match=r"^900,000,000 pixels, more than the limit of 178,956,970$"
    ):
        decode(data)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_smallest_and_thinnest_pictures_have_a_view(image_format: str, size: tuple[int, int]) -> None:
    image = decode(encode(Image.new("RGB", size, (200, 100, 50)), image_format), min_side_px=64)
    assert min(image.size) == min(size)
    view = center_view(image, VIEW)
    assert view.shape == (48, 48, 3)
    assert view.dtype == np.uint8
    assert np.abs(view.astype(int) - (200, 100, 50)).max() <= 3


# ------------------------------------------------------------------ scaled decoding


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 300), st.sampled_from(["RGB", "L", "CMYK"]))
def test_scaled_decode_never_falls_below_the_least_side(
    width: int, height: int, min_side_px: int, mode: str
) -> None:
    data = encode(Image.new(mode, (width, height)), "JPEG")
    found = decode(data, min_side_px=min_side_px).size
    assert min(found) >= min(min_side_px, width, height)
    assert found == (width, height) or max(found) <= max(width, height) // 2 + 1


def test_scaled_decode_saves_work_and_keeps_the_picture() -> None:
    big = scene(1600, 1200)
    data = encode(big, "JPEG", quality=90)
    small = decode(data, min_side_px=140)
    assert small.size == (200, 150)
    expected = np.asarray(big.resize((200, 150), Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(small).astype(int) - expected).mean() < 3


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("side", [255, 256, 511, 512, 683, 700, 1023, 1024, 1400, 2047, 2048, 2060])
def test_scaled_decode_is_that_of_pillow(side: int, mode: str) -> None:
    data = encode(scene(side + 77, side).convert(mode), "JPEG", quality=90)
    expected = Image.open(io.BytesIO(data))
    expected.draft("RGB", (256, 256))
    np.testing.assert_array_equal(
        np.asarray(decode(data, min_side_px=256)), np.asarray(expected.convert("RGB"))
    )


def test_other_formats_decode_in_full() -> None:
    assert decode(encode(scene(800, 600), "PNG"), min_side_px=32).size == (800, 600)


# ------------------------------------------------------------------ the view


def resize_then_crop(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    scale = preprocessing.resize_px / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    resized = image.resize(size, FILTERS[preprocessing.interpolation])
    left, top = ((side - preprocessing.crop_px) // 2 for side in size)
    return np.asarray(resized.crop((left, top, left + preprocessing.crop_px, top + preprocessing.crop_px)))


@pytest.mark.parametrize(
    "size", [(500, 333), (333, 500), (75, 59), (224, 224), (2592, 1944), (31, 400)], ids=str
)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
def test_center_view_is_resize_then_crop(interpolation: Interpolation, size: tuple[int, int]) -> None:
    # Pillow filters rows first or columns first, whichever costs less, and rounds in between: that
    # alone may differ. The noise keeps clear of 0 and 255, where it also clips in between.
    preprocessing = Preprocessing(256, 224, interpolation, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    image = noise(*size).point(lambda level: 64 + level // 2)
    found, expected = center_view(image, preprocessing), resize_then_crop(image, preprocessing)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 2
    assert (difference == 0).mean() > 0.5


@pytest.mark.parametrize("margin", [0, 1, 16, 17])
def test_center_view_keeps_the_middle(margin: int) -> None:
    preprocessing = Preprocessing(48 + margin, 48, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    image = noise(48 + margin, 48 + margin)
    start = margin // 2
    assert (
        center_view(image, preprocessing) == np.asarray(image)[start : start + 48, start : start + 48]
    ).all()


def test_center_view_of_real_photos(photo_sets: Path) -> None:
    preprocessing = Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for path in sorted((photo_sets / "hymenoptera" / "test" / "ants").iterdir())[:12]:
        image = decode(path.read_bytes())
        difference = np.abs(
            center_view(image, preprocessing).astype(int) - resize_then_crop(image, preprocessing)
        )
        assert difference.max() <= 4, path
        assert (difference == 0).mean() > 0.9, path


def test_read_view_decodes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "überall süß.png"
    path.write_bytes(encode(noise(100, 80), "PNG"))
    expected = center_view(noise(100, 80), VIEW)
    assert (read_view(str(path), VIEW) == expected).all()


def test_read_view_gives_a_mirrored_jpeg_of_mirrored_pixels(tmp_path: Path) -> None:
    path = tmp_path / "mirrored.jpg"
    path.write_bytes(oriented(scene(450, 300), "JPEG", 2, quality=95))  # margins of whole, even pixels
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(encode(scene(450, 300), "JPEG", quality=95))
    difference = np.abs(read_view(str(path), VIEW).astype(int) - read_view(str(plain), VIEW)[:, ::-1])
    assert difference.max() <= 2


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_half_a_png(path: Path) -> None:
    data = encode(noise(64, 48), "PNG")
    path.write_bytes(data[: len(data) // 2])


def leave_out(path: Path) -> None:
    """No file at all."""


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (write_nothing, "zero bytes"),
        (write_half_a_png, "truncated"),
        (leave_out, "no such file"),
        (Path.mkdir, "a folder, not a file"),
    ],
)
def test_read_view_names_the_file(tmp_path: Path, prepare: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "photo.png"
    prepare(path)
    with pytest.raises(UnreadableImageError, match=rf"photo\.png: {reason}") as caught:
        read_view(str(path), VIEW)
    assert str(caught.value).startswith(str(path))
