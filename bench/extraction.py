"""How near the embedding pass comes to its two parts: decoding and the network.

On hotdog's files, all cores busy in each: decoding alone (a pool of threads calls `read_view`), the trunk
alone (decoded views in memory, `embed_all`, which `headstart env --time` times, too), and the whole
`extract` from files to a feature store on disk. Were decoding and trunk done one after the other at
their best, an image would take 1/decode + 1/trunk seconds; the last row is extraction's speed over that.
Parts run A B C A B C, the ratio is taken in each round, and the median counts.

    python bench/extraction.py
    python bench/extraction.py --repeats 1 --images 400     a quick trial
"""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.choice import choose_runtime, embed_all
from headstart.backbones.runtime import Runtime
from headstart.backbones.trunk import Trunk, open_trunk
from headstart.config import Preprocessing
from headstart.data.dataset import Dataset
from headstart.data.decode import read_view
from headstart.data.files import ImageFile
from headstart.features.embed import read_sample
from headstart.features.extract import extract, open_store
from headstart.run.environment import available_cores
from support import alternate, data_folder, make_parser, middle, print_table, scratch_cache, verdict

LEAST = 1.0
_TRUNK_IMAGES = 1000
_CHUNK = 16


def per_s(n: int, job: Callable[[], object]) -> float:
    """Images a second of a job over `n` images."""
    started = time.perf_counter()
    job()
    return n / (time.perf_counter() - started)


def decode_all(files: Sequence[ImageFile], preprocessing: Preprocessing) -> None:
    """Decode every file on all cores and drop the views."""
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]

    def decode_chunk(chunk: Sequence[ImageFile]) -> None:
        for file in chunk:
            read_view(file.path, preprocessing)

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(decode_chunk, chunks))


def extract_all(files: Sequence[ImageFile], trunk: Trunk, runtime: Runtime, cache: Path) -> None:
    """Fill an empty store."""
    failures = extract(files, trunk, runtime, {"center": open_store(cache, trunk, runtime.name)})
    assert not failures, failures


def main() -> None:
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument("--images", type=int, help="take so many files only, spread evenly")
    options = parser.parse_args()
    files = [sample.file for sample in Dataset.read(data_folder("hotdog")).samples]
    if options.images:
        files = files[:: max(1, len(files) // options.images)]
    with scratch_cache() as cache:
        trunk = open_trunk(find_backbone("lite0"), cache)
        views = read_sample([file.path for file in files], trunk.preprocessing, _TRUNK_IMAGES)
        runtime = choose_runtime(trunk, views[:32])
        store_cache = cache.parent / "empty"

        def extraction_per_s() -> float:
            shutil.rmtree(store_cache, ignore_errors=True)
            return per_s(len(files), lambda: extract_all(files, trunk, runtime, store_cache))

        extraction_per_s()  # the files are in the page cache from here on
        speeds = alternate(
            options.repeats,
            {
                "decode": lambda: per_s(len(files), lambda: decode_all(files, trunk.preprocessing)),
                "trunk": lambda: per_s(len(views), lambda: embed_all(runtime, views)),
                "extraction": extraction_per_s,
            },
        )
    decode, trunk_speed, extraction = (np.array(speeds[name]) for name in ("decode", "trunk", "extraction"))
    ideal = 1 / (1 / decode + 1 / trunk_speed)
    ratios = list(extraction / ideal)
    reached = verdict(median(ratios) >= LEAST)
    print_table(
        f"Extraction of {len(files):,} hotdog images by {runtime.name}",
        ["images a second", "median (range)", "must", "reached"],
        [
            ["decode alone", middle(list(decode), 0), "", ""],
            ["trunk alone", middle(list(trunk_speed), 0), "", ""],
            ["one after the other: 1 / (1/decode + 1/trunk)", middle(list(ideal), 0), "", ""],
            ["extraction, files to stored features", middle(list(extraction), 0), "", ""],
            ["extraction / one after the other", middle(ratios, 3), f">= {LEAST}", reached],
        ],
    )


if __name__ == "__main__":
    main()
