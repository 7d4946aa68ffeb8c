"""The demo's data: scikit-learn's bundled handwritten digits, as a folder of PNG files."""

import io
from pathlib import Path

import numpy as np

from headstart.run.atomic import write_bytes

_SCALE = 8


def write_digits(folder: Path) -> Path:
    """Write 1,797 digits as 64×64 PNG files, a folder a digit; files that are there are kept.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (1998), 8×8 pixels
    in 17 greys, as scikit-learn ships it.

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
        pixels = np.kron(255 - np.round(image * 255 / 16), np.ones((_SCALE, _SCALE))).astype(np.uint8)
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        write_bytes(path, png.getvalue())
    return root
