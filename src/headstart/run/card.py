"""The model card: the run's `README.md`, as people and the Hugging Face Hub read it."""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jinja2 import Template

_HUB_LICENCES = {  # the Hub's own identifiers that backbones use; another must be "other" with a name
    *("afl-3.0", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "cc", "cc0-1.0"),
    *(
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-4.0",
    ),
    *(
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "gpl-2.0",
        "gpl-3.0",
        "isc",
        "lgpl-3.0",
    ),
    *("mit", "mpl-2.0", "openrail", "unlicense", "wtfpl", "zlib"),
}
_HOW = {
    "test": "They took no part in training or in any choice, and were read once, at the end.",
    "val": "They took no part in training, but in choices, so expect a little less on new images.",
    "cross-validation": (
        "Measured by nested cross-validation: each image was judged by a model that had not seen it, "
        "in training or in choosing. The model in this folder was then fitted on all of them."
    ),
    "cross-validation (not nested)": (
        "Measured by cross-validation (not nested): each image was judged by a model that had not seen it in "
        "training, but the strength of the ridge and the calibration were chosen on all of them. The model "
        "in this folder was then fitted on all of them."
    ),
}
_SHOWN_MISTAKES = 5
_SHOWN_FEW = 5
_FEW_IMAGES = 30
_SHOWN_COUNTS = 25
_SHOWN_CLASSES = 100
_SHOWN_NAMES = 500

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|#~$])")
# what YAML doesn't accept unescaped in a quoted string, and JSON leaves as it is
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a model card tells."""

    name: str
    """Of the run."""
    classes: tuple[str, ...]
    backbone: str
    """Its name in the catalogue or in timm."""
    licence: str
    """Of the backbone's weights, as SPDX writes it: `Apache-2.0`."""
    recipe: str
    dataset: str
    """The data folder's name, not its path."""
    n_train: int
    """How many images the model was fitted on."""
    scores: Mapping[str, Any]
    """One split's object of `metrics.json`."""
    source: Literal["test", "val", "cross-validation"]
    """Where the measured images come from."""
    nested: bool = True
    """Whether cross-validation kept each image out of the choices, too."""
    preprocessing: str
    """A sentence or two."""
    command: str
    """The command that made the run."""
    created: str
    """The day, in ISO form."""
    registered_by: str = ""
    """The module whose import makes timm know the architecture, where it is none of timm's own."""
    is_onnx: bool = False
    """Whether the backbone is an ONNX file, which timm can't load."""
    lineage: str = ""
    """The run that the backbone comes from, as a phrase; empty where it comes from none."""
    hidden_layers: int = 0
    """Of the head; with any, the head has a file of its own."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Images of each class, of all splits together."""
    machine: str = ""
    """What it was trained on, and with."""


def render_card(facts: CardFacts) -> str:
    """Return the model card: Markdown under YAML front matter, as the Hugging Face Hub reads it.

    Names are escaped wherever they stand, so a class called `a|b` or `<i>` breaks neither.
    """
    lowered = facts.licence.lower()
    source = facts.source if facts.nested else f"{facts.source} (not nested)"
    return _template().render(
        facts=facts,
        scores=facts.scores,
        licence_tag=lowered if lowered in _HUB_LICENCES else "other",
        accuracy_name=f"Accuracy ({source}, {facts.scores['n']} images)",
        class_list=_class_list(facts.classes),
        how=_HOW[source],
        measured=_weakest_first(facts.scores["per_class"]),
        mistakes=_most_frequent_mistakes(facts.scores),
        few=_few_measured(facts.scores),
        counts=_largest_first(facts.counts),
        command=_BREAKS.sub(" ", facts.command).strip(),
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    source = (
        resources.files("headstart.run").joinpath("templates/model_card.md.jinja").read_text(encoding="utf-8")
    )
    # Markdown and YAML, not HTML: every name goes through `md` or `yaml` below instead
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701
    environment.filters.update(md=_markdown, yaml=_yaml, percent=_percent)
    return environment.from_string(source)


def _markdown(text: str) -> str:
    """Return `text` on one line, meaning itself in Markdown, in a table's cell too."""
    line = _BREAKS.sub(" ", str(text)).strip()
    return _MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))


def _yaml(text: str) -> str:
    """Return `text` as a quoted string of YAML, of which JSON's are a kind."""
    quoted = json.dumps(str(text), ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.1f} %"


def _most_frequent_mistakes(scores: Mapping[str, Any]) -> list[dict[str, object]]:
    names = scores["classes"]
    mistakes = sorted(cell for cell in _cells(scores["confusion"]) if cell[1] != cell[2])[:_SHOWN_MISTAKES]
    return [
        {
            "true": names[true],
            "predicted": names[predicted],
            "count": -minus_count,
            "support": scores["per_class"][names[true]]["support"],
        }
        for minus_count, true, predicted in mistakes
    ]


def _cells(confusion: Any) -> Iterator[tuple[int, int, int]]:
    """Of each cell that is not 0: its count less than nothing, so that the largest sorts first, and place."""
    if isinstance(confusion, Mapping):  # many classes
        for true, predicted, count in zip(
            confusion["true"], confusion["predicted"], confusion["count"], strict=True
        ):
            yield -count, true, predicted
        return
    for true, row in enumerate(confusion):
        yield from ((-count, true, predicted) for predicted, count in enumerate(row) if count)


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest and the smallest classes, if all are too many for a table."""
    order = sorted(counts.items(), key=lambda item: -item[1])
    return order if len(order) <= 2 * _SHOWN_COUNTS else order[:_SHOWN_COUNTS] + order[-_SHOWN_COUNTS:]


def _class_list(classes: Sequence[str]) -> str:
    more = len(classes) - _SHOWN_NAMES
    rest = f", and {more:,} more, which `config.json` lists" if more > 0 else ""
    return ", ".join(_markdown(name) for name in classes[:_SHOWN_NAMES]) + rest


def _weakest_first(per_class: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The classes in their order; the weakest, if all are too many for a table."""
    rows = list(per_class.items())
    if len(rows) <= _SHOWN_CLASSES:
        return rows
    return sorted(rows, key=lambda row: 2.0 if row[1]["f1"] is None else row[1]["f1"])[:_SHOWN_CLASSES]


def _few_measured(scores: Mapping[str, Any]) -> str:
    """Name the classes measured on few images, the fewest first; empty if there are none."""
    supports = {name: values["support"] for name, values in scores["per_class"].items()}
    few = sorted((name for name in supports if supports[name] < _FEW_IMAGES), key=lambda name: supports[name])
    shown = [f"{_markdown(name)}: {supports[name]}" for name in few[:_SHOWN_FEW]]
    if len(few) > _SHOWN_FEW:
        shown.append(f"and {len(few) - _SHOWN_FEW} more classes")
    return ", ".join(shown)
