"""Does a learning curve foretell the truth? Fitted on half of a set, its 95 % interval should cover the
accuracy at full size on at least 3 of the 4 photo sets.

Each half is drawn at random, every class alike. The curve sees the half's training images alone, as
`headstart curve` would; what it foretells of twice as many is compared with a head solved on all of them,
judged by the same test images. With --halves 3 each set is tried three times.
"""

import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.api.plan import plan_split
from headstart.api.prepare import Prepared, prepare
from headstart.config import CurveConfig
from headstart.evaluation.curve import Learners, forecast, measure_curve, solve
from support import data_folder, make_parser, print_table, scratch_cache, verdict

SETS = ("hotdog", "cats_dogs", "hymenoptera", "cifar10")
LEAST_COVERED = 3


def learners_of(prepared: Prepared, rows: np.ndarray, groups: np.ndarray) -> Learners:
    dataset, store = prepared.dataset, prepared.stores["center"]
    keys = [dataset.samples[row].file.key for row in rows]
    labels = dataset.class_indices()[rows]
    return Learners(store.table(keys), keys, labels, groups[rows], len(dataset.classes))


def draw_half(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Half of each class's rows."""
    rng = np.random.default_rng(seed)
    own = [rng.permutation(rows[labels == k]) for k in np.unique(labels)]
    return np.sort(np.concatenate([some[: len(some) // 2] for some in own]))


def measure(name: str, cache: Path, seeds: int, halves: int) -> list[list[str]]:
    """A row a half."""
    config = CurveConfig(seeds=seeds)
    prepared = prepare(data_folder(name), config.training("lite0", has_test=True), cache, None)
    dataset, rows = prepared.dataset, []
    with threadpool_limits(1):
        plan = plan_split(dataset, prepared.stores["center"], prepared.config)
        train, test = plan.rows("train"), plan.rows("test")
        labels = dataset.class_indices()
        judged = prepared.stores["center"].table([dataset.samples[row].file.key for row in test])
        whole = solve(learners_of(prepared, train, plan.groups), judged, 0)
        truth = float((whole == labels[test]).mean())
        for number in range(halves):
            started = time.perf_counter()
            half = draw_half(train, labels[train], number)
            learners = learners_of(prepared, half, plan.groups)
            measured = measure_curve(learners, judged, labels[test], seeds=range(seeds))
            twice = forecast(measured)[0].accuracy
            covered = twice.low <= truth <= twice.high
            rows.append(
                [
                    name,
                    f"{len(half):,}",
                    f"{measured.accuracies()[-1].value:.4f}",
                    f"{twice.value:.4f} ({twice.low:.4f}-{twice.high:.4f})",
                    f"{truth:.4f}",
                    verdict(covered),
                    f"{time.perf_counter() - started:.1f}",
                ]
            )
    return rows


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5, help="series of subsets (default 5)")
    parser.add_argument("--halves", type=int, default=1, help="halves of each set (default 1)")
    parser.add_argument("--cache", type=Path, help="where features are kept; default: a temporary one")
    options = parser.parse_args()
    rows: list[list[str]] = []
    if options.cache:
        for name in options.sets:
            rows += measure(name, options.cache, options.seeds, options.halves)
    else:
        with scratch_cache() as cache:
            for name in options.sets:
                rows += measure(name, cache, options.seeds, options.halves)
    covered = {row[0] for row in rows} - {row[0] for row in rows if row[5] != verdict(True)}
    print_table(
        "Learning curves of halves, and the truth of the whole",
        ["set", "half", "accuracy", "foretold for the whole", "truth", "covered", "s"],
        rows,
    )
    print(
        f"\n{len(covered)} of {len(options.sets)} sets covered by every half; wanted at least {LEAST_COVERED}"
    )


if __name__ == "__main__":
    main()
