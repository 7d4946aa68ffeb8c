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
from support import TIMEOUT_S, Done, Runner, digest, refused

SETTING = (
    *("--recipe", "finetune", "--input-px", "32", "--batch-size", "8", "--precision", "fp32"),
    *("--optimizer", "sgd", "--lr", "0.01", "--backbone-lr", "1", "--val-fraction", "0.25", "--epochs", "2"),
)
Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"test_resnet@{save_random(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture(scope="module")
def command(small_set: Path, tiny: str, cache: Path) -> Command:
    """The words of a training by two processes."""

    def words(*more: str | Path) -> list[str]:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        train = ["-m", "headstart", "train", small_set, "--model", tiny, *SETTING, "--cache", cache, *more]
        return [*launch, *map(str, train)]

    return words


def run(words: list[str], cwd: Path, environment: dict[str, str]) -> Done:
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=2 * TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def trained(command: Command, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A training by two processes in a folder of its own, where the last of `args` is."""
    folder = tmp_path_factory.mktemp("torchrun")
    done = run(command("--out", "both"), folder, environment)
    done.args = [*done.args, str(folder)]
    return done


def epochs_of(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "EpochEnded"]


def test_two_processes_give_the_training_of_one(
    trained: Done, headstart: Runner, small_set: Path, tiny: str, tmp_path: Path
) -> None:
    assert trained.returncode == 0, trained.stderr
    both = Path(trained.args[-1]) / "both"
    assert list(both.parent.iterdir()) == [both]
    assert trained.stdout.count("Saved in both after") == 1
    assert [trained.stderr.count(f"epoch {number}/2 all") for number in (1, 2)] == [1, 1]
    done = headstart("train", small_set, "--model", tiny, *SETTING, "--out", "alone", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    weights, expected = (load_file(path / "model.safetensors") for path in (both, tmp_path / "alone"))
    for name, tensor in expected.items():
        np.testing.assert_allclose(weights[name], tensor, rtol=1e-3, atol=1e-5, err_msg=name)
    for one, two in zip(epochs_of(tmp_path / "alone"), epochs_of(both), strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), name


def test_ctrl_c_ends_both_and_resumed_equals_uninterrupted(
    trained: Done, command: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = command("--out", "cut")
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/2"):
                break
        while not list(tmp_path.glob(".cut.training-*/checkpoint.pt")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=2 * TIMEOUT_S)
    assert process.returncode != 0
    assert "The same command with --resume goes on from the last checkpoint." in rest
    assert rest.count("headstart: interrupted") == 1
    assert not (tmp_path / "cut").exists()
    resumed = run([*words, "--resume"], tmp_path, environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/2" not in resumed.stderr
    whole = Path(trained.args[-1]) / "both"
    assert digest(tmp_path / "cut" / "model.safetensors") == digest(whole / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]


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


@pytest.mark.parametrize("command", ["train", "env"])
def test_variables_that_make_no_sense_are_told(
    call: Runner, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "many")):
        monkeypatch.setenv(name, value)
    refused(call(command, *(["set"] if command == "train" else [])), r"RANK is '0' and WORLD_SIZE 'many'")
