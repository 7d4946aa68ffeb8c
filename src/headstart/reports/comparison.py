"""A comparison of recipes, models and seeds as one HTML page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from headstart.errors import DamagedRunError
from headstart.reports.charts import Axes, Series, draw_chart
from headstart.reports.layout import model_name, template
from headstart.reports.page import Page
from headstart.run.comparison import ComparisonFolder
from headstart.run.folder import check_version

_COLOURS = 5
_LEAST_S = 0.01  # a logarithm needs more than 0


def is_comparison(path: Path) -> bool:
    """Whether a finished comparison is at this place."""
    return ComparisonFolder(path).compare_json.is_file()


def render_comparison(path: Path) -> Page:
    """Make the page of a comparison from its folder alone.

    Raises:
        DamagedRunError: `compare.json` is damaged, or from a newer version.
    """
    file = ComparisonFolder(path).compare_json
    again = "Compare again with --resume, or restore it from a copy."
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        check_version(found, file)
        html = template("comparison.html.jinja").render(
            name=path.absolute().name,
            rows=[_row(row, found["best"]) for row in found["rows"]],
            trainings=found["trainings"],
            has_gains=any(row.get("gain") is not None for row in found["rows"]),
            images=found["images"],
            findings=[str(finding) for finding in found.get("findings", [])],
            ends=_ends(found["rows"]),
            accuracies=_draw_accuracies(found["rows"]),
            **_curves(found["trainings"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"{file} can't be read ({type(error).__name__}: {error}). {again}") from error
    return Page(html, (), ())


def _row(row: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, Any]:
    is_best = (row["recipe"], row["model"]) == (best["recipe"], best["model"])
    return {**row, "best": is_best, "model": row["model"], "gain": row.get("gain")}


def _ends(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """A range of shares that holds all intervals, for the bars."""
    lows = [row["test_accuracy_low"] for row in rows if row["test_accuracy_low"] is not None]
    return (max(min(lows, default=0.0) - 0.05, 0.0), 1.0)


def _draw_accuracies(rows: list[dict[str, Any]]) -> Markup:
    """Test accuracy of each row with its interval."""
    shown = [row for row in rows if row["test_accuracy"] is not None]
    names = [f"{k + 1}" for k in range(len(shown))]
    series = Series(
        "test accuracy",
        [float(k) for k in range(len(shown))],
        [row["test_accuracy"] for row in shown],
        [row["test_accuracy_low"] for row in shown],
        [row["test_accuracy_high"] for row in shown],
        line=False,
    )
    room = (-0.5, len(shown) - 0.5)
    return draw_chart([series], Axes("row of the table", "test accuracy", room, x_names=names, percent=True))


def _curves(trainings: list[dict[str, Any]]) -> dict[str, Any]:
    """Validation accuracy over seconds, a line a training; heads that were solved are dots."""
    recipes = list(dict.fromkeys(training["recipe"] for training in trainings))
    series = []
    for training in trainings:
        points = training.get("curve") or []
        series.append(
            Series(
                f"{training['recipe']} with {model_name(training['model'])}, seed {training['seed']}",
                [max(float(seconds), _LEAST_S) for seconds, _ in points],
                [float(accuracy) for _, accuracy in points],
                colour=recipes.index(training["recipe"]) % _COLOURS,
            )
        )
    axes = Axes("seconds of training", "validation accuracy", log_x=True, percent=True)
    legend = [(recipe, number % _COLOURS) for number, recipe in enumerate(recipes)]
    return {"curves": draw_chart(series, axes), "legend": legend}
