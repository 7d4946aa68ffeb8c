"""A run of one's own as the source of the next: its weights, its view, its classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import headstart as hs
from headstart.backbones.catalogue import find_backbone, source_run
from headstart.backbones.network import make_network
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import open_trunk
from headstart.backbones.weights import numpy_tensors
from headstart.config import RuntimeName
from headstart.errors import ConfigError, DamagedRunError, RunNotFoundError, UnknownBackboneError
from networks import TINY, save_random, some_views
from support import take

QUICK: dict[str, Any] = {"mirror": "off", "runtime": "openvino-fp32"}
TUNING = hs.TuneConfig(epochs=1, batch_size=8, input_px=96, lr=1e-3)


@pytest.fixture(scope="module")
def big(small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose whole backbone has learnt, at a size of its own."""
    folder = tmp_path_factory.mktemp("big")
    config = hs.TrainConfig(model=f"{TINY}@{save_random(folder)}", recipe="finetune", **QUICK)
    return hs.train(small_set, config, TUNING, out=folder / "big-1", cache=cache).run


@pytest.fixture(scope="module")
def insects(photo_sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs of ants and of bees."""
    root = tmp_path_factory.mktemp("few") / "insects"
    take(photo_sets / "hymenoptera" / "train", root, 12)
    return root


@pytest.fixture(scope="module")
def small(big: Path, insects: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe on what the big run has learnt."""
    out = tmp_path_factory.mktemp("small") / "small-1"
    return hs.train(insects, hs.TrainConfig(from_=str(big), **QUICK), out=out, cache=cache).run


def backbone_of(run: Path) -> dict[str, NDArray[Any]]:
    return {name: t for name, t in load_file(run / "model.safetensors").items() if not name.startswith("fc.")}


@pytest.mark.parametrize("runtime", ["torch-fp32", "openvino-fp32"])
def test_features_and_answers_are_the_runs(runtime: RuntimeName, big: Path, cache: Path) -> None:
    model, trunk = hs.load(big, cache=cache, runtime=runtime), open_trunk(source_run(str(big)), cache)
    assert trunk.preprocessing == model.trunk.preprocessing
    assert trunk.preprocessing.crop_px == 96
    assert trunk.source_classes == model.classes == ("cats", "dogs")
    features = open_runtime(trunk, runtime).embed(views := some_views(trunk, 4))
    np.testing.assert_array_equal(features, model.runtime.embed(views))
    np.testing.assert_allclose(trunk.source_logits(features), model.logits(features), rtol=1e-5, atol=1e-5)


def test_the_next_run_has_its_weights(big: Path, small: Path, cache: Path) -> None:
    theirs, ours = backbone_of(big), backbone_of(small)
    assert theirs.keys() == ours.keys()
    assert all((theirs[name] == ours[name]).all() for name in theirs)
    network = make_network(open_trunk(source_run(str(big)), cache), 2)
    started = numpy_tensors(network.backbone)
    assert all((theirs[name] == started[name]).all() for name in theirs)


def test_where_it_comes_from_is_written_down(big: Path, small: Path, insects: Path, cache: Path) -> None:
    third = hs.train(
        insects, hs.TrainConfig(from_=str(small), **QUICK), out=small.with_name("third"), cache=cache
    ).run
    facts = [json.loads((run / "config.json").read_text())["headstart"] for run in (big, small, third)]
    assert "from" not in facts[0]["backbone"]
    first = facts[1]["backbone"]["from"]
    assert (first["run"], first["recipe"], first["data"]) == ("big-1", "finetune", "pets")
    assert first["digest"] == facts[0]["backbone"]["model_digest"]
    assert first["backbone"] == facts[0]["backbone"]["name"]
    assert first["before"] is None
    assert facts[1]["backbone"]["licence"] == facts[0]["backbone"]["licence"]
    assert facts[2]["backbone"]["from"]["before"] == first
    card = (third / "README.md").read_text()
    assert (
        "Its backbone comes from the run small-1 (probe on 24 images of insects, from the run big-1 (" in card
    )


def test_a_whole_network_learns_on_from_it(big: Path, insects: Path, cache: Path, tmp_path: Path) -> None:
    still = hs.TuneConfig(epochs=1, batch_size=4, lr=1e-9, schedule="constant", weight_decay=0)
    config = hs.TrainConfig(from_=str(big), recipe="finetune", **QUICK)
    run = hs.train(insects, config, still, out=tmp_path / "run", cache=cache).run
    theirs, ours = backbone_of(big), backbone_of(run)
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)
    assert hs.load(run, cache=cache).trunk.preprocessing.crop_px == 96


def test_a_source_run_teaches_from_three_images_a_class(
    photo_sets: Path, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    big = hs.train(small_set, hs.TrainConfig(**QUICK), out=tmp_path / "big", cache=cache).run
    few = tmp_path / "few"
    take(photo_sets / "cats_dogs" / "train", few / "train", 3)
    take(photo_sets / "cats_dogs" / "test", few / "test", 20)
    by_name = hs.TrainConfig(
        from_=str(big), head_init="source", source_class=("cats=cats", "dogs=dogs"), **QUICK
    )
    result = hs.train(few, by_name, out=tmp_path / "small", cache=cache)
    assert result.zero_shot is not None
    assert result.zero_shot.rows == {"cats": ("cats",), "dogs": ("dogs",)}
    assert result.zero_shot.parts["test"].accuracy > 0.9
    assert result.scores["test"].accuracy > 0.9
    with pytest.raises(ConfigError, match=r"no source class is called 'cat' \(did you mean 'cats'\?\)"):
        hs.train(
            few,
            hs.TrainConfig(from_=str(big), head_init="source", source_class=("cats=cat",), **QUICK),
            cache=cache,
        )


def test_a_comparison_takes_runs_among_its_models(
    big: Path, insects: Path, tmp_path: Path, cache: Path
) -> None:
    config = hs.CompareConfig(recipes=("probe",), models=("lite0", str(big)), **QUICK)
    table = hs.compare(insects, config, out=tmp_path / "both", cache=cache)
    assert [row.model for row in table.rows] == ["lite0", str(big)]
    assert all(not row.failures for row in table.rows)


def test_a_run_without_its_own_trunk_in_the_cache_is_enough(
    big: Path, small: Path, insects: Path, cache: Path, tmp_path: Path
) -> None:
    images = sorted(insects.rglob("*.jpg"))[::6]
    config = hs.TrainConfig(from_=str(big), **QUICK)
    again = hs.train(insects, config, out=tmp_path / "again", cache=tmp_path / "empty").run
    np.testing.assert_allclose(
        hs.load(again, cache=tmp_path / "other").predict_proba(images),
        hs.load(small, cache=cache).predict_proba(images),
        atol=0.02,
    )


def refuse(run: Path | str, insects: Path, cache: Path, **settings: Any) -> None:
    hs.train(insects, hs.TrainConfig(from_=str(run), **settings), cache=cache)


def test_damaged_runs_are_refused(big: Path, insects: Path, cache: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(big, tmp_path / "run"))
    tensors = load_file(run / "model.safetensors")
    save_file({**tensors, "fc.bias": tensors["fc.bias"] + 1}, run / "model.safetensors")
    with pytest.raises(DamagedRunError, match=r"model\.safetensors is damaged or was changed"):
        refuse(run, insects, cache)
    (run / "model.safetensors").write_bytes(b"short")
    with pytest.raises(DamagedRunError, match=r"model\.safetensors can't be read"):
        refuse(run, insects, cache)
    config = json.loads((run / "config.json").read_text())
    del config["headstart"]["backbone"]["preprocessing"]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(DamagedRunError, match=r"config\.json lacks or garbles 'preprocessing'"):
        refuse(run, insects, cache)
    (run / "config.json").unlink()
    with pytest.raises(RunNotFoundError, match=r"run is not a run: it lacks config\.json"):
        refuse(run, insects, cache)
    with pytest.raises(RunNotFoundError, match=r"There is no run at .*/big-2\. Like it in .*big-1"):
        refuse(big.with_name("big-2"), insects, cache)


def test_a_head_of_hidden_layers_is_no_source(
    small_set: Path, insects: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.api.mlp.WIDTH", 16)
    config = hs.TrainConfig(head="mlp", **QUICK)
    run = hs.train(
        small_set, config, hs.TuneConfig(epochs=1, batch_size=8), out=tmp_path / "mlp", cache=cache
    ).run
    with pytest.raises(UnknownBackboneError, match=r"has a head of hidden layers .* started from, lite0\."):
        refuse(run, insects, cache)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "resnet18"}, r"--from r and --model resnet18 each say what to start from"),
        ({"recipe": "scratch"}, r"--from r does not suit --recipe scratch"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hs.TrainConfig(from_="r", **settings)


def test_only_a_path_names_a_run(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(big.parent)
    assert find_backbone("./big-1").lineage is not None
    assert find_backbone("big-1").lineage is None  # a folder shadows none of timm's names
