"""What `headstart check` finds of what is planted into real photographs; `bench/check.py` measures more."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from support import Runner

A_CLASS, TESTED = 110, 40
LABEL_ERRORS, NEAR, LEAKS = 11, 12, 6  # 5 % and more of the training pictures, 2 % and more in the test


class Planted:
    """A set of cats and dogs, and the files that were planted into it."""

    def __init__(self, source: Path, root: Path) -> None:
        self.root = root
        self.wrong: set[str] = set()
        self.near: set[frozenset[str]] = set()
        self.leaks: set[str] = set()
        for part, count in (("train", A_CLASS), ("test", TESTED)):
            for name in ("cats", "dogs"):
                (root / part / name).mkdir(parents=True)
                for path in sorted((source / part / name).iterdir())[:count]:
                    shutil.copy(path, root / part / name / f"{part}-{path.name}")
        train = sorted((root / "train").rglob("*.jpg"))
        drawn = np.random.default_rng(0).permutation(len(train))[: LABEL_ERRORS + NEAR + LEAKS]
        chosen = [train[row] for row in drawn]
        for path in chosen[:LABEL_ERRORS]:
            other = {"cats": "dogs", "dogs": "cats"}[path.parent.name]
            moved = path.parents[1] / other / f"moved-{path.name}"
            path.rename(moved)
            self.wrong.add(str(moved))
        for number, path in enumerate(chosen[LABEL_ERRORS : LABEL_ERRORS + NEAR]):
            copy = path.with_name(f"copy-{path.name}")
            copy.write_bytes(_copy(Image.open(path).convert("RGB"), number % 3))
            self.near.add(frozenset((str(path), str(copy))))
        for path in chosen[LABEL_ERRORS + NEAR :]:
            copy = root / "test" / path.parent.name / f"leak-{path.name}"
            shutil.copy(path, copy)
            self.leaks.add(str(copy))


def _copy(image: Image.Image, kind: int) -> bytes:
    """Resized, re-encoded or cropped to 95 %."""
    width, height = image.size
    if kind == 0:
        image = image.resize((round(0.7 * width), round(0.7 * height)))
    elif kind == 2:
        dx, dy = round(0.025 * width), round(0.025 * height)
        image = image.crop((dx, dy, width - dx, height - dy))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50 if kind == 1 else 90)
    return file.getvalue()


def test_what_was_planted_is_found_as_well_as_promised(
    call: Runner, photo_sets: Path, tmp_path: Path
) -> None:
    planted = Planted(photo_sets / "cats_dogs", tmp_path / "planted")
    done = call("check", planted.root, "--json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    flags = [f["files"][0] for f in findings if f["kind"] == "label_error"]
    assert len(planted.wrong & set(flags[: 2 * LABEL_ERRORS])) >= 0.8 * LABEL_ERRORS
    leaks = [f for f in findings if f["kind"] == "leak"]
    assert planted.leaks <= {file for leak in leaks for file in leak["files"]}
    assert "leaked of 86 test pictures are worth" in leaks[0]["message"]
    copies = [f["files"] for f in findings if f["kind"] in {"near_duplicate", "conflict", "leak"}]
    pairs = {frozenset((a, b)) for files in copies for a in files for b in files if a != b}
    assert len(planted.near & pairs) >= 0.95 * NEAR
    exact = {pair for pair in pairs if pair & planted.leaks}
    assert len(pairs - planted.near - exact) <= 0.05 * NEAR
