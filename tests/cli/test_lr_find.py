"""`headstart lr-find` trains through the one loop, saves what it saw, and refuses what it would ignore."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from support import Runner, refused, went_well

SMALL = ("--input-px", "64", "--batch-size", "8", "--precision", "fp32", "--val-fraction", "0.25")


def test_it_saves_the_plot_and_the_losses_and_says_why(call: Runner, small_set: Path, tmp_path: Path) -> None:
    words = ("lr-find", small_set, "--steps", "20", "--start-lr", "1e-5", "--end-lr", "10", *SMALL)
    told = went_well(
        call(*words),
        r"^Learning rate \S+ Why: .+ Saved in runs/pets-lr-find-1",
        "--recipe finetune --batch-size 8 --input-px 64 --val-fraction 0.25 --precision fp32 --lr ",
    )
    folder = tmp_path / "runs" / "pets-lr-find-1"
    assert sorted(path.name for path in folder.iterdir()) == ["lr-find.csv", "lr-find.json", "lr-find.png"]
    report = json.loads((folder / "lr-find.json").read_text())
    assert f"Learning rate {report['lr']:.1e}" in told
    assert report["settings"]["steps"] == 20
    rows = list(csv.DictReader((folder / "lr-find.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == report["losses"]
    lrs = np.array([float(row["lr"]) for row in rows])
    np.testing.assert_allclose(lrs, 1e-5 * 10 ** (6 * np.arange(len(lrs)) / 19), rtol=1e-6)
    assert report["diverged"]
    assert 1e-5 <= report["least"] < lrs[-1]
    with Image.open(folder / "lr-find.png") as image:
        assert image.size > (600, 400)
    assert not list(folder.parent.glob(".*"))


def test_the_same_words_see_the_same_losses(small_set: Path, cache: Path, tmp_path: Path) -> None:
    tuning = hs.TuneConfig(input_px=64, batch_size=8, precision="fp32", val_fraction=0.25)
    config = hs.LrFindConfig(recipe="partial", steps=20, end_lr=1e-2)
    found = [hs.lr_find(small_set, config, tuning, out=tmp_path / "lr", cache=cache) for _ in range(2)]
    assert found[0].measured == found[1].measured
    assert [one.folder.name for one in found] == ["lr", "lr-2"]
    assert len(found[0].measured.lrs) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "probe"], "--recipe takes one of scratch, finetune, two-phase.* not 'probe'"),
        (["--recipe", "finetun"], "not 'finetun'. Did you mean finetune?"),
        (
            ["--start-lr", "0", "--steps", "3"],
            "--start-lr must be above 0, not 0.*; --steps must be at least 20",
        ),
        (["--start-lr", "2"], "--start-lr 2 must lie below --end-lr 1"),
        (["--lr", "1e-3", "--epochs", "2"], "--epochs, --lr: a range test is one short epoch"),
        (["--batch-size", "500", "--input-px", "64"], r"--batch-size 500 is larger than the \d+ training"),
        (["--augment", "stronk"], r"'stronk'. Did you mean strong\?"),
    ],
)
def test_what_makes_no_range_test_is_refused(
    words: list[str], message: str, call: Runner, small_set: Path, tmp_path: Path
) -> None:
    refused(call("lr-find", small_set, *words), message)
    assert not (tmp_path / "runs").exists()
