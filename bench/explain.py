"""Do the maps show what matters? On 100 test photos, hiding the hottest tenth of each picture should lower
the predicted class's probability more than hiding a tenth of the same shape at a random place.

Also tells how far maps change when the head is replaced by a random one: the mean correlation of a
picture's two maps.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

import headstart
from headstart.data.decode import read_view
from headstart.evaluation.heat import falls_when_hidden
from headstart.evaluation.maps import open_mapper
from headstart.metrics.intervals import bootstrap_interval
from support import HEADSTART, data_folder, make_parser, print_table, run, scratch_cache, verdict


def train(name: str, cache: Path, folder: Path, model: str) -> Path:
    words = ["train", data_folder(name), "--model", model, "--mirror", "off", "--json", "--quiet"]
    return Path(json.loads(run([HEADSTART, *words, "--cache", cache, "--out", folder]).output)["run"])


def measure(name: str, run_folder: Path, cache: Path, n: int) -> list[str]:
    classifier = headstart.load(run_folder, cache=cache)
    mapper = open_mapper(classifier)
    paths = sorted(path for path in (data_folder(name) / "test").rglob("*") if path.is_file())
    chosen = [paths[row] for row in np.linspace(0, len(paths) - 1, n).astype(int)]
    views = np.stack([read_view(str(path), classifier.trunk.preprocessing) for path in chosen])
    hot, elsewhere = falls_when_hidden(mapper, views)
    more = hot - elsewhere
    low, high = bootstrap_interval(lambda drawn: float(more[drawn].mean()), n, seed=0)
    classes = mapper.logits(views).argmax(axis=1)
    weight = np.random.default_rng(0).standard_normal(classifier.weight.shape).astype(np.float32)
    random_head = open_mapper(replace(classifier, weight=weight / 30))
    pairs = zip(mapper.maps(views, classes), random_head.maps(views, classes), strict=True)
    alike = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    return [
        name,
        mapper.method,
        str(n),
        f"{hot.mean():.3f}",
        f"{elsewhere.mean():.3f}",
        f"{more.mean():.3f} ({low:.3f}-{high:.3f})",
        verdict(low > 0),
        f"{alike:.2f}",
    ]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=["hotdog", "cats_dogs"])
    parser.add_argument("--images", type=int, default=100, help="of each set (default 100)")
    parser.add_argument("--cache", type=Path, help="where features are kept; default: a temporary one")
    parser.add_argument("--model", default="lite0")
    options = parser.parse_args()
    with scratch_cache() as scratch:
        cache = options.cache or scratch
        rows = [
            measure(name, train(name, cache, scratch.parent / name, options.model), cache, options.images)
            for name in options.sets
        ]
    print_table(
        "Probability lost when a tenth of the picture is hidden",
        ["set", "maps", "images", "hottest", "elsewhere", "more (95 %)", "> 0", "map of a random head"],
        rows,
    )


if __name__ == "__main__":
    main()
