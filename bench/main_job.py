"""The main job against the textbook's loop and a practised user's script; test accuracy on four sets.

Each repeat runs, in turn and each as a fresh process: `headstart train` on hotdog with an empty
feature store (the converted backbone is cached); the same again with the features stored; and
`textbook_loop.py`, of which --batches are timed and five epochs reckoned. Three repeats of the default 21
batches make one epoch. `practised_user.py` runs once. Wall seconds from before the process starts to
after it ends, but for the textbook's reckoning. Then `headstart train` runs on the four photo sets
with defaults.

    python bench/main_job.py
    python bench/main_job.py --repeats 1 --batches 4 --quick     a trial of some 30 seconds
"""

import json
import shutil
from pathlib import Path
from statistics import median

from support import (
    HEADSTART,
    alternate,
    data_folder,
    make_parser,
    middle,
    print_table,
    run,
    run_json,
    scratch_cache,
    verdict,
)

MOST_COLD, MOST_WARM = 1 / 50, 1 / 100
LEAST_ACCURACY = {"hotdog": 0.945, "cats_dogs": 0.985, "hymenoptera": 0.94, "cifar10": 0.78}


def train_s(data: str, cache: Path, *, empty_store: bool) -> float:
    """Wall seconds of one training."""
    if empty_store:
        shutil.rmtree(cache / "features", ignore_errors=True)
    out = cache.parent / "runs" / data
    return run([HEADSTART, "train", data_folder(data), "--cache", cache, "--out", out, "--quiet"]).seconds


def time_all(cache: Path, repeats: int, batches: int, *, with_user: bool) -> None:
    """Print the seconds, and the ratios of the medians."""
    times = alternate(
        repeats,
        {
            "cold": lambda: train_s("hotdog", cache, empty_store=True),
            "warm": lambda: train_s("hotdog", cache, empty_store=False),
            "textbook": lambda: run_json("textbook_loop.py", "--batches", str(batches))["total_s"],
        },
    )
    textbook = median(times["textbook"])
    rows = []
    for name, label, most in (
        ("cold", "headstart train, empty feature store", MOST_COLD),
        ("warm", "headstart train, features stored", MOST_WARM),
    ):
        ratio = median(times[name]) / textbook
        rows.append(
            [label, middle(times[name]), f"1/{1 / ratio:.0f}", f"<= 1/{1 / most:.0f}", verdict(ratio <= most)]
        )
    rows.append(["textbook loop, 5 epochs, reckoned", middle(times["textbook"], 0), "1", "", ""])
    if with_user:
        user = run_json("practised_user.py")
        label = f"practised user's script (accuracy {user['accuracy']:.4f})"
        rows.append([label, f"{user['total_s']:.1f}", f"1/{textbook / user['total_s']:.1f}", "", ""])
    print_table("hotdog: wall seconds", ["job", "seconds", "of the textbook's", "must", "reached"], rows)


def measure_accuracy(cache: Path, sets: list[str]) -> None:
    """Print the test accuracy of each set with its 95 % interval."""
    rows = []
    for name in sets:
        command = [HEADSTART, "train", data_folder(name), "--cache", cache, "--quiet", "--json"]
        found = json.loads(run([*command, "--out", cache.parent / "runs" / name]).output)
        test, least = found["metrics"]["test"], LEAST_ACCURACY[name]
        low, high = test["accuracy_interval"]
        rows.append(
            [
                name,
                f"{test['accuracy']:.4f}",
                f"{low:.3f}-{high:.3f}",
                f"{test['n']:,}",
                f">= {least}",
                verdict(test["accuracy"] >= least),
                f"{found['seconds']['total']:.1f}",
            ]
        )
    print_table(
        "Test accuracy, defaults",
        ["set", "accuracy", "95 % interval", "test images", "must", "reached", "seconds"],
        rows,
    )


def main() -> None:
    parser = make_parser(__doc__, repeats=3)
    parser.add_argument(
        "--batches", type=int, default=21, help="of the textbook's loop, timed in each repeat"
    )
    parser.add_argument(
        "--quick", action="store_true", help="without the practised user, and without cifar10's accuracy"
    )
    options = parser.parse_args()
    with scratch_cache() as cache:
        time_all(cache, options.repeats, options.batches, with_user=not options.quick)
        measure_accuracy(
            cache, [name for name in LEAST_ACCURACY if not (options.quick and name == "cifar10")]
        )


if __name__ == "__main__":
    main()
