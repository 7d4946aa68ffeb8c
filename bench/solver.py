"""The head's solver against the extraction that feeds it, and against scikit-learn.

`headstart train` runs with an empty store, and its own stopwatch gives the seconds of extraction and of the
head (finding near-duplicates, sweep of strengths, calibration). On the features it stored, `fit_probe` and
scikit-learn's LogisticRegressionCV then sweep the same strengths over as many folds, and both fit
all rows once at the strength chosen: `difference` is the largest between their probabilities of training
rows. scikit-learn gets a tight tolerance for that one fit, and its default for the sweep.

    python bench/solver.py
    python bench/solver.py --sets hotdog     without cifar10, for which scikit-learn takes minutes
"""

import json
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from headstart.backbones.trunk import list_trunks
from headstart.data.dataset import Dataset
from headstart.data.splits import make_folds
from headstart.features.extract import open_store
from headstart.heads.logistic import LogisticPath
from headstart.heads.probe import Probe, fit_probe
from headstart.metrics.calibration import softmax
from support import HEADSTART, data_folder, make_parser, print_table, run, scratch_cache, seconds_of, verdict

FOLDS = 5
MOST_DIFFERENCE = 1e-4


def load_features(name: str, cache: Path, runtime: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training features `(N, d)`, labels `(N,)` and folds `(N,)` of a set that was trained on."""
    dataset = Dataset.read(data_folder(name))
    rows = [row for row, sample in enumerate(dataset.samples) if sample.split == "train"]
    keys = [dataset.samples[row].file.key for row in rows]
    labels = dataset.class_indices()[rows]
    (trunk,) = list_trunks(cache)
    folds = make_folds(keys, labels, np.arange(len(keys)), n_folds=FOLDS, seed=0)
    return open_store(cache, trunk, runtime).table(keys).matrix(), labels, folds


def as_sklearns(c: float, labels: np.ndarray) -> float:
    """The same strength in scikit-learn's terms.

    With two classes it penalises one vector w, where the multinomial form has w/2 and -w/2, whose
    squares sum to half as much.
    """
    return 2 * c if labels.max() == 1 else c


def sweep_with_sklearn(x: np.ndarray, labels: np.ndarray, strengths: list[float]) -> None:
    """Choose the strength by cross-validated log loss and refit, standardised once as is usual."""
    cs = [as_sklearns(c, labels) for c in strengths]
    model = LogisticRegressionCV(Cs=cs, cv=FOLDS, scoring="neg_log_loss", max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # announcements of later defaults
        model.fit(StandardScaler().fit_transform(x), labels)


def largest_difference(x: np.ndarray, labels: np.ndarray, c: float) -> float:
    """Between our probabilities of all rows and scikit-learn's, one fit of all rows each."""
    exact = LogisticRegression(C=as_sklearns(c, labels), max_iter=10_000, tol=1e-8)
    standard = StandardScaler().fit_transform(x.astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = exact.fit(standard, labels).predict_proba(standard)
    weights = np.ones((1, len(labels)), np.float32)
    path = LogisticPath(InMemory(x), labels, int(labels.max()) + 1, weights)
    logits = path.solve(1 / c).logits[:, 0].T
    return float(np.abs(softmax(logits.astype(np.float64)) - expected).max())


class InMemory:
    """A matrix as the solver's feature blocks."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.dim = x, x.shape[1]

    def __len__(self) -> int:
        return len(self.x)

    def blocks(self):
        yield slice(0, len(self.x)), self.x


def measure(name: str, cache: Path) -> list[str]:
    """One row of the table."""
    command = [
        HEADSTART,
        "train",
        data_folder(name),
        "--cache",
        cache,
        "--quiet",
        "--json",
        "--mirror",
        "off",
    ]
    result = json.loads(run([*command, "--out", cache.parent / "runs" / name]).output)
    settings = json.loads((Path(result["run"]) / "config.json").read_text(encoding="utf-8"))["headstart"]
    seconds = result["seconds"]
    x, labels, folds = load_features(name, cache, settings["runtime"])
    probes: list[Probe] = []

    def sweep() -> None:
        probes.append(fit_probe(InMemory(x), labels, int(labels.max()) + 1, folds, nested=False))

    ours_s = seconds_of(sweep)
    strengths = [trial.c for trial in probes[0].trials if trial.c is not None]
    sklearn_s = seconds_of(lambda: sweep_with_sklearn(x, labels, strengths))
    difference = largest_difference(x, labels, probes[0].c or strengths[0])
    return [
        name,
        f"{seconds['embedding']:.1f}",
        f"{seconds['head']:.2f}",
        f"{seconds['head'] / seconds['embedding']:.2f}",
        verdict(seconds["head"] <= seconds["embedding"]),
        f"{ours_s:.2f}",
        f"{sklearn_s:.1f}",
        f"1/{sklearn_s / ours_s:.0f}",
        f"{difference:.1e}",
        verdict(difference <= MOST_DIFFERENCE),
    ]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=["hotdog", "cifar10"])
    options = parser.parse_args()
    with scratch_cache() as cache:
        rows = [measure(name, cache) for name in options.sets]
    print_table(
        f"Solving the head; sweeps of the same strengths over {FOLDS} folds",
        [
            "set",
            "extraction, s",
            "head, s",
            "ratio",
            "<= 1",
            "our sweep, s",
            "scikit-learn's, s",
            "ratio",
            "difference",
            f"<= {MOST_DIFFERENCE:g}",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
