"""Trainings of few weights, or that go back part of the way, leave runs like any other."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import headstart as hs
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.freeze import freeze_all_but_norms_and_biases
from headstart.backbones.network import make_network
from headstart.backbones.stages import find_stages
from headstart.backbones.trunk import open_trunk
from headstart.data.decode import read_view
from headstart.errors import ConfigError
from headstart.progress import Silent
from headstart.recipes.catalogue import (
    RECIPES,
    freeze_first,
    learning_names,
    make_recipe,
    settings_for,
)
from networks import save_random
from support import digest

QUICK = {"epochs": 1, "batch_size": 8, "precision": "fp32", "val_fraction": 0.25, "lr": 1e-2}
TRAINED = ("finetune", "partial")  # whole, and above a cut; the others' phases are looked at below


def quick(**changes: object) -> hs.TuneConfig:
    return hs.TuneConfig(**{**QUICK, **changes})


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny vision transformer."""
    return f"test_vit@{save_random(tmp_path_factory.mktemp('vit'), 'test_vit')}"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny residual network."""
    return f"test_resnet@{save_random(tmp_path_factory.mktemp('resnet'))}"


def tensors_of(model: str, cache: Path) -> dict[str, torch.Tensor]:
    return load_file(open_trunk(find_backbone(model), cache).weights_path)


def changed_by(run: Path, model: str, cache: Path) -> set[str]:
    """Names of the backbone's tensors that the training changed."""
    before, after = tensors_of(model, cache), load_file(run / "model.safetensors")
    assert set(before) == set(after)
    classifier = open_trunk(find_backbone(model), cache).classifier
    return {
        name
        for name in before
        if not name.startswith(classifier) and not torch.equal(before[name], after[name])
    }


class Impatient(Silent):
    """Presses Ctrl-C when it is told of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def note(self, message: str) -> None:
        if message.startswith(f"epoch {self.epoch}/"):
            raise KeyboardInterrupt


@pytest.mark.parametrize("recipe", TRAINED)
def test_only_norms_and_biases_learn(
    recipe: str, resnet: str, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    config = hs.TrainConfig(model=resnet, recipe=recipe)
    result = hs.train(
        small_set, config, quick(norm_bias_only=True, input_px=64), out=tmp_path / "run", cache=cache
    )
    changed = changed_by(result.run, resnet, cache)
    kernels = {name for name, tensor in tensors_of(resnet, cache).items() if tensor.ndim > 1}
    assert not changed & kernels
    assert any(name.endswith("weight") for name in changed)
    lines = [json.loads(line) for line in (result.run / "history.jsonl").read_text().splitlines()]
    started = [line for line in lines if line["event"] == "PhaseStarted"]
    assert started
    assert all(line["parameters"] < 0.05 * line["of"] for line in started)


@pytest.mark.parametrize("recipe", TRAINED)
def test_a_run_trained_with_lora_is_plain_timm(
    recipe: str, vit: str, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    config = hs.TrainConfig(model=vit, recipe=recipe)
    result = hs.train(small_set, config, quick(lora=2), out=tmp_path / "run", cache=cache)
    changed = changed_by(result.run, vit, cache)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changed} == {"qkv", "proj", "fc1", "fc2"}
    assert not [name for name in changed if name.endswith("bias")]
    model = hs.load(result.run, cache=cache, runtime="torch-fp32")
    plain = timm.create_model(f"local-dir:{result.run}", pretrained=True).eval()
    images = sorted(small_set.rglob("*.jpg"))[::9]
    views = np.stack([read_view(str(path), model.trunk.preprocessing) for path in images])
    mean, std = (torch.tensor(v) for v in (model.trunk.preprocessing.mean, model.trunk.preprocessing.std))
    with torch.inference_mode():
        expected = plain(((torch.from_numpy(views) / 255 - mean) / std).permute(0, 3, 1, 2)).softmax(1)
    np.testing.assert_allclose(model.predict_proba(images), expected.numpy(), atol=1e-4)


def test_lora_resumed_equals_uninterrupted(vit: str, small_set: Path, cache: Path, tmp_path: Path) -> None:
    config = hs.TrainConfig(model=vit, recipe="two-phase")
    tuning = quick(lora=2, epochs=2, ema=0.5, l2_sp=0.1, wise_ft=True)
    whole = hs.train(small_set, config, tuning, out=tmp_path / "whole", cache=cache)
    with pytest.raises(KeyboardInterrupt):
        hs.train(small_set, config, tuning, out=tmp_path / "cut", cache=cache, progress=Impatient(3))
    resumed = hs.train(small_set, config, tuning, out=tmp_path / "cut", cache=cache, resume=True)
    assert digest(resumed.run / "model.safetensors") == digest(whole.run / "model.safetensors")


def test_views_of_a_vision_transformer_cannot_grow(
    vit: str, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    config, tuning = hs.TrainConfig(model=vit, recipe="finetune"), quick(progressive=True, epochs=3)
    with pytest.raises(ConfigError, match=r"test_vit takes views of 160 pixels only.* --progressive wants"):
        hs.train(small_set, config, tuning, out=tmp_path / "run", cache=cache)
    assert not (tmp_path / "run").exists()


def test_going_back_ends_where_validation_is_best(
    resnet: str, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    # A rate so high that the end is worse than the start.
    config, tuning = (
        hs.TrainConfig(model=resnet, recipe="finetune"),
        quick(wise_ft=True, input_px=64, backbone_lr=1),
    )
    result = hs.train(small_set, config, tuning, out=tmp_path / "run", cache=cache)
    lines = [json.loads(line) for line in (result.run / "history.jsonl").read_text().splitlines()]
    blends = [line for line in lines if line["event"] == "Blended"]
    assert [blend["alpha"] for blend in blends] == [0, 0.25, 0.5, 0.75, 1]
    (chosen,) = [blend for blend in blends if blend["chosen"]]
    assert chosen["val_loss"] == min(blend["val_loss"] for blend in blends)
    assert any(f"{chosen['alpha']:.0%} of the way" in note for note in result.notes)
    assert bool(changed_by(result.run, resnet, cache)) == (chosen["alpha"] > 0)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipes_phases_can_be_narrowed_to_norms_and_biases(
    recipe: str, resnet: str, cache: Path
) -> None:
    network = make_network(open_trunk(find_backbone(resnet), cache), 2)
    thin = {name for name, parameter in network.named_parameters() if parameter.ndim == 1}
    phases = make_recipe(recipe, quick(norm_bias_only=True)).phases(find_stages(network))
    frozen = freeze_all_but_norms_and_biases(network, "backbone.")
    narrowed = [learning_names([phase], network) for phase in freeze_first(phases, frozen, network)]
    for phase, learning in zip(phases, narrowed, strict=True):
        assert learning == (learning_names([phase], network) & thin) | {"head.weight", "head.bias"}
    assert len(narrowed[-1]) > 2


def test_so_few_weights_learn_at_the_heads_rate_unless_told() -> None:
    assert make_recipe("finetune", hs.TuneConfig()).backbone_lr == 0.1
    assert make_recipe("finetune", hs.TuneConfig(lora=4)).backbone_lr == 1.0
    assert make_recipe("partial", hs.TuneConfig(norm_bias_only=True)).backbone_lr == 1.0
    assert make_recipe("finetune", hs.TuneConfig(lora=4, backbone_lr=0.3)).backbone_lr == 0.3


def test_a_comparison_gives_scratch_what_it_can_take() -> None:
    given = hs.TuneConfig(wise_ft=True, norm_bias_only=True)
    assert settings_for("scratch", given) == hs.TuneConfig(norm_bias_only=True)
    assert settings_for("finetune", given) == given


def test_lora_on_a_convolutional_network_is_refused(
    resnet: str, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    config = hs.TrainConfig(model=resnet, recipe="finetune")
    with pytest.raises(ConfigError, match=r"vision transformer, and ResNet is none.*--norm-bias-only"):
        hs.train(small_set, config, quick(lora=4, input_px=64), out=tmp_path / "run", cache=cache)
    assert not list(tmp_path.glob(".run*"))


@pytest.mark.parametrize(
    ("config", "tuning", "message"),
    [
        ({"recipe": "scratch"}, {"lora": 4, "wise_ft": True}, "--lora, --wise-ft: not with --recipe scratch"),
        ({"recipe": "auto"}, {"lora": 4}, "--lora: not with --recipe auto"),
        ({"recipe": "probe"}, {"norm_bias_only": True}, "--norm-bias-only: the probe trains no backbone"),
    ],
)
def test_what_does_not_fit_is_refused(
    config: dict[str, str],
    tuning: dict[str, object],
    message: str,
    small_set: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=message):
        hs.train(
            small_set, hs.TrainConfig(**config), hs.TuneConfig(**tuning), out=tmp_path / "run", cache=cache
        )
    assert not list(tmp_path.glob(".run*"))


def test_one_thing_alone_learns() -> None:
    with pytest.raises(ConfigError, match="--lora and --norm-bias-only each say what alone learns"):
        hs.TuneConfig(lora=4, norm_bias_only=True)
    with pytest.raises(ConfigError, match="--lora must be at least 1, not 0"):
        hs.TuneConfig(lora=0)
