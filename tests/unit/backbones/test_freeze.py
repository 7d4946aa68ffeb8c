"""Which parameters train, decided by names."""

import re

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headstart.backbones.freeze import (
    Rule,
    apply_plan,
    freeze_all_but_norms_and_biases,
    make_plan,
    parse_rules,
    train_mode,
)
from headstart.errors import FreezeRuleError

NAMES = (
    "backbone.conv.weight",
    "backbone.blocks.6.weight",
    "backbone.blocks.6.bias",
    "head.weight",
    "head.bias",
)
HEAD, REST = Rule(r"head\..*", 1.0), Rule(".*", 0.0)


def test_first_match_wins() -> None:
    rules = (HEAD, Rule(r"backbone\.blocks\.6\..*", 0.1), REST)
    assert make_plan(NAMES, rules) == dict(zip(NAMES, (0.0, 0.1, 0.1, 1.0, 1.0), strict=True))


@given(st.lists(st.floats(0, 10), min_size=2, max_size=2))
def test_rules_of_the_command_line_say_what_rules_say(scales: list[float]) -> None:
    texts = [rf"head\..*={scales[0]}", f".*={scales[1]}"]
    assert parse_rules(texts) == (Rule(r"head\..*", scales[0]), Rule(".*", scales[1]))


def test_a_pattern_may_hold_an_equals_sign() -> None:
    assert parse_rules(["(?=head).*=1"]) == (Rule("(?=head).*", 1.0),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (r"head\..*", "no = between the pattern and its scale"),
        ("head(=1", r"'head\(' is no regular expression \(missing \)"),
        ("head.*=fast", "'fast' is no number"),
        ("head.*=", "'' is no number"),
        ("head.*=-1", "the scale must be 0 or more, not -1"),
        ("head.*=nan", "the scale must be 0 or more, not nan"),
        ("head.*=inf", "the scale must be 0 or more, not inf"),
    ],
)
def test_malformed_rules_are_named(text: str, problem: str) -> None:
    with pytest.raises(FreezeRuleError, match=rf"PATTERN=SCALE.*Wrong: .*{problem}"):
        parse_rules([text, ".*=0"])


def test_every_malformed_rule_is_named_at_once() -> None:
    with pytest.raises(FreezeRuleError, match=r"'a': no = .*'b=x': 'x' is no number"):
        parse_rules(["a", ".*=0", "b=x"])


def test_uncovered_parameter() -> None:
    with pytest.raises(FreezeRuleError, match=r"No rule covers 'backbone\.conv\.weight'\. End the list with"):
        make_plan(NAMES, [HEAD])


def test_a_part_of_a_name_is_no_match() -> None:
    with pytest.raises(FreezeRuleError, match=r"'head' matches no parameter's whole name"):
        make_plan(NAMES, [Rule("head", 1.0), REST])


def test_typo_suggests_the_nearest_parameters() -> None:
    nearest = re.escape("The nearest are backbone.blocks.6.weight, backbone.blocks.6.bias, ")
    with pytest.raises(FreezeRuleError, match=rf"blocs.* matches no parameter's whole name\. {nearest}"):
        make_plan(NAMES, [Rule(r"backbone\.blocs\.6\..*", 1.0), REST])


def test_a_typo_is_told_where_it_leaves_a_parameter_uncovered_and_without_the_prefix() -> None:
    with pytest.raises(FreezeRuleError, match=r"nearest are backbone\.blocks\.6.* No rule covers 'backbone"):
        make_plan(NAMES, [Rule(r"blokcs\.6\..*", 0.0)])


def test_rule_behind_a_wider_one_decides_nothing() -> None:
    with pytest.raises(FreezeRuleError, match=r"head.* decides nothing: rules before it match all"):
        make_plan(NAMES, [REST, HEAD])


class Odd(nn.Module):
    """A norm of somebody's own, which shares no base class with others, and a bias without a layer."""

    class ScaleNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "norm": self.ScaleNorm(),
                "proj": nn.Linear(2, 2),
                "gn": nn.GroupNorm(1, 2),
                "c": nn.Conv2d(1, 1, 1),
            }
        )
        self.backbone.register_parameter("q_bias", nn.Parameter(torch.zeros(2)))
        self.backbone.register_parameter("position_bias_table", nn.Parameter(torch.zeros(2)))
        self.head = nn.Linear(2, 2)


def learning_of(model: nn.Module, *rules: Rule) -> set[str]:
    plan = make_plan([name for name, _ in model.named_parameters()], rules)
    return {name for name, scale in plan.items() if scale > 0}


def test_norms_and_biases_of_all_kinds_are_found() -> None:
    model = Odd()
    frozen = freeze_all_but_norms_and_biases(model, "backbone.")
    assert learning_of(model, frozen, Rule(".*", 1.0)) == {
        *("head.weight", "head.bias"),
        *("backbone.norm.gain", "backbone.gn.weight", "backbone.gn.bias"),
        *("backbone.proj.bias", "backbone.c.bias", "backbone.q_bias"),
    }


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_norms_and_biases_of_timms_networks_are_few_and_thin(architecture: str) -> None:
    model = nn.ModuleDict({"backbone": timm.create_model(architecture, num_classes=0)})
    frozen = freeze_all_but_norms_and_biases(model, "backbone.")
    learning = learning_of(model, frozen, Rule(".*", 1.0))
    parameters = dict(model.named_parameters())
    assert {name for name, p in parameters.items() if name.endswith("bias")} <= learning
    assert all(parameters[name].ndim == 1 for name in learning)
    assert sum(parameters[name].numel() for name in learning) < 0.1 * sum(
        p.numel() for p in parameters.values()
    )
    norms = [n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert {f"{name}.weight" for name in norms} <= learning


def test_a_backbone_without_any_is_frozen_whole() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2, bias=False), "head": nn.Linear(2, 2)})
    frozen = freeze_all_but_norms_and_biases(model, "backbone.")
    assert learning_of(model, frozen, Rule(".*", 1.0)) == {"head.weight", "head.bias"}


def make_model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Dropout())


def test_plan_decides_what_learns() -> None:
    model = make_model()
    apply_plan(model, {name: float(name.startswith("2.")) for name, _ in model.named_parameters()})
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["2.weight", "2.bias"]
    apply_plan(model, dict.fromkeys(dict(model.named_parameters()), 0.1))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_batch_norms_stay_in_eval_mode() -> None:
    model = make_model()
    model[1].requires_grad_(False)
    train_mode(model)
    assert [module.training for module in model] == [True, False, True, True]
    model[1].requires_grad_(True)
    train_mode(model)
    assert model[1].training
