"""What was cut short goes on only as it began: with its data, its settings, its code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import headstart as hs
from headstart.errors import ResumeError
from headstart.training.batches import ImageBatches
from headstart.training.checkpoint import Checkpoint, Progressed
from networks import TINY, save_random
from support import digest

QUICK = hs.TuneConfig(epochs=3, input_px=64, batch_size=8, precision="fp32", val_fraction=0.25)
Train = Callable[..., hs.TrainResult]


@pytest.fixture
def pets(small_set: Path, tmp_path: Path) -> Path:
    """A copy of the small set that a test may change."""
    return Path(shutil.copytree(small_set, tmp_path / "pets"))


@pytest.fixture
def train(pets: Path, cache: Path, tmp_path: Path) -> Train:
    model = f"{TINY}@{save_random(tmp_path)}"

    def run(
        name: str = "run", tuning: hs.TuneConfig = QUICK, *, seed: int = 0, **more: bool
    ) -> hs.TrainResult:
        config = hs.TrainConfig(recipe="finetune", model=model, seed=seed)
        return hs.train(pets, config, tuning, out=tmp_path / name, cache=cache, **more)

    return run


def interrupt(train: Train, epoch: int, name: str = "run", tuning: hs.TuneConfig = QUICK) -> None:
    """Begin a training that ends like a Ctrl-C after so many epochs."""
    whole = Checkpoint.save

    def save(self: Checkpoint, module: object, progressed: Progressed, *more: object) -> None:
        whole(self, module, progressed, *more)
        if progressed.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", save)
        with pytest.raises(KeyboardInterrupt):
            train(name, tuning)


@pytest.fixture
def cut(train: Train, tmp_path: Path) -> Path:
    """The folder of a training that was cut short after its first epoch."""
    interrupt(train, 1)
    (folder,) = tmp_path.glob(".run.training-*")
    return folder


def test_nothing_to_resume_is_said(train: Train) -> None:
    with pytest.raises(ResumeError, match="nothing to resume"):
        train(resume=True)


def test_with_other_images(train: Train, cut: Path, pets: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(pixels).save(pets / "cats" / "another.png")
    message = r"training-1 was trained otherwise, so it can't go on: images was 40 of .* and is 41 of"
    with pytest.raises(ResumeError, match=message):
        train(resume=True)
    (pets / "cats" / "another.png").unlink()
    assert len(train(resume=True).epochs) == 3
    assert not cut.exists()


def test_with_other_classes(train: Train, cut: Path, pets: Path) -> None:
    (pets / "dogs").rename(pets / "puppies")
    with pytest.raises(ResumeError, match=r"classes was cats, dogs and is cats, puppies"):
        train(resume=True)


def test_with_other_code(train: Train, cut: Path) -> None:
    facts = json.loads((cut / "facts.json").read_text())
    (cut / "facts.json").write_text(json.dumps({**facts, "headstart": "0.0.9", "torch": "1.13"}))
    with pytest.raises(ResumeError, match=r"headstart was 0\.0\.9 and is .*; torch was 1\.13 and is "):
        train(resume=True)


def test_with_other_settings(train: Train, cut: Path) -> None:
    other = hs.TuneConfig(epochs=4, input_px=64, batch_size=8, precision="fp32", val_fraction=0.25)
    with pytest.raises(ResumeError, match=r"seed was 0 and is 1; epochs was 3 and is 4\. Give the same"):
        train("run", other, seed=1, resume=True)


def test_growing_views_go_on_where_they_were(
    train: Train, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = hs.TuneConfig(
        epochs=3,
        input_px=64,
        batch_size="auto",
        precision="fp32",
        val_fraction=0.25,
        steps_per_epoch=2,
        progressive=True,
    )
    seen: list[int] = []

    def view(self: ImageBatches, row: int, epoch: int, repeat: int = 0) -> NDArray[np.uint8]:
        made = watched(self, row, epoch, repeat)
        seen.append(len(made))
        return made

    watched = ImageBatches.view
    monkeypatch.setattr(ImageBatches, "view", view)
    whole = train("whole", growing)
    assert seen == sorted(seen)
    assert set(seen) == {32, 64}
    interrupt(train, 2, "cut", growing)
    seen.clear()
    resumed = train("cut", growing, resume=True)
    assert set(seen) == {64}
    weights = [digest(run / "model.safetensors") for run in (whole.run, resumed.run)]
    assert weights[0] == weights[1]
    assert hs.load(resumed.run, cache=cache).trunk.preprocessing.crop_px == 64
