"""The demo's data: scikit-learn's bundled handwritten digits, as a folder of PNG files."""

import io
from pathlib import Path

import numpy as np

from headstart.run.atomic import converting_errors

_SIZE_PX = 80


def write_digits(folder: Path) -> Path:
    """Write 1,797 digits as 80-pixel PNG files, a folder a digit; files that are there are kept.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (1998), 8 by 8
    pixels in 17 greys, as scikit-learn ships it.

    Returns:
        `folder/digits`.

    Raises:
        StorageError: The folder can't be written.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    root = folder / "digits"
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = root / str(label) / f"{number:04}.png"
        if path.exists():
            continue
        dark_on_white = np.pad(255 - np.round(image * 255 / 16), 1, constant_values=255).astype(np.uint8)
        png = io.BytesIO()
        Image.fromarray(dark_on_white).resize((_SIZE_PX, _SIZE_PX), Image.Resampling.BICUBIC).save(png, "PNG")
        _write(path, png.getvalue())
    return root


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; unlike `write_bytes`, without waiting for the disk 1,797 times."""
    aside = path.with_suffix(".tmp")
    with converting_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        aside.replace(path)
