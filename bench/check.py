"""Plant what spoils data into clean sets with a fixed seed, and see how much of it `headstart check` finds.

Planted: 5 % label errors, 3 % near-duplicates (resized, re-encoded or cropped to 95 %), 2 % copies of
training pictures in the test split; each in a set of its own, so that a find can be told from a side effect.
The sets have copies and wrong labels of their own: pairs found before planting don't count as false.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from support import HEADSTART, data_folder, make_parser, print_table, seconds_of, verdict

SEED = 0
SETS = ("cats_dogs", "hymenoptera", "hotdog", "cifar10")
LABEL_ERRORS, NEAR, LEAKS = 0.05, 0.03, 0.02
HOTDOGS_A_CLASS = 300

Found = list[dict[str, object]]


def link_set(name: str, root: Path) -> dict[str, list[Path]]:
    """Links to a set's pictures, all in class folders without splits; a part of the hotdogs."""
    by_class: dict[str, list[Path]] = {}
    for part in ("train", "test"):
        for folder in sorted((data_folder(name) / part).iterdir()):
            files = sorted(folder.iterdir())[: HOTDOGS_A_CLASS if name == "hotdog" else None]
            target = root / folder.name
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                link = target / f"{part}-{file.name}"
                link.symlink_to(file)
                by_class.setdefault(folder.name, []).append(link)
    return by_class


def encode(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def resized(image: Image.Image) -> bytes:
    return encode(image.resize((round(0.7 * image.width), round(0.7 * image.height))), 90)


def reencoded(image: Image.Image) -> bytes:
    return encode(image, 50)


def cropped(image: Image.Image) -> bytes:
    dx, dy = round(0.025 * image.width), round(0.025 * image.height)
    return encode(image.crop((dx, dy, image.width - dx, image.height - dy)), 90)


COPIES: tuple[Callable[[Image.Image], bytes], ...] = (resized, reencoded, cropped)


def check(data: Path, cache: Path) -> Found:
    """Run the real command; 1 only means that something was found."""
    command = [HEADSTART, "check", str(data), "--json", "--quiet", "--cache", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    found: Found = json.loads(done.stdout)["findings"]
    return found


def draw(pictures: list[Path], share: float, rng: np.random.Generator) -> list[Path]:
    rows = rng.choice(len(pictures), round(share * len(pictures)), replace=False)
    return [pictures[row] for row in sorted(rows)]


def measure_labels(name: str, folder: Path, cache: Path) -> list[str]:
    by_class = link_set(name, folder)
    rng, classes = np.random.default_rng(SEED), sorted(by_class)
    planted = set()
    for link in draw([p for c in classes for p in by_class[c]], LABEL_ERRORS, rng):
        others = [c for c in classes if c != link.parent.name]
        moved = folder / others[rng.integers(len(others))] / f"moved-{link.parent.name}-{link.name}"
        link.rename(moved)
        planted.add(str(moved))
    flags = [f["files"][0] for f in check(folder, cache) if f["kind"] == "label_error"]  # type: ignore[index]
    recall = len(planted & set(flags[: 2 * len(planted)])) / len(planted)
    precision = len(planted & set(flags)) / max(len(flags), 1)
    return [
        name,
        "label errors",
        str(len(planted)),
        f"{recall:.3f}",
        f"{precision:.3f}",
        verdict(recall >= 0.8),
    ]


def measure_near(name: str, folder: Path, cache: Path) -> list[str]:
    by_class = link_set(name, folder)
    rng = np.random.default_rng(SEED)
    pictures = [p for c in sorted(by_class) for p in by_class[c]]
    before = pairs_of(check(folder, cache))
    planted = set()
    for number, link in enumerate(draw(pictures, NEAR, rng)):
        copy = link.with_name(f"copy-{link.stem}.jpg")
        with Image.open(link) as image:
            copy.write_bytes(COPIES[number % len(COPIES)](image.convert("RGB")))
        planted.add(frozenset((str(link), str(copy))))
    found = pairs_of(check(folder, cache)) - before
    originals = {max(p, key=lambda f: "copy-" in f): min(p, key=lambda f: "copy-" in f) for p in planted}
    # A copy of one of an older pair is rightly found with both: judged by their originals.
    wrong = {
        pair
        for pair in found - planted
        if len(o := frozenset(originals.get(f, f) for f in pair)) > 1 and o not in before
    }
    recall = len(found & planted) / len(planted)
    precision = len(found & planted) / max(len(found & planted) + len(wrong), 1)
    reached = recall >= 0.95 and precision >= 0.95
    return [name, "near-duplicates", str(len(planted)), f"{recall:.3f}", f"{precision:.3f}", verdict(reached)]


def pairs_of(findings: Found) -> set[frozenset[str]]:
    pairs = set()
    for finding in findings:
        if finding["kind"] in {"near_duplicate", "exact_duplicate", "conflict", "leak"}:
            files = [str(file) for file in finding["files"]]  # type: ignore[attr-defined]
            pairs |= {frozenset((a, b)) for i, a in enumerate(files) for b in files[i + 1 :]}
    return pairs


def measure_leaks(name: str, folder: Path, cache: Path) -> list[str]:
    rng = np.random.default_rng(SEED)
    train: list[Path] = []
    for part in ("train", "test"):
        for source in sorted((data_folder(name) / part).iterdir()):
            target = folder / part / source.name
            target.mkdir(parents=True)
            for file in sorted(source.iterdir())[: HOTDOGS_A_CLASS if name == "hotdog" else None]:
                (target / file.name).symlink_to(file)
                train += [target / file.name] if part == "train" else []
    planted = set()
    for file in draw(train, LEAKS, rng):
        copy = folder / "test" / file.parent.name / f"leak-{file.name}"
        shutil.copy(file, copy)
        planted.add(str(copy))
    leaks = [f for f in check(folder, cache) if f["kind"] == "leak"]
    found = planted & {str(file) for f in leaks for file in f["files"]}  # type: ignore[attr-defined]
    recall = len(found) / len(planted)
    return [name, "exact leaks", str(len(planted)), f"{recall:.3f}", "", verdict(recall == 1)]


class Stages:
    """Seconds of each stage of a check."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        started = time.perf_counter()
        yield lambda _: None
        self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - started

    def note(self, message: str) -> None:
        """Nothing to time."""


def measure_time(title: str, folder: Path, cache: Path, most: int) -> None:
    """The second check of a folder, as a process and by stages."""
    check(folder, cache)
    seconds = seconds_of(lambda: check(folder, cache))
    print_table(
        title, ("seconds", "most", "reached"), [[f"{seconds:.1f}", f"{most}", verdict(seconds <= most)]]
    )
    import headstart as hs

    stages = Stages()
    inside = seconds_of(lambda: hs.check(folder, cache=cache, progress=stages))
    rows = [[name, f"{value:.2f}"] for name, value in stages.seconds.items()]
    rows.append(["between stages", f"{inside - sum(stages.seconds.values()):.2f}"])
    print_table(f"{title}, by stages", ("stage", "seconds"), rows)


def paint_many(folder: Path, classes: int, a_class: int) -> None:
    """Tiny pictures of many classes, each class of a colour and a pattern of its own."""
    rng = np.random.default_rng(SEED)
    for name in range(classes):
        pattern = rng.integers(0, 256, (4, 4, 3)).repeat(4, axis=0).repeat(4, axis=1)
        (folder / f"c{name:04}").mkdir(parents=True)
        for number in range(a_class):
            pixels = np.clip(pattern + rng.normal(0, 25, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"c{name:04}" / f"{number}.png")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--cache", type=Path, help="with stored features; default: a new one")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--many", action="store_true", help="time 5,000 classes, too: embeds 15,000 pictures")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as place:
        cache = arguments.cache or Path(place) / "cache"
        for name in filter(None, arguments.sets.split(",")):
            for measure in (measure_labels, measure_near, measure_leaks):
                rows.append(measure(name, Path(place) / f"{name}-{measure.__name__}", cache))
                print(*rows[-1], flush=True)
        header = ("set", "planted", "count", "recall", "precision", "reached")
        if rows:
            print_table("What check finds of what was planted", header, rows)
        if "cifar10" in arguments.sets:
            folder = Path(place) / "ten-thousand"
            shutil.copytree(data_folder("cifar10") / "train", folder, symlinks=True)
            measure_time("10,000 pictures with stored features", folder, cache, most=15)
        if arguments.many:
            folder = Path(place) / "many"
            paint_many(folder, 5000, 3)
            measure_time("15,000 pictures of 5,000 classes with stored features", folder, cache, most=120)


if __name__ == "__main__":
    main()
