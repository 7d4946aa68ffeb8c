"""Networks for training from scratch: their layers, and their names in timm."""

import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from headstart.backbones.architecture import find_architecture
from headstart.backbones.catalogue import SMALL, RandomWeights, find_backbone
from headstart.backbones.freeze import Rule, make_plan
from headstart.backbones.network import Network
from headstart.backbones.stages import find_stages, stage_rules
from headstart.backbones.weights import build_source, preprocessing_of
from headstart.errors import UnknownBackboneError, WeightsNotFoundError


def make_network(name: str) -> Network:
    backbone = SMALL[name]
    assert backbone.preprocessing
    architecture = find_architecture(backbone.architecture)
    model = timm.create_model(backbone.architecture, num_classes=0)
    return Network(model, nn.Linear(architecture.feature_dim, 3), backbone.preprocessing)


@pytest.mark.parametrize("name", list(SMALL))
def test_entry_is_what_it_says(name: str) -> None:
    entry = SMALL[name]
    assert find_backbone(name) is entry
    model = timm.create_model(entry.architecture)
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters
    assert preprocessing_of(model) == entry.preprocessing


def test_the_vgg_has_the_textbooks_layers() -> None:
    model = timm.create_model("simple_vgg", num_classes=2)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    assert {conv.kernel_size for conv in convs} == {(3, 3)}
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == [
        (8192, 1024),
        (1024, 1024),
        (1024, 2),
    ]
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]
    assert model.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 512, 4, 4)


def test_the_resnet_keeps_32_pixels_to_its_first_stage() -> None:
    model = timm.create_model("resnet18_cifar", num_classes=10)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(model.maxpool, nn.Identity)
    assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 512, 4, 4)
    usual = timm.create_model("resnet18", num_classes=10).state_dict()
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert [name for name in usual if usual[name].shape != shapes[name]] == ["conv1.weight"]


@pytest.mark.parametrize(("name", "stages"), [
    ("simple-vgg", ("stem", "blocks.1", "blocks.2", "blocks.3", "hidden")),
    ("resnet18-cifar", ("stem", "layer1", "layer2", "layer3", "layer4")),
])  # fmt: skip
def test_stages_cover_all_and_can_be_frozen(name: str, stages: tuple[str, ...]) -> None:
    network = make_network(name)
    found = find_stages(network)
    assert tuple(stage.name for stage in found) == stages
    rules = (Rule(r"head\..*", 1.0), *stage_rules(found, stages[2]))
    plan = make_plan([parameter for parameter, _ in network.named_parameters()], rules)
    assert {plan[parameter] for stage in found[:2] for parameter in stage.parameters} == {0.0}
    assert {plan[parameter] for stage in found[2:] for parameter in stage.parameters} == {1.0}


@pytest.mark.parametrize("name", list(SMALL))
def test_any_size_gives_features_that_do_not_vanish(name: str) -> None:
    network = make_network(name).eval()
    generator = torch.Generator().manual_seed(0)
    for side in (32, 64, 80):
        views = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=generator)
        features = network.features(views)
        assert features.shape == (2, find_architecture(SMALL[name].architecture).feature_dim)
        assert 0.05 < features.std() < 20  # neither lost nor exploded on its way


def test_random_weights_are_the_same_every_time_and_leave_the_global_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again = (build_source(find_backbone("test_resnet").untrained).state_dict() for _ in range(2))
    assert torch.rand(1) == expected
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert "fc.weight" not in first


def test_untrained_is_nobodys_work() -> None:
    untrained = find_backbone("lite0").untrained
    assert isinstance(untrained.weights, RandomWeights)
    assert (untrained.licence, untrained.digest) == ("none", None)
    assert untrained.alias != find_backbone("tf_efficientnet_lite0").alias
    assert untrained.preprocessing == find_backbone("lite0").preprocessing


def test_timm_makes_them_once_the_module_is_imported() -> None:
    code = "import timm, headstart.backbones.small; print(timm.create_model('simple_vgg').num_features)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1024"


def test_a_misspelt_name_suggests_it() -> None:
    with pytest.raises(UnknownBackboneError, match=r"'simple-vg'\. Did you mean simple-vgg"):
        build_source(find_backbone("simple-vg"))


def test_weights_that_nobody_published() -> None:
    message = (
        r"no pretrained weights of 'simple_vgg'\. Train it with --recipe scratch, or give .*simple_vgg@FILE"
    )
    with pytest.raises(WeightsNotFoundError, match=message):
        build_source(find_backbone("simple_vgg"))


def test_an_unknown_tag_lists_the_known() -> None:
    backbone = find_backbone("resnet18.nowhere")
    for source in (backbone, backbone.untrained):
        with pytest.raises(
            UnknownBackboneError, match=r"resnet18 has no weights called 'nowhere'\. There are a1_in1k, "
        ):
            build_source(source)
