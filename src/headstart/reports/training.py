"""How the training went, in charts and words: epochs, or the search for the probe's strength."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from headstart.reports.charts import Axes, Series, draw_chart

Chart = tuple[str, Markup, Sequence[tuple[str, int]]]
"""A title, the picture and its legend: names and the numbers of their colours."""


def draw_epochs(epochs: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss and accuracy over the epochs, and where phases begin; nothing where there were none."""
    numbered = [{**epoch, "epoch": float(number)} for number, epoch in enumerate(epochs, 1)]
    names = [str(epoch.get("phase", "")) for epoch in epochs]
    begun = [k for k, name in enumerate(names) if k == 0 or name != names[k - 1]]
    marks = [(k + 0.5 if k else 1.0, names[k]) for k in begun] if len(begun) > 1 else []
    charts: list[Chart] = []
    for title, end, percent in (("Loss, nats", "loss", False), ("Accuracy", "accuracy", True)):
        series = [
            Series(name, *_points(numbered, f"{part}_{end}"), colour=colour)
            for name, part, colour in (("training", "train", 2), ("validation", "val", 0))
        ]
        chart = draw_chart(series, Axes("epoch", title, whole_x=True, percent=percent, marks=marks))
        if chart:
            charts.append((title, chart, [(one.name, one.colour) for one in series if one.x]))
    return charts


def _points(epochs: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    told = [(epoch["epoch"], epoch[name]) for epoch in epochs if name in epoch]
    return [x for x, _ in told], [y for _, y in told]


def describe_training(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was chosen in the end, and what was noticed on the way; a line each."""
    lines = []
    for event in history:
        match event:
            case {"event": "Finished", "best_epoch": int(epoch), "reason": str(reason)}:
                lines.append(
                    f"Epoch {epoch} had the lowest validation loss, and its weights were taken; {reason}."
                )
            case {"event": "RungEnded", "rung": str(rung), "kept": bool(kept), "reason": str(reason)}:
                lines.append(f"{rung}: {'kept' if kept else 'not kept'}; {reason}.")
            case {"event": "Blended", "alpha": int(alpha) | float(alpha), "chosen": True}:
                lines.append(f"The weights are {alpha:.0%} of the way from the training's start to its end.")
            case {"event": "Advice", "message": str(message)}:
                lines.append(message)
    return lines


def draw_search(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The probe's cross-validated log loss by the strength of its ridge; nothing where it was not solved."""
    groups: dict[str, dict[float, float]] = {}
    for trial in history:
        c, loss = trial.get("c"), trial.get("log_loss")
        if isinstance(c, int | float) and isinstance(loss, int | float) and c > 0:
            groups.setdefault(_name(trial), {})[float(c)] = float(loss)
    series = [
        Series(name, sorted(losses), [losses[c] for c in sorted(losses)], colour=number % 5)
        for number, (name, losses) in enumerate(groups.items())
    ]
    if not series or max(len(one.x) for one in series) < 2:
        return []
    title = "Cross-validated log loss, nats"
    chart = draw_chart(series, Axes("C, the inverse of the ridge's strength", title, log_x=True))
    return [(title, chart, [(one.name, one.colour) for one in series])]


def _name(trial: Mapping[str, Any]) -> str:
    parts = ["with mirrored pictures" if trial.get("mirrored") else "pictures as they are"]
    return ", ".join(parts + (["drawn towards the source's rows"] if trial.get("prior") else []))
