"""Missing, foreign and damaged runs are refused; what is damaged in the cache is made again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support import Runner, copy_default_trunk, damage, files_below, pictures, refused


def test_a_class_unknown_to_the_model(call: Runner, pets_run: Path, pets: Path) -> None:
    (pets / "dogs").rename(pets / "hounds")
    (pets / "birds").mkdir()
    shutil.move(pictures(pets / "cats")[0], pets / "birds")
    refused(
        call("evaluate", pets_run, "pets"),
        r"\S+/pets has classes that the model does not know: 'birds' \(1 image\), 'hounds' \(20 images\)\. "
        r"It knows 'cats', 'dogs'\. Rename the folders, or train with these classes",
    )


def test_no_run_there(call: Runner, pets_run: Path, small_set: Path) -> None:
    refused(
        call("predict", pets_run.parent / "pets-prob-1", small_set),
        rf"There is no run at .* Like it in \S+: {pets_run}",
    )
    refused(
        call("predict", small_set, small_set),
        r"\S+/pets is not a run: it lacks config\.json and model\.safetensors",
    )
    refused(
        call("evaluate", pets_run / "config.json", small_set), r"config\.json is a file; a run is a folder"
    )
    refused(
        call("predict", "none", small_set),
        r"There is no run at none\. Make one with `headstart train PHOTOS`",
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda run: os.truncate(run / "model.safetensors", 100_000),
            r"model\.safetensors can't be read: .* Train again",
        ),
        (
            lambda run: damage(run / "model.safetensors", 0.5),
            r"model\.safetensors is damaged or was changed: its tensors",
        ),
        (
            lambda run: damage(run / "model.safetensors", 0.9999),
            r"model\.safetensors is damaged or was changed",
        ),
        (
            lambda run: (run / "model.safetensors").unlink(),
            r"broken is not a run: it lacks model\.safetensors",
        ),
        (
            lambda run: (run / "config.json").write_text('{"format_ve'),
            r"config\.json is damaged, perhaps truncated",
        ),
        (lambda run: (run / "config.json").write_bytes(b"\xff\xfe\0"), r"config\.json is damaged"),
        (
            lambda run: (run / "config.json").write_text("[]"),
            r"config\.json must hold a JSON object, not list",
        ),
        (lambda run: (run / "config.json").write_text("{}"), r"config\.json lacks 'format_version'"),
        (
            lambda run: (run / "config.json").write_text('{"format_version": 1}'),
            r"lacks or garbles 'headstart'",
        ),
        (
            lambda run: edit(run / "config.json", '"format_version": 1', '"format_version": 9'),
            r"format version 9, and this Headstart reads up to 1\. Upgrade it",
        ),
        (
            lambda run: edit(run / "config.json", '"cats",', '"cats", "more",'),
            r"garbles pretrained_cfg's num_classes \(2\): the rest of the file says 3\.",
        ),
        (
            lambda run: edit(run / "config.json", '"temperature": ', '"temperature": "hot", "was": '),
            r"garbles .*'hot'",
        ),
        (
            lambda run: edit(run / "config.json", '"runtime": "', '"runtime": "abacus-'),
            r"config\.json lacks or garbles the runtime 'abacus-",
        ),
    ],
    ids=[
        "truncated weights",
        "a flipped bit",
        "a flipped bit in the head",
        "no weights",
        "truncated config",
        "binary config",
        "a list",
        "an empty object",
        "no headstart",
        "a newer version",
        "a class too many",
        "a wrong temperature",
        "an unknown runtime",
    ],
)
def test_a_damaged_bundle(
    harm: Callable[[Path], object],
    message: str,
    call: Runner,
    pets_run: Path,
    small_set: Path,
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(pets_run, tmp_path / "broken"))
    harm(run)
    refused(call("predict", "broken", pictures(small_set)[0]), message)


def test_a_bundle_predicts_without_the_rest_of_its_run(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(pets_run / name, tmp_path / "bundle")
    assert call("predict", "bundle", pictures(small_set)[0]).returncode == 0


def test_forbidden_weights_are_told_apart_from_damaged_ones(
    as_a_user: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(pets_run, tmp_path / "mine"))
    (run / "model.safetensors").chmod(0)
    done = as_a_user("predict", "mine", pictures(small_set)[0], cwd=tmp_path)
    refused(done, r"mine/model\.safetensors can't be read: permission denied\. Give yourself the right")


@pytest.fixture
def own_cache(cache: Path, pets_run: Path, tmp_path: Path) -> Path:
    """A cache that a test may damage: the default trunk, and the features of the small set alone."""
    copy_default_trunk(cache, tmp_path / "own")
    return tmp_path / "own"


def test_damaged_features_are_embedded_again(call: Runner, small_set: Path, own_cache: Path) -> None:
    words = ["train", small_set, "--json", "--cache", own_cache]
    metrics = json.loads(call(*words).stdout)["metrics"]
    parts = pictures(own_cache / "features")
    before = files_below(own_cache / "features")
    os.truncate(parts[0], parts[0].stat().st_size // 2)
    damage(parts[1], 0.5)
    done = call(*words)
    assert "Embedding images: 40 in" in done.stderr
    assert json.loads(done.stdout)["metrics"] == metrics
    assert files_below(own_cache / "features") == before


def test_a_damaged_trunk_is_made_again(
    call: Runner, small_set: Path, pets_run: Path, own_cache: Path
) -> None:
    words = ["predict", pets_run, small_set / "cats", "--format", "csv", "--cache", own_cache]
    answers = call(*words).stdout
    for trunk in (own_cache / "trunks").glob("tf_efficientnet_lite0-*"):
        damage(trunk / "trunk.bin", 0.5)
        os.truncate(trunk / "weights.safetensors", 1000)
    done = call(*words)
    assert done.returncode == 0
    assert "Converting" in done.stderr
    assert done.stdout == answers
    assert "Converting" not in call(*words).stderr
