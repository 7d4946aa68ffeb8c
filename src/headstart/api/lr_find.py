"""Learning-rate range test: which rate suits a recipe on these images."""

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from headstart.api.fitting import Fitting, open_fitting
from headstart.api.prepare import prepare
from headstart.api.trained import data_name
from headstart.api.tune import Start
from headstart.config import LrFindConfig, TuneConfig
from headstart.data.dataset import Dataset
from headstart.errors import ConfigError
from headstart.progress import Progress, Silent
from headstart.run.atomic import write_json, write_text
from headstart.run.folder import building_run, check_writable, named_run_folder, new_run_folder, run_name
from headstart.run.launch import check_alone
from headstart.run.lr_curve import LrCurve, save_lr_curve
from headstart.training.allocator import reusing_memory
from headstart.training.range_test import (
    Measured,
    Suggestion,
    exponential,
    measure_range,
    smooth,
    suggest,
)

_MOOT = (
    "epochs",
    "lr",
    "steps_per_epoch",
    "schedule",
    "ema",
    "patience",
    "wise_ft",
    "views",
    "log",
    "progressive",
)
_FAR = 10.0


@dataclass(frozen=True, slots=True)
class LrFound:
    """What a range test found.

    Attributes:
        folder: Holds `lr-find.png`, `lr-find.csv` and `lr-find.json`.
        lr: The rate suggested for `--lr`.
        reason: Why this one, in a sentence or two.
        suggestion: The rates that the losses speak of.
        measured: The losses.
        smoothed: Likewise, smoothed.
    """

    folder: Path
    lr: float
    reason: str
    suggestion: Suggestion
    measured: Measured
    smoothed: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, without the folder."""
        return {
            "lr": self.lr,
            "reason": self.reason,
            **{
                name: value for name, value in asdict(self.suggestion).items() if name not in {"lr", "reason"}
            },
            "diverged": self.measured.diverged,
            "lrs": list(self.measured.lrs),
            "losses": list(self.measured.losses),
            "smoothed": list(self.smoothed),
        }

    def to_csv(self) -> str:
        """One step a row."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["step", "lr", "loss", "smoothed"])
        rows = zip(self.measured.lrs, self.measured.losses, self.smoothed, strict=True)
        writer.writerows([step, *row] for step, row in enumerate(rows, 1))
        return text.getvalue()


@reusing_memory()
def lr_find(
    data: str | Path | Dataset,
    config: LrFindConfig | None = None,
    tuning: TuneConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> LrFound:
    """Train a few steps at rising learning rates, and tell which rate to take (Smith 2015).

    Args:
        data: As for `train`.
        config: Which recipe, and between which rates.
        tuning: How the backbone is trained: what a rate suits depends on all of it.
        out: A folder, numbered where it exists. Default: `runs/DATA-lr-find-N`.
        cache: Where features and converted backbones are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings or the disk need the user; or the loss is no number.
    """
    config, tuning, folder = config or LrFindConfig(), tuning or TuneConfig(), Path(out) if out else None
    check_alone("A range test")
    _check_not_moot(tuning)
    check_writable(folder or Path("runs/new"))
    prepared = prepare(data, config.training(), cache, progress or Silent())
    start = Start.make(prepared, replace(tuning, steps_per_epoch=config.steps, progressive=False))
    last = replace(start.phases[-1], epochs=1, lr=config.end_lr)
    n_classes = len(prepared.dataset.classes)
    with tempfile.TemporaryDirectory() as scratch:
        fitting = open_fitting(start.job, start.network, [last], Path(scratch))
        measured = _measure(fitting, Path(scratch), config, n_classes)
    suggestion = suggest(measured, n_classes)
    smoothed = tuple(map(float, smooth(measured.lrs, measured.losses)))
    name = run_name(data_name(prepared.dataset), "lr-find")
    final = named_run_folder(folder) if folder else new_run_folder(Path("runs"), name)
    found = LrFound(final, suggestion.lr, _explain(suggestion, measured), suggestion, measured, smoothed)
    _save(found, config, prepared.backbone.name)
    return found


def _check_not_moot(tuning: TuneConfig) -> None:
    """Refuse settings that a range test would silently ignore."""
    default = TuneConfig()
    given = [f.name for f in fields(tuning) if getattr(tuning, f.name) != getattr(default, f.name)]
    if idle := [f"--{name.replace('_', '-')}" for name in given if name in _MOOT]:
        raise ConfigError(
            f"{', '.join(idle)}: a range test is one short epoch at rates of its own, so this would do "
            "nothing. Leave it out; --start-lr, --end-lr and --steps say what is tried."
        )


def _measure(fitting: Fitting, folder: Path, config: LrFindConfig, n_classes: int) -> Measured:
    batches = fitting.batches(folder, n_views=1)
    schedule = exponential(config.start_lr, config.end_lr, config.steps)
    trainer = fitting.trainer(batches, schedule=schedule)
    progress = fitting.job.prepared.progress
    with progress.stage("Raising the learning rate", config.steps) as advance:
        return measure_range(trainer.run(), config.steps, n_classes, advance)


def _explain(suggestion: Suggestion, measured: Measured) -> str:
    """Why this rate, and what to mind."""
    if suggestion.reason == "fall":
        text = (
            f"a tenth of {suggestion.least:.1e}, where the smoothed loss is least: there it stands at the "
            "brink of rising. The steepest fall, a difference that noise moves more, lies at "
            f"{suggestion.steepest:.1e}"
        )
        ratio = suggestion.lr / (suggestion.steepest or suggestion.lr)
        text += ", ten times off or more: look at the plot." if not 1 / _FAR < ratio < _FAR else "."
    else:
        text = (
            "the loss does not fall by more than its noise, as where the head starts solved, so this is a "
            f"tenth of {suggestion.least:.1e}, the highest rate at which it has not begun to rise."
        )
    if not measured.diverged and suggestion.least >= measured.lrs[-1] / 2:
        text += " The loss had not begun to rise at the last rate: a higher --end-lr may say more."
    return text


def _save(found: LrFound, config: LrFindConfig, backbone: str) -> None:
    marks: Sequence[tuple[str, float | None]] = (
        ("suggested", found.lr),
        ("steepest fall", found.suggestion.steepest),
        ("least loss" if found.suggestion.reason == "fall" else "not yet rising", found.suggestion.least),
    )
    title = f"Learning-rate range test: {config.recipe}, {backbone}; {len(found.measured.lrs)} steps"
    curve = LrCurve(
        found.measured.lrs,
        found.measured.losses,
        found.smoothed,
        [(name, lr) for name, lr in marks if lr is not None],
        title + (", until the loss diverged" if found.measured.diverged else ""),
    )
    with building_run(found.folder) as building:
        save_lr_curve(building.path / "lr-find.png", curve)
        write_text(building.path / "lr-find.csv", found.to_csv())
        write_json(building.path / "lr-find.json", {"settings": asdict(config), **found.to_json()})
