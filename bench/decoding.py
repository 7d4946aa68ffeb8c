"""The decoder against Pillow: bytes in memory to the 224-pixel centre view, one thread.

Ours is `decode` (libjpeg-turbo, scaled by 1/2, 1/4 or 1/8 where the picture is that much larger than 256)
and `center_view`. Pillow decodes in full, resizes the shorter side to 256 (bicubic) and crops the
centre. Small pictures are hotdog's files. Large ones are photos of that set enlarged to
4000x3000 and saved at quality 90: once as they are, and once with grain as a camera's sensor
gives it, which makes their files as large as a camera's. Both run through all pictures in turn, A B A B.

    python bench/decoding.py
"""

import io
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np
from PIL import Image, ImageOps

from headstart.backbones.catalogue import find_backbone
from headstart.data.decode import center_view, decode
from support import alternate, data_folder, make_parser, middle, print_table, seconds_of, verdict

LEAST_LARGE = 3.5
LARGE_SIZE = (4000, 3000)
GRAIN = 5.0
PREPROCESSING = find_backbone("lite0").preprocessing


def ours(data: bytes) -> np.ndarray:
    """Decode and crop by Headstart."""
    return center_view(decode(data, min_side_px=PREPROCESSING.resize_px), PREPROCESSING)


def pillows(data: bytes) -> np.ndarray:
    """Decode and crop as torchvision's Resize and CenterCrop do it on Pillow images."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = PREPROCESSING.resize_px / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    crop = PREPROCESSING.crop_px
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    resized = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def enlarge(data: bytes, grain: float) -> bytes:
    """Make a 12-megapixel JPEG of a photo."""
    photo = ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), LARGE_SIZE, Image.Resampling.LANCZOS)
    if grain:
        noise = np.random.default_rng(0).normal(0, grain, (*photo.size[::-1], 1))
        photo = Image.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()


def compare(name: str, pictures: Sequence[bytes], repeats: int, least: float | None) -> list[str]:
    """One row: milliseconds a picture of each, and how many times faster ours is."""

    def ms(decoder: Callable[[bytes], np.ndarray]) -> float:
        return 1000 * seconds_of(lambda: [decoder(data) for data in pictures]) / len(pictures)

    times = alternate(repeats, {"Pillow": partial(ms, pillows), "ours": partial(ms, ours)})
    ratios = [a / b for a, b in zip(times["Pillow"], times["ours"], strict=True)]
    kilobytes = sum(map(len, pictures)) / len(pictures) / 1000
    must = ("", "") if least is None else (f">= {least}x", verdict(median(ratios) >= least))
    return [
        name,
        f"{kilobytes:,.0f}",
        middle(times["Pillow"]),
        middle(times["ours"]),
        f"{median(ratios):.2f}x",
        *must,
    ]


def main() -> None:
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument("--large", type=int, default=6, help="how many large pictures (default 6)")
    options = parser.parse_args()
    files = sorted((data_folder("hotdog") / "test").rglob("*.jpg"))
    small = [file.read_bytes() for file in files[::4]]
    chosen = sorted(small, key=len)[-options.large :]
    plain = [enlarge(data, 0) for data in chosen]
    grainy = [enlarge(data, GRAIN) for data in chosen]
    print_table(
        f"Decoding to {PREPROCESSING.crop_px} px, one thread",
        ["JPEGs", "kB", "Pillow, ms", "ours, ms", "faster", "must", "reached"],
        [
            compare("hotdog's files", small, options.repeats, None),
            compare("12 megapixels, enlarged", plain, options.repeats, LEAST_LARGE),
            compare("12 megapixels, enlarged, with grain", grainy, options.repeats, LEAST_LARGE),
        ],
    )


if __name__ == "__main__":
    main()
