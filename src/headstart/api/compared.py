"""What a comparison found: a row for each recipe with each model, and which of them is best."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.api.outcome import Outcome
from headstart.errors import DamagedRunError
from headstart.metrics.intervals import mcnemar_exact
from headstart.metrics.paired import Estimate, mean_accuracy, mean_gain
from headstart.run.folder import FORMAT_VERSION

BASELINE = "scratch"
"""The recipe that gains are measured against."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One training.

    Attributes:
        recipe: Its name.
        model: The backbone, as the user named it.
        seed: Of the training.
        outcome: None where it failed.
        failure: Why it failed; empty where it didn't.
    """

    recipe: str
    model: str
    seed: int
    outcome: Outcome | None
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A recipe with a model, over all its seeds; means are over the trainings that came through.

    Attributes:
        recipe: Its name.
        model: The backbone, as the user named it.
        outcomes: Of the trainings that came through, in the order of their seeds.
        failures: Why others did not, each reason once.
        accuracy: On the test split.
        gain: Test accuracy above that of the recipe scratch with the same model.
        p_value: Exact McNemar test of `chosen` against the best row's, on the test split; None for the best
            row itself.
    """

    recipe: str
    model: str
    outcomes: tuple[Outcome, ...]
    failures: tuple[str, ...]
    accuracy: Estimate | None
    gain: Estimate | None
    p_value: float | None

    @property
    def chosen(self) -> Outcome | None:
        """The training of the lowest validation log loss; None where all failed."""
        return min(self.outcomes, key=lambda outcome: outcome.val.log_loss, default=None)

    @property
    def val_log_loss(self) -> float | None:
        """Mean validation log loss, by which the best row is chosen."""
        return self._mean([outcome.val.log_loss for outcome in self.outcomes])

    @property
    def val_accuracy(self) -> float | None:
        """Mean validation accuracy."""
        return self._mean([outcome.val.accuracy for outcome in self.outcomes])

    @property
    def seconds(self) -> float | None:
        """Mean seconds of a training, see `Outcome`."""
        return self._mean([outcome.seconds for outcome in self.outcomes])

    @property
    def images_per_s(self) -> float | None:
        """Mean rate; None where only heads were solved."""
        return self._mean([o.images_per_s for o in self.outcomes if o.images_per_s is not None])

    @property
    def parameters(self) -> int | None:
        """That learnt."""
        return self.outcomes[0].parameters if self.outcomes else None

    def _mean(self, values: Sequence[float]) -> float | None:
        return fmean(values) if values else None

    def flat(self) -> dict[str, Any]:
        """One line of `compare.csv`."""
        chosen = self.chosen
        return {
            "recipe": self.recipe,
            "model": self.model,
            "trainings": len(self.outcomes),
            **_flat_estimate("test_accuracy", self.accuracy),
            **_flat_estimate("gain", self.gain),
            "val_log_loss": self.val_log_loss,
            "val_accuracy": self.val_accuracy,
            "seconds": self.seconds,
            "images_per_s": self.images_per_s,
            "parameters": self.parameters,
            "mcnemar_p": self.p_value,
            "run": chosen.run.name if chosen else None,
            "failure": " ".join(self.failures),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: Where its runs, `compare.json`, `compare.csv` and `compare.png` are.
        rows: A row for each recipe with each model, in the order asked for.
        best: The row of the lowest mean validation log loss; test images have no say in it.
        cells: All trainings.
        images: How many images learnt (`train`), chose (`val`) and measured (`test`).
        findings: What was noticed about the data, a line each.
    """

    folder: Path
    rows: tuple[Row, ...]
    best: Row
    cells: tuple[Cell, ...]
    images: Mapping[str, int]
    findings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, numbers and None, fit for `compare.json`; runs by their folders' names."""
        return {
            "format_version": FORMAT_VERSION,
            "chosen_by": "mean validation log loss",
            "best": {"recipe": self.best.recipe, "model": self.best.model},
            "images": dict(self.images),
            "rows": [row.flat() for row in self.rows],
            "trainings": [
                {
                    "recipe": cell.recipe,
                    "model": cell.model,
                    "seed": cell.seed,
                    "failure": cell.failure or None,
                    **(cell.outcome.to_json() if cell.outcome else {}),
                }
                for cell in self.cells
            ],
            "findings": list(self.findings),
        }

    def to_csv(self) -> str:
        """The rows as a table."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0].flat()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.flat() for row in self.rows)
        return text.getvalue()


def make_rows(cells: Sequence[Cell]) -> tuple[tuple[Row, ...], Row | None]:
    """Put trainings that differ in their seed alone into one row each; also return the best row.

    Raises:
        DamagedRunError: Two runs were measured on different images.
    """
    names = list(dict.fromkeys((cell.recipe, cell.model) for cell in cells))
    groups = {name: [cell for cell in cells if (cell.recipe, cell.model) == name] for name in names}
    outcomes = {name: [cell.outcome for cell in group if cell.outcome] for name, group in groups.items()}
    _check_same_images([outcome for group in outcomes.values() for outcome in group])
    losses = {name: fmean(o.val.log_loss for o in group) for name, group in outcomes.items() if group}
    best_name = min(losses, key=lambda name: losses[name], default=None)
    best = None if best_name is None else min(outcomes[best_name], key=lambda outcome: outcome.val.log_loss)
    rows = {}
    for name, group in outcomes.items():
        recipe, model = name
        baseline = outcomes.get((BASELINE, model), []) if recipe != BASELINE else []
        row = Row(
            recipe,
            model,
            tuple(group),
            tuple(dict.fromkeys(cell.failure for cell in groups[name] if cell.failure)),
            mean_accuracy(_stack(group)) if group else None,
            mean_gain(_stack(group), _stack(baseline)) if group and baseline else None,
            None,
        )
        if best and row.chosen and name != best_name:
            row = replace(row, p_value=mcnemar_exact(row.chosen.correct, best.correct))
        rows[name] = row
    return tuple(rows.values()), rows[best_name] if best_name else None


def _stack(outcomes: Sequence[Outcome]) -> NDArray[np.bool_]:
    return np.stack([outcome.correct for outcome in outcomes])


def _check_same_images(outcomes: Sequence[Outcome]) -> None:
    for other in outcomes[1:]:
        if other.images != outcomes[0].images:
            raise DamagedRunError(
                f"{other.run} and {outcomes[0].run} were measured on different images, so they can't be "
                "compared. Remove the one that is not of this comparison, and compare again with --resume."
            )


def _flat_estimate(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
    }
