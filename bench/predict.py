"""Whether predicting keeps up with extraction, and how much memory it takes.

Speed: the same JPEGs (hotdog's, each with a comment of its own) as a folder, as tar shards and as a Parquet
table of bytes become rows of a Parquet file; extraction of the same files into an empty feature store stands
beside it. All run in turn on the same opened runtime, the ratio is taken in each round, and the median
counts. Names are listed and rows written within the time, the model is loaded before it.

Memory: `headstart predict` of a folder as a fresh process, at 2,000 and at 20,000 images; the kernel's
maximum resident set size.

    python bench/predict.py
    python bench/predict.py --repeats 1 --images 300 --most 2000     a quick trial
"""

import io
import shutil
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from memory import make_images
from support import (
    HEADSTART,
    alternate,
    data_folder,
    make_parser,
    middle,
    print_table,
    run,
    scratch_cache,
    verdict,
)

if TYPE_CHECKING:
    from headstart.classifier import Classifier

LEAST = 0.9
FEW_IMAGES, MOST_GROWTH_MB = 2000, 50
_SHARD_IMAGES = 500


def write_shards(paths: Sequence[Path], folder: Path) -> list[str]:
    """The files as tar shards."""
    folder.mkdir()
    shards = []
    for start in range(0, len(paths), _SHARD_IMAGES):
        shards.append(str(folder / f"{start:06}.tar"))
        with tarfile.open(shards[-1], "w") as archive:
            for path in paths[start : start + _SHARD_IMAGES]:
                info = tarfile.TarInfo(f"{path.parent.name}/{path.name}")
                data = path.read_bytes()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return shards


def write_table(paths: Sequence[Path], place: Path) -> str:
    """The files' bytes as a table, as Hugging Face writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    pq.write_table(pa.table({"image": pa.array(cells, kind)}), place, row_group_size=100)
    return str(place)


def predict_per_s(classifier: "Classifier", words: Sequence[str], out: Path, n: int) -> float:
    """Images a second from names to a file of rows."""
    from headstart.api.predict import Job
    from headstart.api.rows import Tally, write_rows
    from headstart.data.sources import open_sources

    started = time.perf_counter()
    sources = open_sources(words)
    job = Job(classifier, iter(sources), sources.total, 1, 0.0)
    tally = Tally()
    write_rows(tally.count(job.answer(job.pictures), lambda _: None), "parquet", 1, out)
    assert (tally.rows, tally.unreadable) == (n, 0)
    return n / (time.perf_counter() - started)


def extract_per_s(classifier: "Classifier", folder: Path, cache: Path) -> float:
    """Images a second of an extraction into an empty store; headers are read before."""
    from headstart.data.dataset import Dataset
    from headstart.features.extract import extract, open_store

    files = [sample.file for sample in Dataset.read(folder).samples]
    shutil.rmtree(cache, ignore_errors=True)
    trunk, runtime = classifier.trunk, classifier.runtime
    started = time.perf_counter()
    failures = extract(files, trunk, runtime, {"center": open_store(cache, trunk, runtime.name)})
    assert not failures, failures
    return len(files) / (time.perf_counter() - started)


def measure_speed(trained: Path, cache: Path, n: int, repeats: int) -> None:
    import headstart

    folder = cache.parent / "images"
    make_images(data_folder("hotdog") / "train", folder, n)
    paths = sorted(folder.rglob("*.jpg"))
    shards = write_shards(paths, cache.parent / "shards")
    table = write_table(paths, cache.parent / "table.parquet")
    classifier = headstart.load(trained, cache=cache)
    out = cache.parent / "rows.parquet"
    predict_per_s(classifier, [str(folder)], out, len(paths))  # the files are in the page cache from here on
    speeds = alternate(
        repeats,
        {
            "extraction": lambda: extract_per_s(classifier, folder, cache.parent / "empty"),
            "a folder": lambda: predict_per_s(classifier, [str(folder)], out, len(paths)),
            "tar shards": lambda: predict_per_s(classifier, shards, out, len(paths)),
            "a Parquet table": lambda: predict_per_s(classifier, [table], out, len(paths)),
        },
    )
    base = speeds.pop("extraction")
    rows = [["extraction, files to stored features", middle(base, 0), "", "", ""]]
    for name, values in speeds.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        reached = verdict(median(ratios) >= LEAST)
        rows.append(
            [f"predict, {name} to rows", middle(values, 0), middle(ratios, 3), f">= {LEAST}", reached]
        )
    print_table(
        f"Predicting {len(paths):,} images by {classifier.runtime.name}",
        ["", "images a second", "over extraction", "must", "reached"],
        rows,
    )


def peak_mb(trained: Path, cache: Path, n: int) -> float:
    """Peak megabytes of one prediction of `n` images in a folder; leaves no images."""
    images = cache.parent / "many"
    make_images(data_folder("hotdog") / "train", images, n)
    try:
        command = [HEADSTART, "predict", trained, images, "--cache", cache, "--quiet"]
        return run([*command, "--out", cache.parent / "many.parquet"]).peak_mb
    finally:
        shutil.rmtree(images)


def main() -> None:
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument("--images", type=int, default=2000, help="whose speed is measured (default 2000)")
    parser.add_argument("--most", type=int, default=20_000, help="of the larger folder (default 20,000)")
    options = parser.parse_args()
    with scratch_cache() as cache:
        trained = cache.parent / "run"
        run([HEADSTART, "train", data_folder("hymenoptera"), "--cache", cache, "--out", trained, "--quiet"])
        few, most = (
            peak_mb(trained, cache, n) for n in (FEW_IMAGES, options.most)
        )  # while this one is small
        print_table(
            "Peak memory of headstart predict",
            ["", "MB", "must", "reached"],
            [
                [f"{FEW_IMAGES:,} images", f"{few:,.0f}", "", ""],
                [f"{options.most:,} images", f"{most:,.0f}", "", ""],
                [
                    "growth",
                    f"{most - few:+,.0f}",
                    f"< {MOST_GROWTH_MB}",
                    verdict(most - few < MOST_GROWTH_MB),
                ],
            ],
        )
        measure_speed(trained, cache, options.images, options.repeats)


if __name__ == "__main__":
    main()
