"""Stages of a backbone, and rules that freeze the lower ones."""

import re
from dataclasses import dataclass

import pytest
import timm
import torch
from torch import nn

from headstart.backbones.architecture import classifier_name
from headstart.backbones.freeze import Rule, make_plan
from headstart.backbones.network import Network
from headstart.backbones.stages import Stage, find_stages, stage_rules
from headstart.backbones.weights import preprocessing_of
from headstart.errors import ConfigError


@dataclass(frozen=True)
class Case:
    architecture: str
    names: tuple[str, ...]
    last: str
    """A parameter of no group of timm's, which belongs to the last stage."""


def numbered(prefix: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in numbers)


CASES = [
    Case("tf_efficientnet_lite0", numbered("blocks.", *range(7)), "conv_head.weight"),
    Case("resnet18", numbered("layer", 1, 2, 3, 4), "layer4.1.bn2.bias"),
    Case(
        "vgg16", numbered("features.", 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), "pre_logits.fc1.weight"
    ),
    Case("vit_tiny_patch16_224", numbered("blocks.", *range(12)), "norm.weight"),
    Case("mobilenetv3_small_050", numbered("blocks.", *range(6)), "conv_head.weight"),
    Case("convnext_atto", numbered("stages.", *range(4)), "head.norm.weight"),
    Case("densenet121", numbered("features.denseblock", 1, 2, 3, 4), "features.norm5.bias"),
]


def make_random(architecture: str) -> Network:
    with torch.device("meta"):  # only names matter here
        model = timm.create_model(architecture)
        name = classifier_name(model)
        head = nn.Linear(model.get_submodule(name).in_features, 3)
    model.set_submodule(name, nn.Identity())
    return Network(model, head, preprocessing_of(model))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.architecture)
def test_stages_run_from_the_input_to_the_output(case: Case) -> None:
    network = make_random(case.architecture)
    stages = find_stages(network)
    assert tuple(stage.name for stage in stages) == ("stem", *case.names)
    assert f"backbone.{case.last}" in stages[-1].parameters
    grouped = [name for stage in stages for name in stage.parameters]
    assert sorted(grouped) == sorted(f"backbone.{name}" for name, _ in network.backbone.named_parameters())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.architecture)
def test_rules_freeze_exactly_what_lies_below(case: Case) -> None:
    network = make_random(case.architecture)
    stages, names = find_stages(network), [name for name, _ in network.named_parameters()]
    for first in range(len(stages) + 1):
        plan = make_plan(names, (Rule(r"head\..*", 1.0), *stage_rules(stages, first, scale=0.3)))
        for at, stage in enumerate(stages):
            assert {plan[name] for name in stage.parameters} == {0.3 if at >= first else 0.0}
        assert {plan["head.weight"], plan["head.bias"]} == {1.0}


STAGES = (Stage("stem", ("backbone.conv1.weight",)), Stage("layer1", ("backbone.layer1.weight",)))
ALL = (*STAGES, Stage("layer10", ("backbone.layer10.weight", "backbone.norm.weight")))


def test_rules_are_short_and_tell_layer1_from_layer10() -> None:
    below, above = stage_rules(ALL, "layer10")
    assert below == Rule(r"backbone\.(?:conv1|layer1)(?:\..*)?", 0.0)
    assert above == Rule(r"backbone\..*", 1.0)
    assert not re.fullmatch(below.pattern, "backbone.layer10.weight")


def test_name_and_index_mean_the_same() -> None:
    assert stage_rules(ALL, "layer1") == stage_rules(ALL, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "layr10",
            r"No stage is called 'layr10'\. Did you mean layer10\? The stages are stem, layer1, layer10",
        ),
        ("qq", r"No stage is called 'qq'\. The stages are stem, layer1, layer10\."),
    ],
)
def test_unknown_stage(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stage_rules(ALL, name)


@pytest.mark.parametrize("index", [-1, 4])
def test_number_out_of_range(index: int) -> None:
    with pytest.raises(ConfigError, match=rf"counted from 0 to 3, so none is number {index}"):
        stage_rules(ALL, index)
