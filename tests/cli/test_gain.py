"""`headstart gain` prints what a training is worth over another, and refuses what can't be held together."""

import json
from pathlib import Path

import pytest

from support import Runner, refused, went_well


@pytest.fixture
def tested(call: Runner, small_set: Path, tmp_path: Path) -> Path:
    """A run on the small set, ten of whose pictures were held out as a test split."""
    went_well(call("train", small_set, "--test-fraction", "0.25", "--out", tmp_path / "tested", "--quiet"))
    return tmp_path / "tested"


def test_a_run_over_itself_gains_nothing(call: Runner, tested: Path) -> None:
    words = went_well(call("gain", tested, "--over", tested, tested))
    assert words.startswith("Gain: +0.0 points (95 % interval -")
    assert "on the same 11 images. The interval is for the choice of test images and of seeds." in words
    report = json.loads(went_well(call("gain", tested, "--over", tested, "--json")))
    assert (report["gain"]["value"], report["mcnemar_p"], report["images"]) == (0.0, 1.0, 11)
    assert report["runs"] == report["over"] == [str(tested)]


def test_what_has_no_test_split_or_is_no_run_is_refused(call: Runner, pets_run: Path) -> None:
    refused(call("gain", pets_run, "--over", pets_run), r"was measured on no test split", "--test-fraction")
    refused(call("gain", "nothing", "--over", pets_run), r"nothing")
    refused(call("gain", pets_run), "gain needs OVER")
