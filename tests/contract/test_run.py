"""What a run promises: the same answers everywhere, to headstart and to plain timm alike."""

import json
import shutil
from pathlib import Path

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

FILES = {
    "README.md",
    "config.json",
    "confusion.png",
    "environment.json",
    "history.jsonl",
    "metrics.json",
    "model.safetensors",
    "predictions.parquet",
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
    assert evaluate(classifier, manifest).scores == classifier.evaluate(small_set)
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
    assert evaluate(hs.load(result.run, cache=cache), data).scores == result.scores["test"]


def test_same_seed_same_bytes(small_set: Path, cache: Path, tmp_path: Path, trained: hs.TrainResult) -> None:
    again = hs.train(small_set, out=tmp_path / "again", cache=cache)
    for name in ("model.safetensors", "metrics.json", "history.jsonl", "predictions.parquet"):
        assert (again.run / name).read_bytes() == (trained.run / name).read_bytes(), name


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


def test_no_run_there(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(RunNotFoundError, match="nothing-here"):
        hs.load(tmp_path / "nothing-here", cache=cache)


def test_the_picture_opens(trained: hs.TrainResult) -> None:
    with Image.open(trained.run / "confusion.png") as picture:
        assert min(picture.size) > 200
