"""The stages of a backbone from its input to its output, and rules that freeze the lower ones."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timm.models import group_parameters

from headstart.backbones.freeze import Rule
from headstart.backbones.network import Network
from headstart.errors import ConfigError

_PREFIX = "backbone."


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a backbone, such as a resolution level or a transformer block.

    Attributes:
        name: `stem` for the first, else timm's name of its first module, such as `blocks.5`.
        parameters: Their names in the network, all under `backbone.`.
    """

    name: str
    parameters: tuple[str, ...]


def find_stages(network: Network) -> tuple[Stage, ...]:
    """Group a backbone's parameters as timm groups them for layer-wise learning rates.

    Parameters after the last group (a last norm, a hidden layer before the classifier) belong to
    the last stage.
    """
    backbone: Any = network.backbone
    matcher = backbone.group_matcher(coarse=True)
    ordered = group_parameters(backbone, matcher)
    groups = [list(ordered[key]) for key in sorted(ordered)]
    if len(groups) > 1 and not any(_is_named(matcher, name) for name in groups[-1]):
        groups[-2:] = [groups[-2] + groups[-1]]
    grouped = {name for group in groups for name in group}
    groups[-1] += [name for name, _ in backbone.named_parameters() if name not in grouped]
    names = ["stem"] + [
        _name_group(group[0], [n for other in groups if other is not group for n in other])
        for group in groups[1:]
    ]
    return tuple(
        Stage(name, tuple(_PREFIX + parameter for parameter in group))
        for name, group in zip(names, groups, strict=True)
    )


def find_stage(stages: Sequence[Stage], name: str) -> int:
    """Index of the stage of this name.

    Raises:
        ConfigError: There is none; the nearest is suggested and all are listed.
    """
    names = [stage.name for stage in stages]
    if name in names:
        return names.index(name)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise ConfigError(f"No stage is called {name!r}.{hint} The stages are {', '.join(names)}.")


def stage_rules(
    stages: Sequence[Stage], trainable_from: int | str, *, scale: float = 1.0
) -> tuple[Rule, ...]:
    """Rules for all of a backbone (not its head): frozen below a cut, trained from it on.

    Args:
        stages: All, from the input to the output.
        trainable_from: Name or index of the first stage that learns; `len(stages)` freezes all.
        scale: Learning-rate scale of those that learn.

    Raises:
        ConfigError: There is no such stage.
    """
    first = find_stage(stages, trainable_from) if isinstance(trainable_from, str) else trainable_from
    if not 0 <= first <= len(stages):
        raise ConfigError(f"Stages are counted from 0 to {len(stages)}, so none is number {first}.")
    below = [name for stage in stages[:first] for name in stage.parameters]
    above = [name for stage in stages[first:] for name in stage.parameters]
    if not above:
        return (Rule(rf"{re.escape(_PREFIX)}.*", 0.0),)
    learns = Rule(rf"{re.escape(_PREFIX)}.*", scale)
    return (Rule(_pattern(below, above), 0.0), learns) if below else (learns,)


def _is_named(matcher: Mapping[str, Any] | object, name: str) -> bool:
    """Whether timm's matcher has a pattern for a parameter, rather than leaving it to the end."""
    return not isinstance(matcher, Mapping) or any(re.match(p, name) for p in _patterns(matcher))


def _patterns(matcher: Mapping[str, Any]) -> Iterator[str]:
    for entry in matcher.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from (pattern for pattern, _ in entry or ())


def _name_group(first: str, others: Sequence[str]) -> str:
    """The shortest module name that holds the group's first parameter and none of another group."""
    parts = first.split(".")
    for length in range(1, len(parts)):
        name = ".".join(parts[:length])
        if not any(other.startswith(f"{name}.") for other in others):
            return name
    return first


def _pattern(below: Sequence[str], above: Sequence[str]) -> str:
    """A regular expression that matches all names of `below`, by few prefixes, and none of `above`."""
    modules = dict.fromkeys(_name_group(name, above) for name in below)
    texts = [re.escape(module.removeprefix(_PREFIX)) for module in modules]
    return rf"{re.escape(_PREFIX)}(?:{'|'.join(texts)})(?:\..*)?"
