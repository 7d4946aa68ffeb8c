"""Names of recipes that train a backbone."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

from torch import nn

from headstart.backbones.freeze import Rule, deciding_rules, make_plan, parse_rules
from headstart.backbones.stages import Stage
from headstart.config import TuneConfig
from headstart.errors import ConfigError, FreezeRuleError
from headstart.recipes.finetune import Finetune, Scratch
from headstart.recipes.staged import Gradual, Partial
from headstart.recipes.two_phase import TwoPhase
from headstart.training.phase import Phase


class Recipe(Protocol):
    """A strategy: what learns, in which order, how fast."""

    @property
    def epochs(self) -> int:
        """Of its main phase."""
        ...

    def phases(self, stages: Sequence[Stage]) -> tuple[Phase, ...]:
        """Its phases on a backbone of these stages; pure."""
        ...


RECIPES: dict[str, Finetune | TwoPhase | Partial | Gradual] = {
    "scratch": Scratch(),
    "finetune": Finetune(),
    "two-phase": TwoPhase(),
    "partial": Partial(),
    "gradual": Gradual(),
}
"""Each with its defaults."""

_OWN_SETTINGS = {"epochs", "lr", "backbone_lr", "cut"}


def make_recipe(name: str, tuning: TuneConfig) -> Recipe:
    """The recipe of this name with what the user set in place of its defaults.

    Raises:
        ConfigError: A setting that this recipe does not know.
    """
    recipe = RECIPES[name]
    wanted = {setting: getattr(tuning, setting) for setting in _OWN_SETTINGS}
    if wanted["backbone_lr"] is None and (tuning.norm_bias_only or tuning.lora):
        wanted["backbone_lr"] = 1.0  # so few parameters learn as fast as the head
    given = {key: value for key, value in wanted.items() if value is not None}
    for setting in given.keys() - {field.name for field in fields(recipe)}:
        owners = [other for other in RECIPES if hasattr(RECIPES[other], setting)]
        flag = setting.replace("_", "-")
        raise ConfigError(f"--{flag} belongs to the recipe {' or '.join(owners)}, not to {name}.")
    made: Recipe = replace(recipe, **given)
    return made


def settings_for(name: str, tuning: TuneConfig) -> TuneConfig:
    """What the recipe of this name takes of settings that are given to several; nothing if it trains none."""
    default = TuneConfig()
    if name == "probe":
        return default
    known = {field.name for field in fields(RECIPES[name])} if name in RECIPES else {"epochs"}
    unknown: dict[str, Any] = dict.fromkeys(_OWN_SETTINGS - known)
    if name == "auto":  # its rungs decide
        unknown |= {"freeze_rules": default.freeze_rules, "steps_per_epoch": None, "progressive": None}
    if name == "scratch":
        unknown |= {"lora": None, "wise_ft": False}
    return replace(tuning, **unknown)


def freeze_first(phases: Sequence[Phase], frozen: Rule, network: nn.Module) -> tuple[Phase, ...]:
    """The phases with a rule before all others; rules that it leaves nothing to decide are dropped."""
    names = [name for name, _ in network.named_parameters()]
    return tuple(replace(phase, rules=deciding_rules(names, (frozen, *phase.rules))) for phase in phases)


def learning_names(phases: Sequence[Phase], network: nn.Module) -> set[str]:
    """The parameters that some phase trains."""
    names = [name for name, _ in network.named_parameters()]
    plans = [make_plan(names, phase.rules) for phase in phases]
    return {name for plan in plans for name in names if plan[name] > 0}


def rules_of(phases: Sequence[Phase], texts: Sequence[str], network: nn.Module) -> tuple[Phase, ...]:
    """The phases with the user's freeze rules in place of their own; as they are without any.

    Raises:
        FreezeRuleError: A rule is malformed, matches nothing, or leaves a parameter uncovered; or they freeze
            everything.
    """
    if not texts:
        return tuple(phases)
    rules = parse_rules(texts)
    plan = make_plan([name for name, _ in network.named_parameters()], rules)
    if not any(plan.values()):
        raise FreezeRuleError(
            "The --freeze-rules freeze everything, so nothing would learn. Put 'head.*=1' before the others."
        )
    return tuple(replace(phase, rules=rules) for phase in phases)
