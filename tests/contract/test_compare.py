"""What a comparison promises: one split, nothing trained twice, failures told, the best by validation."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

import headstart as hs
from headstart.errors import (
    ConfigError,
    ResumeError,
    TrainingError,
    UnknownBackboneError,
    WeightsNotFoundError,
)
from headstart.progress import Advance
from headstart.run.tables import read_split
from networks import TINY, save_random

RECIPES = ("scratch", "probe", "partial")
QUICK = {"epochs": 1, "input_px": 32, "batch_size": 8, "precision": "fp32", "val_fraction": 0.25}


def quick(**changes: object) -> hs.TuneConfig:
    return hs.TuneConfig(**{**QUICK, **changes})


class Listener:
    """Hears what is noted, and interrupts where a note begins with given words."""

    def __init__(self, interrupt_at: str | None = None) -> None:
        self.notes: list[str] = []
        self.interrupt_at = interrupt_at

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        yield lambda _: None

    def note(self, message: str) -> None:
        self.notes.append(message)
        if self.interrupt_at and message.startswith(self.interrupt_at):
            self.interrupt_at = None
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model name of a tiny network with random weights."""
    return f"{TINY}@{save_random(tmp_path_factory.mktemp('weights'))}"


@pytest.fixture(scope="module")
def comparison(
    small_set: Path, tiny: str, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> hs.Comparison:
    """Three recipes with two seeds; `partial` fails, for this network has no stage of that name."""
    config = hs.CompareConfig(recipes=RECIPES, models=(tiny,), seeds=2)
    out = tmp_path_factory.mktemp("runs") / "compared"
    return hs.compare(small_set, config, quick(cut="blocks.5"), out=out, cache=cache)


def test_each_recipe_has_a_row_and_a_run_for_each_seed(comparison: hs.Comparison, tiny: str) -> None:
    assert [(row.recipe, row.model) for row in comparison.rows] == [(recipe, tiny) for recipe in RECIPES]
    assert [len(row.outcomes) for row in comparison.rows] == [2, 2, 0]
    for row in comparison.rows:
        assert all(outcome.run.parent == comparison.folder for outcome in row.outcomes)
    assert not list(comparison.folder.glob(".*"))


def test_what_fails_for_one_recipe_becomes_a_row_that_says_why(comparison: hs.Comparison) -> None:
    scratch, probe, partial = comparison.rows
    assert "blocks.5" in partial.failures[0]
    assert len(partial.failures) == 1
    assert scratch.failures == probe.failures == ()


def test_the_best_has_the_lowest_validation_loss_and_gains_are_over_scratch(
    comparison: hs.Comparison,
) -> None:
    scratch, probe, _ = comparison.rows
    assert comparison.best.val_log_loss == min(row.val_log_loss for row in (scratch, probe))
    assert scratch.gain is None
    assert probe.gain.value == pytest.approx(probe.accuracy.value - scratch.accuracy.value)
    for row in (scratch, probe):
        assert (row.p_value is None) == (row is comparison.best)


def test_all_runs_have_one_split_and_each_its_seed(comparison: hs.Comparison) -> None:
    tables, seeds = [], []
    for cell in comparison.cells:
        if cell.outcome:
            split = read_split(cell.outcome.run / "split.parquet")
            tables.append(sorted(zip(split.keys, split.splits, strict=True)))
            config = json.loads((cell.outcome.run / "config.json").read_text())["headstart"]
            seeds.append((cell.seed, config["settings"]["seed"]))
    assert all(table == tables[0] for table in tables)
    assert all(asked == used for asked, used in seeds)
    counted = {part: [split for _, split in tables[0]].count(part) for part in ("train", "val", "test")}
    assert counted == comparison.images
    first, second = ((outcome.run / "model.safetensors") for outcome in comparison.rows[0].outcomes)
    assert first.read_bytes() != second.read_bytes()


def test_seconds_rates_and_parameters_come_from_the_runs(comparison: hs.Comparison) -> None:
    scratch, probe, _ = comparison.rows
    head = json.loads((probe.outcomes[0].run / "environment.json").read_text())["seconds"]["head"]
    assert probe.outcomes[0].seconds == head
    assert probe.outcomes[0].curve == ((head, probe.outcomes[0].val.accuracy),)
    assert (probe.images_per_s, scratch.images_per_s > 0) == (None, True)
    assert probe.parameters < scratch.parameters
    epoch = next(csv.DictReader((scratch.outcomes[0].run / "results.csv").read_text().splitlines()))
    assert scratch.outcomes[0].seconds > float(epoch["seconds"])
    assert scratch.outcomes[0].curve[-1][1] == float(epoch["val_accuracy"])


def test_files_hold_what_was_returned(comparison: hs.Comparison) -> None:
    assert json.loads((comparison.folder / "compare.json").read_text()) == comparison.to_json()
    table = list(csv.DictReader((comparison.folder / "compare.csv").read_text().splitlines()))
    assert [row["recipe"] for row in table] == list(RECIPES)
    assert float(table[1]["test_accuracy"]) == comparison.rows[1].accuracy.value
    assert (comparison.folder / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_comparison_goes_on_and_trains_nothing_twice(
    small_set: Path, tiny: str, cache: Path, tmp_path: Path
) -> None:
    config = hs.CompareConfig(recipes=("probe", "finetune"), models=(tiny,))
    out, listener = tmp_path / "compared", Listener("epoch 2/2")  # its own checkpoint comes after its note
    with pytest.raises(KeyboardInterrupt):
        hs.compare(small_set, config, quick(epochs=2), out=out, cache=cache, progress=listener)
    assert any("--resume goes on" in note for note in listener.notes)
    finished = next(out.glob("probe-*/model.safetensors"))
    before = finished.stat().st_mtime_ns
    listener = Listener()
    config = hs.CompareConfig(recipes=("probe", "finetune", "scratch"), models=(tiny,))
    result = hs.compare(
        small_set, config, quick(epochs=2), out=out, cache=cache, resume=True, progress=listener
    )
    epochs = [note.partition(": ")[0] for note in listener.notes if note.startswith("epoch ")]
    assert epochs == ["epoch 2/2 all", "epoch 1/2 all", "epoch 2/2 all"]
    assert finished.stat().st_mtime_ns == before
    assert [len(row.outcomes) for row in result.rows] == [1, 1, 1]
    assert len(result.rows[1].outcomes[0].curve) == 2


def test_resume_refuses_other_data_and_settings(
    comparison: hs.Comparison, small_set: Path, tiny: str, cache: Path
) -> None:
    config = hs.CompareConfig(recipes=("probe", "partial"), models=(tiny,), split_seed=1)
    with pytest.raises(
        ResumeError, match=r"images was \w+ and is \w+; split_seed was 0 and is 1; cut was block"
    ):
        hs.compare(small_set, config, quick(cut="layer3"), out=comparison.folder, cache=cache, resume=True)


@pytest.mark.parametrize(
    ("config", "tuning", "error"),
    [
        (
            {"recipes": ("fintune", "probe")},
            {},
            (ConfigError, r"'fintune'\. Did you mean finetune\?.* Known: probe"),
        ),
        ({"recipes": ("probe",)}, {"ema": 0.9}, (ConfigError, "--ema: none of the recipes probe takes this")),
        (
            {"recipes": ("finetune",)},
            {"cut": "a"},
            (ConfigError, "--cut: none of the recipes finetune takes"),
        ),
        (
            {"recipes": ("scratch",), "head_init": "source"},
            {},
            (ConfigError, "--head-init source: none of the"),
        ),
        ({"budget": "5m"}, {}, (ConfigError, "--budget 5m belongs to the recipe auto")),
        ({"models": ("lite0@gone.pth",)}, {}, (WeightsNotFoundError, r"gone\.pth")),
        ({"models": ("resnet5",)}, {}, (UnknownBackboneError, r"'resnet5'\. Did you mean resnet50")),
    ],
)
def test_typos_are_refused_before_anything_is_trained(
    small_set: Path,
    cache: Path,
    tmp_path: Path,
    config: dict[str, object],
    tuning: dict[str, object],
    error: tuple[type[Exception], str],
) -> None:
    with pytest.raises(error[0], match=error[1]):
        hs.compare(
            small_set, hs.CompareConfig(**config), hs.TuneConfig(**tuning), out=tmp_path / "run", cache=cache
        )
    assert not list(tmp_path.glob("run/*-seed*"))


def test_if_nothing_comes_through_all_reasons_are_told(
    small_set: Path, tiny: str, cache: Path, tmp_path: Path
) -> None:
    config = hs.CompareConfig(recipes=("partial", "finetune"), models=(tiny,), seeds=2)
    reasons = r"No training came through:\n  .*'nostage'.*\n  .*'hed'.*match"
    with pytest.raises(TrainingError, match=reasons):
        hs.compare(
            small_set,
            config,
            quick(cut="nostage", freeze_rules=("hed=1", ".*=0")),
            out=tmp_path / "run",
            cache=cache,
        )


def test_every_problem_of_the_settings_is_listed() -> None:
    with pytest.raises(
        ConfigError,
        match=r"must name at least one each; --seeds must lie between 1 and 100, not 0; --split-seed",
    ):
        hs.CompareConfig(recipes=(), seeds=0, split_seed=-1)
    with pytest.raises(ConfigError, match=r"--test-fraction must lie above 0"):
        hs.CompareConfig(test_fraction=2)
    with pytest.raises(ConfigError, match=r"--budget must be a time such as 90s"):
        hs.CompareConfig(budget="soon")


def test_recipes_that_a_start_of_the_head_does_not_suit_start_as_ever() -> None:
    config = hs.CompareConfig(head_init="source", source_class=("a=b",))
    starts = {recipe: config.training(recipe, "lite0", 0) for recipe in ("scratch", "probe", "finetune")}
    assert [start.head_init for start in starts.values()] == ["probe", "source", "source"]
    assert starts["finetune"].source_class == ("a=b",)
    assert hs.CompareConfig(head_init="random").training("probe", "lite0", 0).head_init == "probe"
    with pytest.raises(ConfigError, match="--source-class does nothing without --head-init source"):
        hs.CompareConfig(source_class=("a=b",))


def test_every_setting_of_a_training_is_given_or_varied() -> None:
    varied = {"recipe", "model", "from_", "seed"}  # --models takes runs, too
    known = {field.name for field in fields(hs.CompareConfig)}
    assert {field.name for field in fields(hs.TrainConfig)} - varied <= known
