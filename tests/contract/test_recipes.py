"""What every recipe that trains a backbone promises."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import headstart as hs
from headstart.api.fitting import open_fitting
from headstart.api.prepare import prepare
from headstart.api.tune import Start
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.convert import to_openvino
from headstart.backbones.cut import Lower
from headstart.backbones.freeze import make_plan
from headstart.backbones.network import Network, make_network, timm_tensors
from headstart.backbones.stages import find_stages
from headstart.backbones.trunk import open_trunk
from headstart.data.decode import read_view
from headstart.errors import ConfigError, FreezeRuleError
from headstart.progress import Silent
from headstart.recipes.catalogue import RECIPES, make_recipe, rules_of
from support import digest

QUICK = {"epochs": 1, "input_px": 64, "batch_size": 8, "precision": "fp32", "val_fraction": 0.25}


def quick(**changes: object) -> hs.TuneConfig:
    return hs.TuneConfig(**{**QUICK, **changes})


@pytest.fixture(scope="module")
def network(cache: Path) -> Network:
    return make_network(open_trunk(find_backbone("lite0"), cache), 2)


@pytest.fixture(scope="module", params=list(RECIPES))
def trained(
    request: pytest.FixtureRequest, small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> hs.TrainResult:
    out = tmp_path_factory.mktemp("runs") / request.param
    return hs.train(small_set, hs.TrainConfig(recipe=request.param), quick(), out=out, cache=cache)


def test_the_run_is_whole_and_measured_on_held_out_images(trained: hs.TrainResult) -> None:
    assert trained.headline == "test"
    assert set(trained.scores) == {"test", "val"}
    assert not list(trained.run.parent.glob(".*"))
    rows = list(csv.DictReader((trained.run / "results.csv").read_text().splitlines()))
    epochs = [
        line
        for line in map(json.loads, (trained.run / "history.jsonl").read_text().splitlines())
        if line["event"] == "EpochEnded"
    ]
    assert [int(row["epoch"]) for row in rows] == [line["epoch"] for line in epochs]
    assert rows


def test_plain_timm_gives_the_same_probabilities(
    trained: hs.TrainResult, small_set: Path, cache: Path
) -> None:
    images = sorted(small_set.rglob("*.jpg"))[::7]
    model = hs.load(trained.run, cache=cache, runtime="torch-fp32")
    plain = timm.create_model(f"local-dir:{trained.run}", pretrained=True).eval()
    settings = model.trunk.preprocessing
    assert settings.crop_px == 64
    views = np.stack([read_view(str(path), settings) for path in images])
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (settings.mean, settings.std))
    with torch.inference_mode():
        expected = plain((pixels - mean) / std).softmax(1).numpy()
    np.testing.assert_allclose(model.predict_proba(images), expected, atol=1e-4)


def test_phases_cover_the_network_and_train_its_head(network: Network) -> None:
    names = [name for name, _ in network.named_parameters()]
    for name in RECIPES:
        for phase in make_recipe(name, hs.TuneConfig()).phases(find_stages(network)):
            assert make_plan(names, phase.rules)["head.weight"] == 1.0


@pytest.mark.parametrize(
    ("recipe", "changes", "sizes"),
    [
        ("finetune", {}, (96, 128, 160)),
        ("two-phase", {}, ()),
        ("finetune", {"progressive": False}, ()),
        ("finetune", {"epochs": 2}, ()),
        ("finetune", {"input_px": 128}, ()),
        ("finetune", {"backbone_lr": 0.0}, ()),
        ("partial", {}, (96, 128, 160)),
        ("partial", {"progressive": False}, ()),
        ("gradual", {}, ()),
        ("scratch", {}, ()),
        ("scratch", {"progressive": True}, (96, 128, 160)),
    ],
)
def test_views_grow_where_a_pretrained_network_learns_at_once(
    recipe: str, changes: dict[str, object], sizes: tuple[int, ...], small_set: Path, cache: Path
) -> None:
    prepared = prepare(small_set, hs.TrainConfig(recipe=recipe), cache, None)
    tuning = quick(**{"epochs": 3, "input_px": 160, **changes})
    assert Start.make(prepared, tuning).job.sizes == sizes


def test_cached_activations_grow_with_the_views(small_set: Path, cache: Path, tmp_path: Path) -> None:
    prepared = prepare(small_set, hs.TrainConfig(recipe="partial"), cache, None)
    start = Start.make(prepared, quick(epochs=4, input_px=160, batch_size=4))
    assert start.job.sizes == (96, 96, 128, 160)
    fitting = open_fitting(start.job, start.network, start.phases, tmp_path)
    batches = fitting.batches(tmp_path, 4)
    epochs = [torch.cat([inputs for inputs, _ in batches.epoch(number)]) for number in range(4)]
    assert [epoch.shape[2] for epoch in epochs] == [6, 6, 8, 10]  # of a 16th of the side
    stored = sorted(file.name for file in tmp_path.glob("activations-*.bin"))
    assert stored == ["activations-128-1.bin", "activations-160-1.bin", "activations-96-2.bin"]


@pytest.mark.parametrize("converts", [True, False])
def test_partial_leaves_what_lies_below_the_cut_bit_equal(
    converts: bool, small_set: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(module: torch.nn.Module, size_px: int) -> object:
        if isinstance(module, Lower) and not converts:
            raise RuntimeError("an unknown operation")
        return to_openvino(module, size_px)

    monkeypatch.setattr("headstart.backbones.convert.to_openvino", convert)
    notes: list[str] = []

    class Listener(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    config = hs.TrainConfig(recipe="partial", runtime="openvino-fp32")
    tuning = quick(cut="blocks.5", lr=1e-2, steps_per_epoch=2)
    result = hs.train(small_set, config, tuning, out=tmp_path / "run", cache=cache, progress=Listener())
    assert any("can't convert" in note for note in notes) != converts
    started = json.loads((result.run / "history.jsonl").read_text().splitlines()[0])
    assert (started["event"], started["steps"]) == ("PhaseStarted", 2)
    before = load_file(open_trunk(find_backbone("lite0"), cache).weights_path)
    after = load_file(result.run / "model.safetensors")
    frozen = ("conv_stem.", "bn1.", *(f"blocks.{n}." for n in range(5)))
    for name in before:
        if name.startswith(frozen):
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["blocks.5.0.conv_pw.weight"], after["blocks.5.0.conv_pw.weight"])


@pytest.mark.parametrize("statistics", ["auto", "batch"])
def test_pretrained_batch_norms_keep_their_statistics_unless_told_otherwise(
    small_set: Path, cache: Path, tmp_path: Path, statistics: str
) -> None:
    tuning = quick(norm_statistics=statistics)
    result = hs.train(small_set, hs.TrainConfig(recipe="finetune"), tuning, out=tmp_path / "run", cache=cache)
    before = load_file(open_trunk(find_backbone("lite0"), cache).weights_path)
    after = load_file(result.run / "model.safetensors")
    same = torch.equal(before["blocks.5.0.bn1.running_mean"], after["blocks.5.0.bn1.running_mean"])
    assert same == (statistics == "auto")
    assert not torch.equal(before["blocks.5.0.bn1.weight"], after["blocks.5.0.bn1.weight"])


def test_a_network_gives_back_the_tensors_it_was_made_of(network: Network, cache: Path) -> None:
    trunk = open_trunk(find_backbone("lite0"), cache)
    tensors, before = timm_tensors(network, trunk.classifier), load_file(trunk.weights_path)
    assert set(tensors) == set(before)
    for name, tensor in before.items():
        if not name.startswith(trunk.classifier):
            np.testing.assert_array_equal(tensors[name], tensor.numpy())


def test_a_kill_loses_no_more_than_the_last_epoch(small_set: Path, cache: Path, tmp_path: Path) -> None:
    flags = "--recipe finetune --epochs 4 --input-px 64 --batch-size 8 --precision fp32 --val-fraction 0.25"
    whole, out = tmp_path / "whole", tmp_path / "killed"
    several = {**os.environ, "OMP_NUM_THREADS": "2"}  # as users have them
    words = [sys.executable, "-m", "headstart", "train", small_set, *flags.split(), "--cache", cache, "--out"]
    command = list(map(str, [*words, out]))
    done = subprocess.run([*map(str, words), whole], env=several, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(command, env=several, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/4"):
            break
    while not list(tmp_path.glob(".killed.training-*/checkpoint.pt")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "config.json").exists()
    resumed = subprocess.run([*command, "--resume"], env=several, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/4" not in resumed.stderr
    assert digest(out / "model.safetensors") == digest(whole / "model.safetensors")
    assert not list(tmp_path.glob(".killed*"))


@pytest.mark.parametrize(
    ("recipe", "case"),
    [
        ("finetune", ({"batch_size": 500}, ConfigError, r"--batch-size 500 is larger than the \d+ training")),
        ("finetune", ({"augment": "stronk"}, ConfigError, r"'stronk'. Did you mean strong\?")),
        ("partial", ({"cut": "blocs.5"}, ConfigError, r"'blocs\.5'. Did you mean blocks\.5\?")),
        ("finetune", ({"cut": "blocks.5"}, ConfigError, "--cut belongs to the recipe partial")),
        ("finetune", ({"freeze_rules": ("hed=1", ".*=0")}, FreezeRuleError, "hed")),
        ("finetune", ({"freeze_rules": (".*=0",)}, FreezeRuleError, "freeze everything")),
        (
            "finetune",
            (
                {"progressive": True, "input_px": 32},
                ConfigError,
                r"--progressive begins with .*: 32 pixels and 1 epoch leave nothing to grow\. Leave it out",
            ),
        ),
        ("auto", ({"progressive": True}, ConfigError, r"--progressive: not with --recipe auto")),
        (
            "partial",
            (
                {"batch_size": 500, "cut": "blocs.5", "augment": "lihgt"},
                ConfigError,
                r"'lihgt'\. Did you mean light",  # before any work
            ),
        ),
        (
            "partial",
            (
                {"batch_size": 500, "cut": "blocs.5"},
                ConfigError,
                r"'blocs\.5'\. Did you mean blocks\.5.*--batch-size 500 is",
            ),
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    small_set: Path,
    cache: Path,
    tmp_path: Path,
    recipe: str,
    case: tuple[dict[str, object], type[Exception], str],
) -> None:
    changes, error, message = case
    with pytest.raises(error, match=message):
        hs.train(
            small_set, hs.TrainConfig(recipe=recipe), quick(**changes), out=tmp_path / "run", cache=cache
        )
    assert not list(tmp_path.glob(".run*"))


def test_every_setting_out_of_range_is_listed() -> None:
    with pytest.raises(
        ConfigError, match=r"--epochs must be at least 1, not 0; --lr must be above 0, not -1"
    ):
        hs.TuneConfig(epochs=0, lr=-1)


def test_rules_of_the_user_replace_the_recipes_own(network: Network) -> None:
    phases = make_recipe("two-phase", hs.TuneConfig()).phases(find_stages(network))
    for phase in rules_of(phases, ["head.*=1", ".*=0"], network):
        assert [rule.lr_scale for rule in phase.rules] == [1.0, 0.0]


def test_the_probe_refuses_what_it_would_ignore(small_set: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--epochs, --ema, --resume: the probe trains no backbone"):
        hs.train(
            small_set, None, hs.TuneConfig(epochs=3, ema=0.9), out=tmp_path / "run", cache=cache, resume=True
        )


def test_the_card_says_where_the_weights_came_from(trained: hs.TrainResult) -> None:
    card = (trained.run / "README.md").read_text()
    scratch = json.loads((trained.run / "config.json").read_text())["headstart"]["recipe"] == "scratch"
    assert ("from random weights" in card) == scratch
    assert ("transfer learning" in card) == (not scratch)


def test_classes_of_one_picture_each_cannot_be_held_out(small_set: Path, cache: Path, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "set" / name).mkdir(parents=True)
        data = sorted((small_set / name).iterdir())[0].read_bytes()
        for n in range(4):
            (tmp_path / "set" / name / f"{n}.jpg").write_bytes(data)
    with pytest.raises(ConfigError, match="can be held out for validation"):
        hs.train(
            tmp_path / "set",
            hs.TrainConfig(recipe="finetune"),
            quick(batch_size=2),
            out=tmp_path / "run",
            cache=cache,
        )


def test_a_batch_size_that_was_measured_is_told_and_saved(
    small_set: Path, cache: Path, tmp_path: Path
) -> None:
    notes: list[str] = []

    class Listener(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    tuning = quick(batch_size="auto", steps_per_epoch=1)
    config = hs.TrainConfig(recipe="partial")
    result = hs.train(small_set, config, tuning, out=tmp_path / "run", cache=cache, progress=Listener())
    told = next(note for note in notes if note.startswith("Batch size "))
    size = json.loads((result.run / "config.json").read_text())["headstart"]["tuning"]["batch_size"]
    assert told.startswith(f"Batch size {size}: ")
    with pytest.raises(ConfigError, match=r"--head mlp trains none\. Give a number"):
        hs.train(small_set, hs.TrainConfig(head="mlp"), hs.TuneConfig(batch_size="auto"), cache=cache)


def test_fewer_images_than_a_usual_batch_are_one_batch(small_set: Path, cache: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for name in ("cats", "dogs"):
        (few / name).mkdir(parents=True)
        for path in sorted((small_set / name).iterdir())[:10]:
            shutil.copy(path, few / name)
    tuning = hs.TuneConfig(epochs=1, input_px=64, precision="fp32", val_fraction=0.25)
    result = hs.train(few, hs.TrainConfig(recipe="finetune"), tuning, out=tmp_path / "run", cache=cache)
    saved = json.loads((result.run / "config.json").read_text())["headstart"]
    assert saved["tuning"]["batch_size"] == saved["data"]["n_train"] < 20
