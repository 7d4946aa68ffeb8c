"""Curve: accuracy against the number of images, and what more of them would bring."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.api.findings import describe_few, describe_findings
from headstart.api.plan import SplitPlan, plan_split
from headstart.api.prepare import Prepared, prepare
from headstart.api.trained import data_name
from headstart.backbones.catalogue import DEFAULT
from headstart.config import CurveConfig
from headstart.data.dataset import Dataset
from headstart.errors import ConfigError
from headstart.evaluation.curve import (
    Forecast,
    Learners,
    Measured,
    Need,
    backtest,
    find_needs,
    fit_curve,
    forecast,
    measure_curve,
    plan_sizes,
)
from headstart.evaluation.curve_picture import save_curve
from headstart.evaluation.power_law import PowerLaws
from headstart.metrics.paired import Estimate
from headstart.progress import Progress, Silent
from headstart.run.atomic import numbering, write_json
from headstart.run.figures import check_png
from headstart.run.folder import FORMAT_VERSION, RunFolder
from headstart.run.tables import read_split

_SHOWN_NEEDS = 3


@dataclass(frozen=True, slots=True, eq=False)
class LearningCurve:
    """What more images brought, and would bring.

    Attributes:
        model: The backbone.
        held_out: Whether the test images are a held-out part, not a test split of the data's own.
        measured: What was measured.
        law: Fitted to it; None with fewer than three sizes, and then nothing is foretold.
        forecasts: Of 2 and 4 times as many images.
        missed: How far the law missed the accuracy of all images, fitted on up to half of them.
        needs: The classes, the one that would gain most first.
        findings: What was noticed about the data, a line each.
        files: What was written.
    """

    model: str
    held_out: bool
    measured: Measured
    law: PowerLaws | None
    forecasts: tuple[Forecast, ...]
    missed: float | None
    needs: tuple[Need, ...]
    findings: tuple[str, ...]
    files: tuple[Path, ...]

    def describe(self) -> list[str]:
        """What it means, in plain words; the accuracy comes first."""
        now, n_test = self.measured.accuracies()[-1], len(self.measured.labels)
        whose = "held-out" if self.held_out else "test"
        whole = f"{self.measured.sizes[-1]:,} training images"
        lines = [f"{whole} give {_percent(now)} of {n_test:,} {whose} images right ({_interval(now)})."]
        lines += [
            f"{some.factor} times as many ({some.n:,}) would give about {_percent(some.accuracy)} "
            f"({_interval(some.accuracy)})."
            for some in self.forecasts
        ]
        if self.law is None:
            lines.append("Too few images for a law: add some, and it will say what more would bring.")
        return lines + self._needs_in_words()

    def to_json(self) -> dict[str, Any]:
        """For `curve.json`."""
        points = [
            {
                "n": int(n),
                "accuracy": estimate.value,
                "interval": [estimate.low, estimate.high],
                "draws": [float(share) for share in correct.mean(axis=1)],
            }
            for n, estimate, correct in zip(
                self.measured.sizes, self.measured.accuracies(), self.measured.correct(), strict=True
            )
        ]
        law = self.law and {
            "floor": float(self.law.floor[0]),
            "scale": float(self.law.scale[0]),
            "decay": float(self.law.decay[0]),
        }
        return {
            "format_version": FORMAT_VERSION,
            "model": self.model,
            "measured_on": "held-out" if self.held_out else "test",
            "n_test": len(self.measured.labels),
            "points": points,
            "error_law": law,
            "forecasts": [
                {
                    "factor": some.factor,
                    "n": some.n,
                    "accuracy": some.accuracy.value,
                    "interval": [some.accuracy.low, some.accuracy.high],
                }
                for some in self.forecasts
            ],
            "missed_by": self.missed,
            "classes": [asdict(need) for need in self.needs],
            "summary": self.describe(),
            "findings": list(self.findings),
        }

    def _needs_in_words(self) -> list[str]:
        told = [(need, need.gain) for need in self.needs if need.gain is not None]
        gaining = [(need, gain) for need, gain in told if gain.value >= 0.001][:_SHOWN_NEEDS]
        if not self.forecasts or not told:
            return []
        if not gaining:
            return ["No class would gain as much as 0.1 % from twice as many images."]
        (first, gain), *rest = gaining
        others = "".join(f"; then {need.name!r} {100 * gain.value:z.1f}" for need, gain in rest)
        more = f"{100 * gain.value:z.1f} % more of it found ({100 * gain.low:z.1f} to {100 * gain.high:z.1f})"
        return [f"Class {first.name!r} would gain most: of twice as many images {more}{others}."]


def curve(
    data: str | Path | Dataset,
    config: CurveConfig | None = None,
    *,
    run: str | Path | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> LearningCurve:
    """Measure heads on nested subsets of the stored features, and foretell what more images would bring.

    Args:
        data: As for training.
        config: What to measure.
        run: A run trained on these images; `curve.json` and `curve.png` are written into it.
        out: A PNG, numbered where it exists. Default: `DATA-curve.png`, or with `run` none.
        cache: Where features are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings or the disk need the user.
    """
    config, progress = config or CurveConfig(), progress or Silent()
    folder = None if run is None else RunFolder.open(Path(run))
    dataset = (
        Dataset.read(data, strict=config.strict, progress=progress) if not isinstance(data, Dataset) else data
    )
    wanted = _wanted_picture(dataset, folder, out)
    model = _choose_model(config, folder)
    if folder is not None:
        _check_same_images(folder, dataset)
    has_test = any(sample.split == "test" for sample in dataset.samples)
    prepared = prepare(dataset, config.training(model, has_test=has_test), cache, progress)
    with threadpool_limits(
        1
    ):  # small problems: a second thread gains little, and on a busy machine costs much
        plan = plan_split(prepared.dataset, prepared.stores["center"], prepared.config)
        measured = _measure(prepared, plan, config)
        found = _make(prepared, plan, measured, held_out=not has_test)
    return _save(found, folder, wanted)


def _wanted_picture(dataset: Dataset, folder: RunFolder | None, out: str | Path | None) -> Path | None:
    """Where the PNG goes, apart from the run; checked before the work.

    Raises:
        ConfigError: It can't be a PNG.
        StorageError: It can't be written there.
    """
    if out is None and folder is not None:
        check_png(folder.curve_png)
        return None
    wanted = Path(out) if out is not None else Path(f"{data_name(dataset)}-curve.png")
    check_png(wanted)
    return wanted


def _choose_model(config: CurveConfig, folder: RunFolder | None) -> str:
    """The backbone asked for, or the run's.

    Raises:
        ConfigError: The run has another one.
    """
    if folder is None:
        return config.model or DEFAULT
    own = str(folder.read_config()["headstart"]["settings"]["model"])
    if config.model not in {None, own}:
        raise ConfigError(
            f"{folder.path} was trained on {own}, so a curve of {config.model} isn't its own. Leave out "
            "--model or --run."
        )
    return own


def _check_same_images(folder: RunFolder, dataset: Dataset) -> None:
    """See that a run was trained on these images, or on some of them.

    Raises:
        ConfigError: It shares none with them.
        DamagedRunError: Its `split.parquet` can't be read.
    """
    known = set(read_split(folder.split_parquet).keys)
    if not any(sample.file.key in known for sample in dataset.samples):
        raise ConfigError(
            f"{folder.path} was trained on none of the images of {dataset.root}, so their curve isn't its "
            "own. Give the data that it was trained on, or leave out --run."
        )


def _measure(prepared: Prepared, plan: SplitPlan, config: CurveConfig) -> Measured:
    dataset, store = prepared.dataset, prepared.stores["center"]
    labels, train, test = dataset.class_indices(), plan.rows("train"), plan.rows("test")
    if not len(test):
        raise ConfigError(
            f"Nothing of {dataset.root} can be held out to measure on: each class is one group of copies or "
            "near-duplicates. Add different images, or a test/ folder."
        )
    keys = [sample.file.key for sample in dataset.samples]
    learning = [keys[row] for row in train]
    learners = Learners(
        store.table(learning), learning, labels[train], plan.groups[train], len(dataset.classes)
    )
    judged = store.table([keys[row] for row in test])
    seeds = [(config.seed + offset) % 2**32 for offset in range(config.seeds)]
    n_heads = (len(plan_sizes(np.bincount(labels[train]))) - 1) * len(seeds) + 1
    with prepared.progress.stage("Solving heads on subsets", n_heads) as advance:
        return measure_curve(learners, judged, labels[test], seeds=seeds, advance=advance)


def _make(prepared: Prepared, plan: SplitPlan, measured: Measured, *, held_out: bool) -> LearningCurve:
    dataset = prepared.dataset
    enough = len(measured.sizes) >= 3
    train = np.bincount(dataset.class_indices()[plan.rows("train")], minlength=len(dataset.classes))
    counts = dict(zip(dataset.classes, train.tolist(), strict=True))
    seed = prepared.config.seed
    findings = (*describe_findings(dataset, plan), *describe_few(len(measured.labels)))
    return LearningCurve(
        model=prepared.backbone.name,
        held_out=held_out,
        measured=measured,
        law=fit_curve(measured) if enough else None,
        forecasts=tuple(forecast(measured, seed=seed)) if enough else (),
        missed=backtest(measured, 2) if enough else None,
        needs=tuple(find_needs(measured, counts, seed=seed)),
        findings=findings,
        files=(),
    )


def _save(found: LearningCurve, folder: RunFolder | None, wanted: Path | None) -> LearningCurve:
    """Write the picture, and into the run also the numbers.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    title = f"Accuracy against the number of images ({found.model})"
    files: list[Path] = []
    if folder is not None:
        write_json(folder.curve_json, found.to_json())
        save_curve(folder.curve_png, title, found.measured, found.law, found.forecasts)
        files += [folder.curve_json, folder.curve_png]
    if wanted is not None:
        with numbering(wanted) as file:
            save_curve(file, title, found.measured, found.law, found.forecasts)
        files.append(file)
    return replace(found, files=tuple(files))


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} %"


def _interval(estimate: Estimate) -> str:
    return f"95 % interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
