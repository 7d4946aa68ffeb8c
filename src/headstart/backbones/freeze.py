"""Decide which parameters train, and how fast.

A plan is computed from names alone, so it can be printed, saved with the run
and tested without a model; only `apply_plan` and `train_mode` touch the model.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import nn

from headstart.errors import FreezeRuleError

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True, slots=True)
class Rule:
    """Scale the base learning rate of parameters whose whole name matches; 0 freezes."""

    pattern: str
    lr_scale: float


def parse_rules(texts: Sequence[str]) -> tuple[Rule, ...]:
    r"""Read rules such as `head\..*=1`, as the command line takes them.

    Raises:
        FreezeRuleError: A text is not PATTERN=SCALE; the message lists every such text.
    """
    rules, problems = [], []
    for text in texts:
        pattern, separator, scale = text.rpartition("=")
        problem = _problem(pattern, scale) if separator else "no = between the pattern and its scale"
        if problem:
            problems.append(f"{text!r}: {problem}")
        else:
            rules.append(Rule(pattern, float(scale)))
    if problems:
        raise FreezeRuleError(
            f"--freeze-rules takes PATTERN=SCALE, as in '.*=0'. Wrong: {'; '.join(problems)}."
        )
    return tuple(rules)


def make_plan(names: Iterable[str], rules: Sequence[Rule]) -> dict[str, float]:
    """Map each parameter name to its learning-rate scale; the first match wins.

    Raises:
        FreezeRuleError: A name has no rule, or a rule decides nothing (a typo, usually).
    """
    first = {name: next((r for r in rules if re.fullmatch(r.pattern, name)), None) for name in names}
    problems = [_explain_idle(rule, list(first)) for rule in rules if rule not in first.values()]
    if uncovered := [name for name, rule in first.items() if rule is None]:
        problems.append(f"No rule covers {uncovered[0]!r}. End the list with the pattern '.*'.")
    if problems:
        raise FreezeRuleError(" ".join(problems))
    return {name: rule.lr_scale for name, rule in first.items() if rule is not None}


def freeze_all_but_norms_and_biases(model: nn.Module, prefix: str) -> Rule:
    """A rule that freezes what lies under a prefix, except the parameters of norms and biases of all kinds.

    Norms are known by their class's name, for timm's own share no base class with torch's. (BitFit: Ben
    Zaken et al. 2022; norms alone: Frankle et al. 2021.)
    """
    learning = [
        f"{module_name}.{name}".removeprefix(".")
        for module_name, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if "Norm" in type(module).__name__ or name.endswith("bias")
    ]
    kept = "|".join(re.escape(name.removeprefix(prefix)) for name in learning if name.startswith(prefix))
    return Rule(rf"{re.escape(prefix)}(?!(?:{kept})$).*", 0.0)


def deciding_rules(names: Iterable[str], rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Those rules that decide something for these names, a part of those that they were made for."""
    first = [next((rule for rule in rules if re.fullmatch(rule.pattern, name)), None) for name in names]
    return tuple(rule for rule in rules if rule in first)


def apply_plan(model: nn.Module, plan: Mapping[str, float]) -> None:
    """Set `requires_grad` in place: on where the scale is above 0."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(plan[name] > 0)


def train_mode(model: nn.Module, *, freeze_statistics: bool = False) -> None:
    """Switch to training in place, but leave frozen batch norms in eval mode, or all of them.

    A pretrained network that suddenly normalises by the statistics of small batches is another network
    than the one whose head was solved, and what it learns then fits that one.
    """
    model.train()
    for module in model.modules():
        if not isinstance(module, _BATCH_NORMS):
            continue
        if freeze_statistics or not any(p.requires_grad for p in module.parameters()):
            module.eval()  # else running statistics drift although the weights are frozen


def moving_statistics(model: nn.Module) -> list[torch.Tensor]:
    """What the batch norms that are in training mode count up: running means and variances."""
    norms = [m for m in model.modules() if isinstance(m, _BATCH_NORMS) and m.training]
    return [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]


def _problem(pattern: str, scale: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"{pattern!r} is no regular expression ({error})"
    try:
        number = float(scale)
    except ValueError:
        return f"{scale!r} is no number"
    return "" if 0 <= number < math.inf else f"the scale must be 0 or more, not {scale}"


def _explain_idle(rule: Rule, names: Sequence[str]) -> str:
    if any(re.fullmatch(rule.pattern, name) for name in names):
        return f"The rule {rule.pattern!r} decides nothing: rules before it match all that it matches."
    plain = re.sub(r"[\\^$.*+?()\[\]{}|]+", ".", rule.pattern).strip(".")

    def likeness(name: str) -> float:
        parts = name.split(".")
        ends = [".".join(parts[first:])[: len(plain)] for first in range(len(parts))]
        return max(SequenceMatcher(None, plain, end).ratio() for end in ends)

    nearest = sorted(names, key=likeness, reverse=True)[:3]
    return (
        f"The rule {rule.pattern!r} matches no parameter's whole name. The nearest are {', '.join(nearest)}."
    )
