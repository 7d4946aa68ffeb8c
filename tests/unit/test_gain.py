"""The gain of runs over others: paired by image, refused where the images differ."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart.api.gain import PairedGain
from headstart.errors import ConfigError, DamagedRunError, RunError, RunNotFoundError
from headstart.metrics.intervals import mcnemar_exact
from headstart.metrics.paired import Estimate, mean_accuracy, mean_gain
from headstart.run.folder import RunFolder
from headstart.run.tables import Predictions, write_predictions

N = 60
rng = np.random.default_rng(0)
GOOD, BETTER = rng.random(N) < 0.6, rng.random(N) < 0.9


def make_run(path: Path, right: Sequence[bool], order: Sequence[int] = (), split: str = "test") -> Path:
    """A run folder with what a gain reads: of two classes, `a` is true of all images."""
    path.mkdir()
    run = RunFolder(path)
    run.config_json.write_text("{}")
    run.model_safetensors.write_bytes(b"")
    rows = list(order) or range(len(right))
    p = np.array([[0.9, 0.1] if right[row] else [0.2, 0.8] for row in rows], np.float32)
    names = [f"{row}.png" for row in rows]
    table = Predictions(names, [split] * len(names), ["a"] * len(names), p, ("a", "b"))
    write_predictions(run.predictions_parquet, table)
    return path


def test_it_is_paired_by_image_whatever_their_order(tmp_path: Path) -> None:
    better = make_run(tmp_path / "better", BETTER)
    good = make_run(tmp_path / "good", GOOD, order=rng.permutation(N))
    found = hs.gain(better, over=str(good))
    assert found.gain == mean_gain(BETTER[None], GOOD[None])
    assert (found.accuracy, found.baseline) == (mean_accuracy(BETTER[None]), mean_accuracy(GOOD[None]))
    assert found.p_value == mcnemar_exact(BETTER, GOOD)
    assert (found.runs, found.over, found.images) == ((better,), (good,), N)


def test_seeds_are_joined_and_then_there_is_no_exact_test(tmp_path: Path) -> None:
    sides = {"a": BETTER, "b": ~GOOD, "c": GOOD}
    a, b, c = (make_run(tmp_path / name, right) for name, right in sides.items())
    found = hs.gain([a, b], over=[c])
    assert found.gain == mean_gain(np.stack([BETTER, ~GOOD]), GOOD[None])
    assert found.p_value is None
    assert "and of seeds" in found.lines()[1]


def test_of_a_run_over_itself_it_is_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", GOOD)
    found = hs.gain(run, over=run)
    assert (found.gain.value, found.p_value) == (0.0, 1.0)


def test_other_images_are_refused_and_named(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", GOOD), make_run(tmp_path / "b", GOOD[:-2])
    with pytest.raises(RunError, match=r"a and .*b were measured on different images.*2 are only in one, "):
        hs.gain(a, over=b)
    with pytest.raises(RunError, match=r"such as 58\.png, 59\.png\. Measure both"):
        hs.gain(b, over=a)


def test_without_a_test_split_it_says_how_to_get_one(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", GOOD, split="cross-validation")
    with pytest.raises(RunError, match=r"a was measured on no test split.*--test-fraction 0\.2"):
        hs.gain(a, over=a)


def test_what_is_no_run_or_damaged_is_refused(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", GOOD)
    with pytest.raises(RunNotFoundError, match="nowhere"):
        hs.gain(a, over=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="at least one run on either side"):
        hs.gain(a, over=[])
    RunFolder(a).predictions_parquet.write_bytes(b"PAR1")
    with pytest.raises(DamagedRunError, match=r"predictions\.parquet can't be read"):
        hs.gain(a, over=a)


def test_no_points_have_no_sign_of_minus() -> None:
    some = Estimate(-1e-5, -1e-4, 0.01)
    found = PairedGain((), (), some, some, some, 1.0, N)
    assert found.lines()[0].startswith("Gain: +0.0 points (95 % interval +0.0 to +1.0,")
