"""What a run promises: the same answers everywhere, to headstart and to plain timm alike."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.api.evaluate import evaluate
from headstart.data.decode import read_view
from headstart.errors import DamagedRunError, RunNotFoundError, UnknownClassError
from headstart.metrics.calibration import softmax
from headstart.run.folder import RunFolder
from headstart.run.tables import read_predictions, read_split
from support import copy_default_trunk, digest, files_below

FILES = {
    "README.md",
    "config.json",
    "confusion.png",
    "environment.json",
    "history.jsonl",
    "metrics.json",
    "model.safetensors",
    "predictions.parquet",
    "report.html",
    "split.parquet",
}


@pytest.fixture(scope="module")
def trained(small_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    return hs.train(small_set, out=tmp_path_factory.mktemp("runs") / "pets", cache=cache)


@pytest.fixture(scope="module")
def images(small_set: Path) -> list[str]:
    return [str(path) for path in sorted(small_set.rglob("*.jpg"))[::4]]


def test_the_folder_is_whole(trained: hs.TrainResult) -> None:
    assert {path.name for path in trained.run.iterdir()} == FILES
    assert not list(trained.run.parent.glob(".*"))


def test_the_run_says_how_long_each_stage_took(trained: hs.TrainResult) -> None:
    stored = json.loads((trained.run / "environment.json").read_text())["seconds"]
    assert {"embedding", "head", "measuring"} < set(stored)
    assert stored["head"] == trained.seconds["head"]


@pytest.mark.parametrize("way", ["local-dir", "checkpoint"])
def test_plain_timm_gives_the_same_logits(
    trained: hs.TrainResult, cache: Path, images: list[str], way: str
) -> None:
    import timm
    import torch

    if way == "local-dir":
        model = timm.create_model(f"local-dir:{trained.run}", pretrained=True).eval()
    else:
        config = json.loads((trained.run / "config.json").read_text())
        model = timm.create_model(
            config["architecture"],
            num_classes=config["num_classes"],
            checkpoint_path=str(trained.run / "model.safetensors"),
        ).eval()
    classifier = hs.load(trained.run, cache=cache, runtime="torch-fp32")
    preprocessing = classifier.trunk.preprocessing
    views = np.stack([read_view(path, preprocessing) for path in images])
    mean, std = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
    pixels = torch.from_numpy(((views / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    with torch.inference_mode():
        theirs = model(pixels.float()).numpy()
    ours = classifier.logits(classifier.runtime.embed(views))
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_timm_finds_the_preprocessing_and_the_class_names(trained: hs.TrainResult, cache: Path) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    model = timm.create_model(f"local-dir:{trained.run}", pretrained=True)
    assert model.pretrained_cfg["num_classes"] == model.num_classes == 2
    settings = resolve_model_data_config(model)
    view = hs.load(trained.run, cache=cache).trunk.preprocessing
    assert (tuple(settings["mean"]), tuple(settings["std"])) == (view.mean, view.std)
    assert tuple(settings["input_size"]) == (3, view.crop_px, view.crop_px)
    assert settings["interpolation"] == view.interpolation
    resize, crop = create_transform(**settings, is_training=False).transforms[:2]
    assert (resize.size, tuple(crop.size)) == (view.resize_px, (view.crop_px, view.crop_px))
    assert json.loads((trained.run / "config.json").read_text())["label_names"] == ["cats", "dogs"]


def test_another_place_and_working_directory_change_nothing(
    trained: hs.TrainResult, cache: Path, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hs.load(trained.run, cache=cache).predict_proba(images)
    moved = shutil.copytree(trained.run, tmp_path / "elsewhere")
    monkeypatch.chdir(moved)
    assert np.array_equal(hs.load(".", cache=cache).predict_proba(images), before)


def test_an_image_is_predicted_alike_alone_and_in_company(
    trained: hs.TrainResult, cache: Path, images: list[str]
) -> None:
    classifier = hs.load(trained.run, cache=cache)
    together = classifier.predict_proba(images)
    alone = np.concatenate([classifier.predict_proba([path]) for path in images])
    if classifier.runtime.batch_size == 1:
        assert np.array_equal(together, alone)
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_an_empty_cache_is_filled_from_the_run_itself(
    trained: hs.TrainResult, cache: Path, images: list[str], tmp_path: Path
) -> None:
    before = hs.load(trained.run, cache=cache).predict_proba(images)
    after = hs.load(trained.run, cache=tmp_path / "empty").predict_proba(images)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_classes_are_matched_by_name(
    trained: hs.TrainResult, cache: Path, small_set: Path, tmp_path: Path
) -> None:
    classifier = hs.load(trained.run, cache=cache)
    rows = [f"{path},{path.parent.name}" for path in sorted(small_set.rglob("*.jpg"), reverse=True)]
    manifest = tmp_path / "backwards.csv"
    manifest.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    backwards, forwards = evaluate(classifier, manifest).scores, classifier.evaluate(small_set)
    assert backwards.log_loss == pytest.approx(forwards.log_loss, rel=1e-9)  # a sum in another order
    assert replace(backwards, log_loss=forwards.log_loss) == forwards
    only_dogs = tmp_path / "only_dogs.csv"
    only_dogs.write_text("\n".join(["path,label", *(row for row in rows if row.endswith("dogs"))]))
    scores = evaluate(classifier, only_dogs).scores
    assert scores.n == 20
    assert scores.per_class["cats"].support == 0
    assert scores.accuracy == pytest.approx(scores.per_class["dogs"].recall or 0.0)


def test_a_class_unknown_to_the_model_is_listed(
    trained: hs.TrainResult, cache: Path, small_set: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(small_set, tmp_path / "photos")
    (data / "dogs").rename(data / "wolves")
    with pytest.raises(UnknownClassError, match=r"'wolves' \(20 images\).*knows 'cats', 'dogs'"):
        hs.load(trained.run, cache=cache).evaluate(data)


def test_folders_are_matched_by_name_whatever_their_order(
    trained: hs.TrainResult, cache: Path, small_set: Path, tmp_path: Path
) -> None:
    # Other classes stand before and between ours, empty: positions shift, names don't.
    data = shutil.copytree(small_set, tmp_path / "photos")
    for name in ("ants", "cats and dogs", "zebras"):
        (data / name).mkdir()
    assert hs.Dataset.read(data).classes.index("dogs") == 3
    classifier = hs.load(trained.run, cache=cache)
    assert classifier.evaluate(data) == classifier.evaluate(small_set)


def test_tables_and_metrics_agree(trained: hs.TrainResult, small_set: Path) -> None:
    run = RunFolder.open(trained.run)
    metrics = run.read_metrics()
    assert metrics["headline"] == trained.headline == "cross-validation"
    predictions = read_predictions(run.predictions_parquet)
    right = [p == label for p, label in zip(predictions.predicted, predictions.labels, strict=True)]
    assert np.mean(right) == pytest.approx(metrics["cross-validation"]["accuracy"])
    split = read_split(run.split_parquet)
    assert len(split.paths) == 40
    assert set(split.splits) == {"train"}
    assert set(split.folds) == {0, 1, 2, 3, 4}
    wanted = {
        *("n", "accuracy", "accuracy_interval", "balanced_accuracy", "macro_f1"),
        *("log_loss", "brier", "ece", "per_class", "confusion"),
    }
    assert wanted <= set(metrics["cross-validation"])


def test_the_test_split_is_measured_as_evaluate_measures_it(
    photo_sets: Path, cache: Path, tmp_path: Path
) -> None:
    data = tmp_path / "bugs"
    for split, n in (("train", 20), ("test", 12)):
        for name in ("ants", "bees"):
            (data / split / name).mkdir(parents=True)
            for path in sorted((photo_sets / "hymenoptera" / split / name).iterdir())[:n]:
                shutil.copy(path, data / split / name)
    result = hs.train(data, out=tmp_path / "run", cache=cache)
    assert result.headline == "test"
    model = hs.load(result.run, cache=cache)
    found = evaluate(model, data, run=result.run)
    assert rounded(found.scores) == rounded(result.scores["test"])
    assert found.findings == ()
    [flatters] = evaluate(model, data / "train", run=result.run).findings
    assert flatters.startswith("leakage: the model learnt from or was chosen by all these images, so the num")
    shutil.copy(next((data / "train" / "ants").iterdir()), data / "test" / "bees" / "moved.jpg")
    [seen] = evaluate(model, data, run=result.run).findings
    assert "by 1 of the 25 images" in seen
    cut = next((data / "train" / "bees").iterdir())
    (data / "test" / "ants" / "cut.jpg").write_bytes(cut.read_bytes()[:4000])
    skipped, seen = evaluate(model, data, run=result.run).findings
    assert skipped.startswith("1 file skipped, truncated")
    assert "by 1 of the 25 images" in seen


@pytest.mark.parametrize("recipe", ["probe", "partial"])
def test_validation_images_are_known_where_they_chose(
    small_set: Path, cache: Path, tmp_path: Path, recipe: Literal["probe", "partial"]
) -> None:
    for split, some in (("train", slice(0, 8)), ("test", slice(8, 12)), ("val", slice(12, 20))):
        for name in ("cats", "dogs"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for path in sorted((small_set / name).iterdir())[some]:
                shutil.copy(path, tmp_path / "pets" / split / name)
    tuning = hs.TuneConfig(epochs=1, input_px=64, batch_size=8) if recipe == "partial" else None
    config = hs.TrainConfig(recipe=recipe)
    run = hs.train(tmp_path / "pets", config, tuning, out=tmp_path / "run", cache=cache).run
    findings = evaluate(hs.load(run, cache=cache), tmp_path / "pets" / "val", run=run).findings
    assert any("was chosen by all these images" in finding for finding in findings) == (recipe == "partial")


def test_a_path_with_a_test_split_is_measured_on_that(
    trained: hs.TrainResult, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    for split, n in (("train", 9), ("test", 3)):
        for name in ("cats", "dogs"):
            (tmp_path / split / name).mkdir(parents=True)
            for path in sorted((small_set / name).iterdir())[:n]:
                shutil.copy(path, tmp_path / split / name)
    model = hs.load(trained.run, cache=cache)
    assert model.evaluate(tmp_path).n == evaluate(model, tmp_path).scores.n == 6
    read = hs.Dataset.read(tmp_path)
    assert model.evaluate(read).n == 24
    assert model.evaluate(read.part("train")).n == 18


def test_runs_beside_the_photographs_are_no_class(small_set: Path, cache: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(small_set, photos)
    runs = [hs.train(photos, out=photos / "runs" / "photos", cache=cache) for _ in range(3)]
    assert [hs.load(result.run, cache=cache).classes for result in runs] == [("cats", "dogs")] * 3


def test_split_that_lacks_a_class_is_scored(photo_sets: Path, cache: Path, tmp_path: Path) -> None:
    data = tmp_path / "three"
    for split, name, n in (
        *(("train", "cats", 12), ("train", "dogs", 12), ("train", "ants", 12)),
        *(("val", "cats", 4), ("val", "dogs", 4), ("test", "dogs", 6), ("test", "ants", 6)),
    ):
        source = "hymenoptera" if name == "ants" else "cats_dogs"
        (data / split / name).mkdir(parents=True)
        start = 12 if split == "val" else 0
        folder = photo_sets / source / ("test" if split == "test" else "train") / name
        for path in sorted(folder.iterdir())[start : start + n]:
            shutil.copy(path, data / split / name)
    result = hs.train(data, out=tmp_path / "run", cache=cache)
    metrics = RunFolder.open(result.run).read_metrics()
    assert list(result.scores) == ["test", "val"]
    for split, absent, n in (("test", "cats", 12), ("val", "ants", 8)):
        scores = result.scores[split]
        assert scores.n == n
        assert scores.accuracy > 0.7
        assert scores.per_class[absent].support == 0
        assert scores.per_class[absent].recall is None
        recalls = [one.recall for one in scores.per_class.values() if one.recall is not None]
        assert scores.balanced_accuracy == pytest.approx(np.mean(recalls))
        assert metrics[split]["n"] == n
    predictions = read_predictions(result.run / "predictions.parquet")
    assert predictions.splits == ["test"] * 12 + ["val"] * 8


def test_leaks_and_conflicts_are_found_and_saved(small_set: Path, cache: Path, tmp_path: Path) -> None:
    data = shutil.copytree(small_set, tmp_path / "pets" / "train").parent
    cats = sorted((data / "train" / "cats").iterdir())
    (data / "test" / "cats").mkdir(parents=True)
    shutil.copy(cats[0], data / "test" / "cats" / "same.jpg")
    with Image.open(cats[1]) as picture:
        small = picture.convert("RGB").resize((picture.width * 3 // 4, picture.height * 3 // 4))
    small.save(data / "test" / "cats" / "smaller.jpg", quality=85)
    shutil.copy(cats[2], data / "train" / "dogs" / "not a dog.jpg")
    result = hs.train(data, out=tmp_path / "run", cache=cache)
    found = RunFolder.open(result.run).read_metrics()["data"]
    assert {Path(path).name for path in found["leaked"]} == {"same.jpg", "smaller.jpg"}
    (conflict,) = found["conflicts"]
    assert sorted(conflict["labels"]) == ["cats", "dogs"]
    assert {Path(path).name for path in conflict["paths"]} == {cats[2].name, "not a dog.jpg"}
    assert any("conflict" in line and "'cats' and 'dogs'" in line for line in result.findings)
    assert any("leak" in line for line in result.findings)
    split = read_split(result.run / "split.parquet")
    folds = [fold for key, fold in zip(split.keys, split.folds, strict=True) if key == conflict["key"]]
    assert len(folds) == 2
    assert folds[0] == folds[1]  # the copies under two labels stay together


def test_settings_are_saved_with_the_run(small_set: Path, cache: Path, tmp_path: Path) -> None:
    config = hs.TrainConfig(folds=4, seed=7, balance=True, mirror="off", test_fraction=0.25)
    run = RunFolder.open(hs.train(small_set, config, out=tmp_path / "run", cache=cache).run)
    assert hs.TrainConfig(**run.read_config()["headstart"]["settings"]) == config
    trials = [json.loads(line) for line in run.history_jsonl.read_text().splitlines()]
    assert trials
    assert not any(trial["mirrored"] for trial in trials)
    assert {fold for fold in read_split(run.split_parquet).folds if fold is not None} == {0, 1, 2, 3}


def test_an_output_that_is_taken_is_numbered(
    trained: hs.TrainResult, small_set: Path, cache: Path, tmp_path: Path
) -> None:
    taken = shutil.copytree(trained.run, tmp_path / "pets")
    before = files_below(taken)
    again = hs.train(small_set, out=taken, cache=cache)
    assert again.run == tmp_path / "pets-2"
    assert files_below(taken) == before


def test_features_made_anew_give_the_same_bytes(
    small_set: Path, cache: Path, tmp_path: Path, trained: hs.TrainResult
) -> None:
    fresh = tmp_path / "cache"
    copy_default_trunk(cache, fresh)
    again = hs.train(small_set, out=tmp_path / "again", cache=fresh)
    assert digest(again.run / "model.safetensors") == digest(trained.run / "model.safetensors")


def test_splits_are_decided_by_content_alone(small_set: Path, cache: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    for name in ("cats", "dogs"):
        (renamed / name).mkdir(parents=True)
        for number, path in enumerate(sorted((small_set / name).iterdir(), reverse=True)):
            shutil.copy(path, renamed / name / f"{number}.jpeg")
    config = hs.TrainConfig(test_fraction=0.3, mirror="off")
    decided = []
    for data in (small_set, renamed):
        run = hs.train(data, config, out=tmp_path / f"run-{data.name}", cache=cache).run
        split = read_split(run / "split.parquet")
        decided.append(dict(zip(split.keys, zip(split.splits, split.folds, strict=True), strict=True)))
    assert decided[0] == decided[1]


def test_same_seed_same_bytes(small_set: Path, cache: Path, tmp_path: Path, trained: hs.TrainResult) -> None:
    again = hs.train(small_set, out=tmp_path / "again", cache=cache)
    for name in ("model.safetensors", "metrics.json", "history.jsonl", "predictions.parquet"):
        assert digest(again.run / name) == digest(trained.run / name), name


def test_adding_images_moves_none_from_training_to_test(
    photo_sets: Path, cache: Path, tmp_path: Path
) -> None:
    config = hs.TrainConfig(test_fraction=0.3)
    parts = []
    for n in (40, 60):
        data = tmp_path / str(n)
        for name in ("cats", "dogs"):
            (data / name).mkdir(parents=True)
            for path in sorted((photo_sets / "cats_dogs" / "train" / name).iterdir())[:n]:
                shutil.copy(path, data / name)
        run = hs.train(data, config, out=tmp_path / f"run-{n}", cache=cache).run
        split = read_split(run / "split.parquet")
        parts.append(
            {s: {k for k, p in zip(split.keys, split.splits, strict=True) if p == s} for s in split.splits}
        )
    assert parts[0]["test"]
    assert not parts[0]["train"] & parts[1]["test"]


def test_probabilities_are_those_of_the_saved_head(
    trained: hs.TrainResult, cache: Path, images: list[str]
) -> None:
    classifier = hs.load(trained.run, cache=cache)
    probabilities = classifier.predict_proba(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-9)
    uncalibrated = classifier.uncalibrated(probabilities)
    expected = softmax(np.log(probabilities) * classifier.temperature)
    np.testing.assert_allclose(uncalibrated, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", lambda data: data[:1000], "can't be read"),
        ("config.json", lambda data: data[:-40], "config.json"),
        (
            "config.json",
            lambda data: data.replace(b'"format_version": 1', b'"format_version": 9'),
            "format version 9",
        ),
        ("config.json", lambda data: data.replace(b'"temperature"', b'"temprature"'), "temperature"),
    ],
)
def test_a_damaged_run_says_so(
    trained: hs.TrainResult, cache: Path, tmp_path: Path, name: str, damage: object, message: str
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "damaged")
    (run / name).write_bytes(damage((run / name).read_bytes()))  # type: ignore[operator]
    with pytest.raises(DamagedRunError, match=message):
        hs.load(run, cache=cache)


def flip_a_byte(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "is damaged or was changed"),
        (lambda data: data[:-1], "can't be read"),
        (lambda data: data[:5], "can't be read"),
        (lambda data: b"", "can't be read"),
    ],
)
@pytest.mark.parametrize("cache_is", ["filled", "empty"])
def test_damaged_weights_say_so(
    trained: hs.TrainResult,
    cache: Path,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    message: str,
    cache_is: str,
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "damaged")
    path = run / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedRunError, match=message):
        hs.load(run, cache=cache if cache_is == "filled" else tmp_path / "empty")


@pytest.mark.parametrize("value", [None, "", 17, []], ids=repr)
@pytest.mark.parametrize(
    "place",
    [
        "label_names",
        "headstart",
        "headstart/runtime",
        "headstart/backbone",
        "headstart/backbone/classifier",
        "headstart/backbone/source_digest",
        "headstart/head",
        "headstart/head/temperature",
    ],
)
def test_garbled_settings_say_so(
    trained: hs.TrainResult, cache: Path, tmp_path: Path, place: str, value: object
) -> None:
    run = tmp_path / "garbled"
    run.mkdir()
    (run / "model.safetensors").symlink_to(trained.run / "model.safetensors")
    config = json.loads((trained.run / "config.json").read_text())
    *above, last = place.split("/")
    inner = config
    for key in above:
        inner = inner[key]
    if last == "temperature" and value == 17:
        value = "hot"  # 17 is a temperature
    if last == "source_digest":
        inner["model_digest"] = value
    inner[last] = value
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(DamagedRunError, match=r"config\.json|model\.safetensors"):
        hs.load(run, cache=cache)


def edit(run: Path, copy: Path, edits: dict[str, object]) -> Path:
    """A copy of a run with other values at places of its `config.json`."""
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())
    for place, value in edits.items():
        *above, last = place.split("/")
        inner = config
        for key in above:
            inner = inner[key]
        assert last in inner
        inner[last] = value
    (copy / "config.json").write_text(json.dumps(config))
    return copy


_VIEW, _TIMM = "headstart/backbone/preprocessing", "pretrained_cfg"


@pytest.mark.parametrize("cache_is", ["filled", "empty"])
@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({f"{_VIEW}/crop_px": 96}, r"garbles pretrained_cfg's input_size .* \[3, 96, 96\]"),
        ({f"{_VIEW}/mean": [0.0, 0.0, 0.0]}, r"pretrained_cfg's mean \(\[0\.5, 0\.5, 0\.5\]\)"),
        ({f"{_VIEW}/crop_px": "224"}, r"garbles preprocessing's crop_px \('224'\)"),
        ({f"{_VIEW}/crop_px": 300}, "crop_px <= resize_px, not crop_px=300"),
        ({f"{_VIEW}/std": [1, 1]}, r"garbles preprocessing's std \(\[1, 1\]\)"),
        ({f"{_VIEW}/interpolation": "nearest"}, r"preprocessing's interpolation \('nearest'\)"),
        ({f"{_TIMM}/std": [0.2, 0.2, 0.2]}, r"garbles pretrained_cfg's std \(\[0\.2, 0\.2, 0\.2\]\)"),
        ({f"{_VIEW}/crop_px": True}, r"garbles preprocessing's crop_px \(True\)"),
        ({f"{_VIEW}/std": [0, 1, 1]}, r"garbles preprocessing's std \(\[0, 1, 1\]\)"),
        ({_TIMM: {}}, r"lacks or garbles 'input_size'"),
        ({"architecture": "resnet18"}, r"garbles architecture \('resnet18'\)"),
        ({"num_features": 7}, r"2 classes of 7, and its backbone makes 1280"),
        ({"label_names": ["cats", "cats"]}, "has a name twice among its label_names"),
        ({"label_names": ["cats", None]}, "label_names that are no list of names"),
        ({"label_names": {"cats": 1, "dogs": 2}}, "label_names that are no list of names"),
        ({"headstart/head/temperature": float("nan")}, r"garbles the head's temperature \(nan\)"),
        ({"headstart/head/temperature": 0}, r"garbles the head's temperature \(0\)"),
        ({"num_classes": 3}, r"garbles num_classes \(3\): the rest of the file says 2"),
    ],
)
def test_settings_that_contradict_one_another(
    trained: hs.TrainResult,
    cache: Path,
    tmp_path: Path,
    edits: dict[str, object],
    message: str,
    cache_is: str,
) -> None:
    run = edit(trained.run, tmp_path / "edited", edits)
    with pytest.raises(DamagedRunError, match=message):
        hs.load(run, cache=cache if cache_is == "filled" else tmp_path / "empty")


def test_another_view_of_the_same_weights_is_another_trunk(
    trained: hs.TrainResult, cache: Path, tmp_path: Path, images: list[str]
) -> None:
    view = {"mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3]}
    edits = {f"{place}/{key}": value for place in (_VIEW, _TIMM) for key, value in view.items()}
    run = edit(trained.run, tmp_path / "edited", edits)
    before = hs.load(trained.run, cache=cache).predict_proba(images)
    edited = hs.load(run, cache=cache)
    assert edited.trunk.preprocessing.mean == (0.4, 0.4, 0.4)
    fresh = hs.load(run, cache=tmp_path / "empty")
    logs = np.log(edited.predict_proba(images))
    np.testing.assert_allclose(logs, np.log(fresh.predict_proba(images)), atol=1e-2)
    assert np.abs(logs - np.log(before)).max() > 0.1
    assert (hs.load(trained.run, cache=cache).predict_proba(images) == before).all()


def test_config_of_other_classes_than_the_weights(
    trained: hs.TrainResult, cache: Path, tmp_path: Path
) -> None:
    edits = {"label_names": ["cats", "dogs", "wolves"], "num_classes": 3, f"{_TIMM}/num_classes": 3}
    run = edit(trained.run, tmp_path / "other", edits)
    with pytest.raises(DamagedRunError, match=r"a head for 2 classes of 1280 features, but .* 3 classes"):
        hs.load(run, cache=cache)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_run_without_its_model_is_none(
    trained: hs.TrainResult, cache: Path, tmp_path: Path, name: str
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "partial")
    (run / name).unlink()
    with pytest.raises(RunNotFoundError, match=rf"is not a run: it lacks {name}"):
        hs.load(run, cache=cache)


def test_another_runtime_gives_the_same_answers(
    trained: hs.TrainResult, cache: Path, images: list[str]
) -> None:
    classifiers = [
        hs.load(trained.run, cache=cache, runtime=name) for name in ("torch-fp32", "openvino-fp32")
    ]
    torch_p, openvino_p = (classifier.predict_proba(images) for classifier in classifiers)
    np.testing.assert_allclose(openvino_p, torch_p, atol=1e-4)
    assert classifiers[0].predict(images) == classifiers[1].predict(images)


def test_no_run_there(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(RunNotFoundError, match="nothing-here"):
        hs.load(tmp_path / "nothing-here", cache=cache)


def test_the_picture_opens(trained: hs.TrainResult) -> None:
    with Image.open(trained.run / "confusion.png") as picture:
        assert min(picture.size) > 200


def test_one_path_is_one_image(trained: hs.TrainResult, cache: Path, images: list[str]) -> None:
    model = hs.load(trained.run, cache=cache)
    assert model.predict(images[0]) == model.predict([images[0]]) == model.predict(Path(images[0]))


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        ([Image.new("RGB", (9, 9))], r"PIL\.Image\.Image"),
        (np.zeros((9, 9, 3)), r"numpy\.ndarray"),
        ([b"a.jpg"], r"builtins\.bytes"),
        (None, r"builtins\.NoneType"),
    ],
    ids=["a picture", "an array", "bytes", "nothing"],
)
def test_what_is_no_path_is_told_so(trained: hs.TrainResult, cache: Path, images: object, kind: str) -> None:
    with pytest.raises(
        TypeError, match=rf"Give paths of image files, not {kind}: .* Save the image, and give"
    ):
        hs.load(trained.run, cache=cache).predict(images)  # type: ignore[arg-type]


def test_a_model_shows_itself_on_one_line(trained: hs.TrainResult, cache: Path) -> None:
    shown = repr(hs.load(trained.run, cache=cache))
    assert re.fullmatch(
        r"Classifier\(2 classes: 'cats', 'dogs'; tf_efficientnet_lite0 on [a-z]+-\w+\)", shown
    )


def rounded(scores: hs.Scores) -> dict[str, object]:
    """All but the last bits: some processors sum in another order where arrays lie otherwise in memory."""
    text = json.dumps(scores.to_json())
    found: dict[str, object] = json.loads(text, parse_float=lambda number: round(float(number), 12))
    return found
