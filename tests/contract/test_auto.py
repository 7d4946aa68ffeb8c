"""The recipe auto: always a usable model, never a worse one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart.errors import ConfigError
from headstart.progress import Silent

_QUICK = {"epochs": 1, "input_px": 64, "batch_size": 8, "precision": "fp32", "val_fraction": 0.25}
_FLAGS = "--recipe auto --epochs 2 --input-px 64 --batch-size 8 --precision fp32 --val-fraction 0.25"


def quick(**changes: object) -> hs.TuneConfig:
    return hs.TuneConfig(**{**_QUICK, **changes})


def events(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def probed(small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    return hs.train(small_set, out=tmp_path_factory.mktemp("runs") / "probe", cache=cache)


def test_where_nothing_pays_the_probe_stays(
    small_set: Path, probed: hs.TrainResult, cache: Path, tmp_path: Path
) -> None:
    result = hs.train(small_set, hs.TrainConfig(recipe="auto"), quick(), out=tmp_path / "run", cache=cache)
    images = sorted(small_set.rglob("*.jpg"))
    kept, plain = (hs.load(run, cache=cache).predict_proba(images) for run in (result.run, probed.run))
    np.testing.assert_array_equal(kept, plain)
    assert result.headline == probed.headline == "cross-validation"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    tried = [event["rung"] for event in events(result.run) if event.get("event") == "RungEnded"]
    assert tried == ["tail", "whole"]
    stored = json.loads((result.run / "environment.json").read_text())["seconds"]
    assert stored["training"] == result.seconds["training"] > 0


def test_a_rung_that_pays_takes_the_probes_place(
    small_set: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.metrics.gain.Gain.is_real", property(lambda _: True))
    result = hs.train(small_set, hs.TrainConfig(recipe="auto"), quick(), out=tmp_path / "run", cache=cache)
    assert result.headline == "test"
    kept = [event["rung"] for event in events(result.run) if event["event"] == "RungEnded" and event["kept"]]
    assert kept == ["tail", "whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    model = hs.load(result.run, cache=cache)
    assert model.trunk.preprocessing.crop_px == 64


def test_photographs_are_climbed_on_growing_views_at_a_rate_that_suits_the_probe(
    small_set: Path, cache: Path, tmp_path: Path
) -> None:
    tuning = quick(epochs=2, input_px=160)
    result = hs.train(small_set, hs.TrainConfig(recipe="auto"), tuning, out=tmp_path / "run", cache=cache)
    begun = [event for event in events(result.run) if event.get("event") == "RungStarted"]
    assert [(event["rung"], event["sizes"]) for event in begun] == [("tail", [96, 160]), ("whole", [96, 160])]
    tail, whole = (event["lr"] for event in begun)
    assert tail == 2 * whole <= 5e-4  # the probe errs on few


def test_a_budget_too_small_for_a_step_leaves_the_probe(
    small_set: Path, probed: hs.TrainResult, cache: Path, tmp_path: Path
) -> None:
    notes: list[str] = []

    class Listener(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    result = hs.train(
        small_set,
        hs.TrainConfig(budget="1s"),
        quick(),
        out=tmp_path / "run",
        cache=cache,
        progress=Listener(),
    )
    assert result.scores.keys() == probed.scores.keys()
    assert any("would take at least" in note and "are left" in note for note in notes)


def test_a_speed_remembered_from_a_busy_hour_starves_no_budget(
    small_set: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.api.fitting.time_precisions", lambda *_: {"fp32": 1e-3, "bf16": 1e-4})
    config, tuning = hs.TrainConfig(budget="10m"), quick(precision="auto")
    result = hs.train(small_set, config, tuning, out=tmp_path / "run", cache=cache)
    begun = [event["rung"] for event in events(result.run) if event.get("event") == "RungStarted"]
    assert begun == ["tail", "whole"]


def test_a_kill_leaves_the_probe_and_a_climb_that_goes_on(
    small_set: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "headstart", "train", small_set, *_FLAGS.split(), "--out", out]
    command += ["--cache", cache]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/2 tail"):
            os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    assert hs.load(out, cache=cache).predict(sorted(small_set.rglob("*.jpg"))[:1])
    command.append("--resume")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/2 tail" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]


@pytest.mark.parametrize(
    ("config", "tuning", "told"),
    [
        ({"budget": "soon"}, {}, "--budget must be a time such as 90s, 5m or 1h .* not 'soon'"),
        ({"budget": "0s"}, {}, "--budget must be a time"),
        ({"budget": "5m", "recipe": "finetune"}, {}, "--recipe finetune takes --epochs instead"),
        ({"recipe": "auto"}, {"lr": 1e-3}, "--lr: each rung of the recipe auto has its own"),
        ({"recipe": "auto"}, {"batch_size": 500}, "--batch-size 500 is larger"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    small_set: Path, cache: Path, config: dict[str, str], tuning: dict[str, float], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        hs.train(small_set, hs.TrainConfig(**config), hs.TuneConfig(**tuning), cache=cache)
