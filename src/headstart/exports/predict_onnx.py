"""Predict with an exported model: python predict_onnx.py model.onnx IMAGE... (numpy, Pillow, onnxruntime)."""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read_view(path: str, settings: dict[str, Any]) -> Any:
    """Upright RGB over white, shorter side to resize_px, its central square: (crop_px, crop_px, 3) uint8."""
    resize, crop = settings["resize_px"], settings["crop_px"]
    image: Image.Image = Image.open(path)
    image.draft("RGB", (resize, resize))  # decodes a large JPEG at 1/2, 1/4 or 1/8, as in training
    shift = 4 if tuple(getattr(image, "tag_v2", {}).get(258, ())) == (12,) else 8  # of 12 or 16 bits
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit samples; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> shift).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    (width, height), scale = image.size, resize / min(image.size)
    w, h = max(round(width * scale), 1), max(round(height * scale), 1)
    x, y = (w - crop) // 2, (h - crop) // 2
    box = (x * width / w, y * height / h, (x + crop) * width / w, (y + crop) * height / h)
    how = Image.Resampling[settings["interpolation"].upper()]
    return np.asarray(image.convert("RGB").resize((crop, crop), how, box))


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    contract = json.loads(session.get_modelmeta().custom_metadata_map["headstart"])
    for name in sys.argv[2:]:
        view = read_view(name, contract["preprocessing"])
        p = session.run(["probabilities"], {"views": view[None]})[0][0].tolist()
        best = contract["classes"][p.index(max(p))]
        print(json.dumps({"path": name, "predicted": best, "probabilities": p}))
