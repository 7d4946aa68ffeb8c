"""Peak memory of `headstart train` at 2,000 and at 50,000 images.

hotdog's training files are repeated under new names, each with a JPEG comment of its own after the first
marker: the pictures and their decoding stay the same, the content hashes differ, and nothing is taken from a
store. There is no test split, so the probe is measured by nested cross-validation, the most that it
ever does. Each training is a fresh process with an empty feature store (the converted backbone
is cached); the kernel's maximum resident set size is read when it ends.

50,000 images take some minutes and 3 GB of the temporary folder (TMPDIR moves it; take a disk, as a
folder in memory would count).

    python bench/memory.py
    python bench/memory.py --images 4000     a quick trial
"""

import json
import shutil
from itertools import cycle, islice
from pathlib import Path

from support import HEADSTART, data_folder, make_parser, print_table, run, scratch_cache, verdict

BASE_IMAGES = 2000
MOST_GROWTH_MB = 150
_SOI, _COMMENT = b"\xff\xd8", b"\xff\xfe"


def with_comment(data: bytes, text: str) -> bytes:
    """The same JPEG with a comment segment after its start-of-image marker."""
    body = text.encode()
    return _SOI + _COMMENT + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def make_images(source: Path, folder: Path, n: int) -> None:
    """Fill `folder/CLASS/` with `n` JPEGs, as many of each class."""
    classes = [path for path in sorted(source.iterdir()) if path.is_dir()]
    for label in classes:
        (folder / label.name).mkdir(parents=True)
        jpegs = [data for path in sorted(label.iterdir()) if (data := path.read_bytes()).startswith(_SOI)]
        for number, data in enumerate(islice(cycle(jpegs), n // len(classes))):
            (folder / label.name / f"{number:06}.jpg").write_bytes(with_comment(data, f"copy {number}"))


def train(cache: Path, n: int) -> tuple[float, dict[str, float]]:
    """Peak megabytes of one training on `n` images, and its seconds by stage; leaves no images."""
    images = cache.parent / "images"
    shutil.rmtree(cache / "features", ignore_errors=True)
    make_images(data_folder("hotdog") / "train", images, n)
    try:
        command = [HEADSTART, "train", images, "--cache", cache, "--quiet", "--json", "--mirror", "off"]
        finished = run([*command, "--out", cache.parent / "run"])
    finally:
        shutil.rmtree(images)
    return finished.peak_mb, json.loads(finished.output)["seconds"]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=50_000, help="the larger set (default 50,000)")
    options = parser.parse_args()
    rows, peaks = [], []
    with scratch_cache() as cache:
        for n in (BASE_IMAGES, options.images):
            peak_mb, seconds = train(cache, n)
            peaks.append(peak_mb)
            stages = ", ".join(f"{name} {s:.1f}" for name, s in seconds.items() if s >= 0.05)
            rows.append([f"{n:,} images", f"{peak_mb:,.0f}", "", "", stages])
    growth = peaks[1] - peaks[0]
    rows.append(["growth", f"{growth:+,.0f}", f"< {MOST_GROWTH_MB}", verdict(growth < MOST_GROWTH_MB), ""])
    print_table("Peak memory of headstart train", ["", "MB", "must", "reached", "seconds by stage"], rows)


if __name__ == "__main__":
    main()
