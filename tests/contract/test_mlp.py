"""What a run with hidden layers in its head promises: all that any run does, but for plain timm's logits."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file, save_file

import headstart as hs
from headstart.data.decode import read_view
from headstart.errors import ConfigError, DamagedRunError
from headstart.progress import Advance, Silent
from headstart.run.tables import read_split
from support import digest

TUNING = hs.TuneConfig(epochs=3, batch_size=8, lr=3e-4)
FULL_WIDTH = 4096


@pytest.fixture(scope="module")
def trained(small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    out = tmp_path_factory.mktemp("runs") / "mlp"
    return hs.train(small_set, hs.TrainConfig(head="mlp"), TUNING, out=out, cache=cache)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.api.mlp.WIDTH", 16)


@pytest.fixture(scope="module")
def images(small_set: Path) -> list[str]:
    return [str(path) for path in sorted(small_set.rglob("*.jpg"))[::4]]


def test_the_run_is_whole_and_says_what_its_head_is(trained: hs.TrainResult) -> None:
    assert set(trained.scores) == {"test", "val"}
    assert trained.scores["test"].accuracy > 0.7
    names = {path.name for path in trained.run.iterdir()}
    assert {"model.safetensors", "head.safetensors", "results.csv", "README.md"} <= names
    shapes = {name: array.shape for name, array in load_file(trained.run / "head.safetensors").items()}
    assert shapes["hidden.0.weight"] == (FULL_WIDTH, 1280)
    assert shapes["hidden.1.weight"] == (FULL_WIDTH, FULL_WIDTH)
    assert shapes["output.weight"] == (2, FULL_WIDTH)
    config = json.loads((trained.run / "config.json").read_text())
    assert config["num_classes"] == 0  # of timm's model
    assert config["label_names"] == ["cats", "dogs"]
    assert config["headstart"]["head"]["kind"] == "mlp"


def test_the_scores_are_what_the_loaded_run_reaches(
    trained: hs.TrainResult, cache: Path, small_set: Path
) -> None:
    split = {Path(path).name for path in _paths_of(trained.run, "test")}
    test = [path for path in sorted(small_set.rglob("*.jpg")) if path.name in split]
    found = hs.load(trained.run, cache=cache).predict(test)
    right = np.mean([name == path.parent.name for name, path in zip(found, test, strict=True)])
    assert right == pytest.approx(trained.scores["test"].accuracy)


def _paths_of(run: Path, part: str) -> list[str]:
    table = read_split(run / "split.parquet")
    return [path for path, split in zip(table.paths, table.splits, strict=True) if split == part]


def test_plain_timm_gives_the_features_and_the_file_the_head(
    trained: hs.TrainResult, cache: Path, images: list[str]
) -> None:
    classifier = hs.load(trained.run, cache=cache, runtime="torch-fp32")
    views = np.stack([read_view(path, classifier.trunk.preprocessing) for path in images])
    features = classifier.runtime.embed(views)
    plain = timm.create_model(f"local-dir:{trained.run}", pretrained=True).eval()
    mean, std = (
        torch.tensor(v) for v in (classifier.trunk.preprocessing.mean, classifier.trunk.preprocessing.std)
    )
    with torch.inference_mode():
        theirs = plain(((torch.from_numpy(views) / 255 - mean) / std).permute(0, 3, 1, 2))
    np.testing.assert_allclose(features, theirs.numpy(), atol=1e-4)
    x, head = theirs, {n: torch.from_numpy(t) for n, t in load_file(trained.run / "head.safetensors").items()}
    for n in range(2):
        x = torch.relu(x @ head[f"hidden.{n}.weight"].T + head[f"hidden.{n}.bias"])
    logits = x @ head["output.weight"].T + head["output.bias"]
    np.testing.assert_allclose(classifier.logits(features), logits.numpy(), rtol=1e-3, atol=1e-3)


def test_the_cards_snippet_for_timm_runs_as_it_stands(trained: hs.TrainResult, images: list[str]) -> None:
    card = (trained.run / "README.md").read_text()
    snippet = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert "head.safetensors" in snippet
    photo = trained.run / "photo.jpg"
    shutil.copy(images[0], photo)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=trained.run,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    photo.unlink()
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(cats|dogs) 0\.\d+", done.stdout.strip())


def test_an_empty_cache_is_filled_from_the_run_itself(
    trained: hs.TrainResult, cache: Path, images: list[str], tmp_path: Path
) -> None:
    before = hs.load(trained.run, cache=cache).predict_proba(images)
    after = hs.load(trained.run, cache=tmp_path / "empty").predict_proba(images)
    np.testing.assert_allclose(after, before, atol=1e-3)


def test_an_image_is_predicted_alike_alone_and_in_company(
    trained: hs.TrainResult, cache: Path, images: list[str]
) -> None:
    classifier = hs.load(trained.run, cache=cache)
    alone = np.concatenate([classifier.predict_proba([path]) for path in images])
    np.testing.assert_allclose(classifier.predict_proba(images), alone, atol=1e-3)


_PREDICT = """
import sys
import headstart as hs
print(hs.load(sys.argv[1], cache=sys.argv[2]).predict(sys.argv[3:]), "torch" in sys.modules)
"""


def test_predicting_imports_no_torch(trained: hs.TrainResult, cache: Path, images: list[str]) -> None:
    words = [sys.executable, "-c", _PREDICT, str(trained.run), str(cache), *images[:2]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("] False")


@pytest.mark.parametrize("damage", ["gone", "truncated", "changed", "lacking"])
def test_a_damaged_head_is_refused(damage: str, trained: hs.TrainResult, cache: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run")
    file = run / "head.safetensors"
    tensors = load_file(file)
    if damage == "gone":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "changed":
        save_file({**tensors, "output.bias": tensors["output.bias"] + 1}, file)
    else:
        save_file({name: array for name, array in tensors.items() if name != "output.bias"}, file)
    with pytest.raises(
        DamagedRunError, match=r"head\.safetensors.*(can't be read|is damaged or was changed)"
    ):
        hs.load(run, cache=cache)


class Impatient(Silent):
    """Presses Ctrl-C when it is told of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def note(self, message: str) -> None:
        if message.startswith(f"epoch {self.epoch}/"):
            raise KeyboardInterrupt

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        yield lambda _: None


@pytest.mark.usefixtures("narrow")
def test_resumed_equals_uninterrupted(small_set: Path, cache: Path, tmp_path: Path) -> None:
    config, tuning = hs.TrainConfig(head="mlp", mirror="on"), hs.TuneConfig(epochs=4, batch_size=8, ema=0.9)
    whole = hs.train(small_set, config, tuning, out=tmp_path / "whole", cache=cache)
    with pytest.raises(KeyboardInterrupt):
        hs.train(small_set, config, tuning, out=tmp_path / "cut", cache=cache, progress=Impatient(3))
    resumed = hs.train(small_set, config, tuning, out=tmp_path / "cut", cache=cache, resume=True)
    for name in ("head.safetensors", "model.safetensors"):
        assert digest(resumed.run / name) == digest(whole.run / name)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("config", "tuning", "message"),
    [
        (
            {"head": "mlp"},
            {"augment": "strong", "cut": "blocks.5"},
            "--augment, --cut: --head mlp learns from stored",
        ),
        ({"head": "mlp"}, {"batch_size": 400}, "--batch-size 400 is larger than"),
        ({"head": "mlp", "recipe": "finetune"}, {}, "--head mlp .* goes with --recipe probe alone"),
        ({"head": "mlp", "head_init": "source"}, {}, "--head mlp .* takes no --head-init"),
        ({}, {"epochs": 3}, "--epochs: the probe trains no backbone"),
    ],
)
def test_what_does_not_fit_is_refused(
    config: dict[str, str], tuning: dict[str, object], message: str, small_set: Path, cache: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        hs.train(small_set, hs.TrainConfig(**config), hs.TuneConfig(**tuning), cache=cache)
