"""Two processes of torchrun train one network on halves of the same batches, and leave one run."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from networks import save_random
from support import TIMEOUT_S, Done, Runner, refused

SETTING = (
    *("--recipe", "finetune", "--input-px", "32", "--batch-size", "8", "--precision", "fp32"),
    *("--optimizer", "sgd", "--lr", "0.01", "--backbone-lr", "1", "--val-fraction", "0.25"),
)
Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"test_resnet@{save_random(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture
def command(small_set: Path, tiny: str, cache: Path) -> Command:
    """The words of a training by two processes."""

    def words(*more: str | Path) -> list[str]:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        train = ["-m", "headstart", "train", small_set, "--model", tiny, *SETTING, "--cache", cache, *more]
        return [*launch, *map(str, train)]

    return words


def run(words: list[str], cwd: Path, environment: dict[str, str]) -> Done:
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def epochs_of(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "EpochEnded"]


def test_two_processes_give_the_training_of_one(
    headstart: Runner,
    command: Command,
    small_set: Path,
    tiny: str,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    alone = headstart(
        "train", small_set, "--model", tiny, *SETTING, "--epochs", "2", "--out", "alone", cwd=tmp_path
    )
    assert alone.returncode == 0, alone.stderr
    done = run(command("--epochs", "2", "--out", "both"), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "both"]
    assert done.stdout.count("Saved in both after") == 1
    assert [done.stderr.count(f"epoch {number}/2 all") for number in (1, 2)] == [1, 1]
    weights, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("both", "alone"))
    for name, tensor in expected.items():
        np.testing.assert_allclose(weights[name], tensor, rtol=1e-3, atol=1e-5, err_msg=name)
    for one, two in zip(epochs_of(tmp_path / "alone"), epochs_of(tmp_path / "both"), strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), name


def test_ctrl_c_ends_both_and_resumed_equals_uninterrupted(
    command: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = command("--epochs", "3", "--augment", "strong", "--ema", "0.9")
    whole = run([*words, "--out", "whole"], tmp_path, environment)
    assert whole.returncode == 0, whole.stderr
    with subprocess.Popen(
        [*words, "--out", "cut"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/3"):
                break
        while not list(tmp_path.glob(".cut.training-*/checkpoint.pt")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "The same command with --resume goes on from the last checkpoint." in rest
    assert rest.count("headstart: interrupted") == 1
    assert not (tmp_path / "cut").exists()
    resumed = run([*words, "--out", "cut", "--resume"], tmp_path, environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/3" not in resumed.stderr
    model = "model.safetensors"
    assert (tmp_path / "cut" / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


def test_an_error_of_the_first_ends_both_and_is_told_once(
    command: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    done = run(command("--cut", "layer9", "--out", "run"), tmp_path, environment)
    assert done.returncode != 0
    assert done.stderr.count("headstart: ") == 1
    assert "--cut belongs to the recipe partial" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "set"], r"The recipe probe is done by one process, and 4 were started\."),
        (["train", "set", "--budget", "5m"], r"The recipe auto is done by one process"),
        (
            ["compare", "set"],
            r"headstart compare is done by one process, and 4 were started\. Start it without",
        ),
        (
            ["predict", "run", "x.jpg"],
            r"headstart predict is done by one process.*torchrun --nproc-per-node 2",
        ),
    ],
)
def test_what_is_not_shared_is_refused(
    call: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    refused(call(*words), message)
