"""Run folders are numbered, never overwritten, whole when they have their name, and checked when opened."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import DamagedRunError, RunError, RunNotFoundError, StorageError
from headstart.run.folder import (
    RunFolder,
    building_run,
    named_run_folder,
    new_run_folder,
    run_name,
    safe_name,
)


def make_run(path: Path) -> RunFolder:
    """Write the least that counts as a run."""
    with building_run(path) as run:
        run.config_json.write_text('{"format_version": 1, "classes": ["a"]}')
        run.metrics_json.write_text('{"test": {"n": 1}}')
        run.model_safetensors.write_bytes(b"weights")
    return RunFolder(path)


def build_half(path: Path, stop: BaseException) -> None:
    with building_run(path) as run:
        run.config_json.write_text("{}")
        raise stop


def build_two(path: Path) -> None:
    with building_run(path) as late:
        late.config_json.write_text("late")
        with building_run(path) as early:
            assert early.path != late.path
            early.config_json.write_text("early")


def test_runs_are_numbered_up(tmp_path: Path) -> None:
    names = [new_run_folder(tmp_path / "runs", "photos-probe").name for _ in range(3)]
    assert names == ["photos-probe-1", "photos-probe-2", "photos-probe-3"]


def test_two_at_once_never_get_the_same_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run_folder(tmp_path, "x"), range(40)))
    assert len(set(made)) == 40


def test_a_named_folder_is_taken_if_empty_and_numbered_if_not(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert named_run_folder(out) == out
    assert named_run_folder(out) == out  # still empty
    (out / "file").write_text("")
    second = named_run_folder(out)
    assert second == out.with_name("out-2")
    (second / "file").write_text("")
    assert named_run_folder(out) == out.with_name("out-3")
    (tmp_path / "photo.jpg").write_text("")
    assert named_run_folder(tmp_path / "photo.jpg").name == "photo.jpg-2"


def test_no_folder_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder should be"):
        new_run_folder(tmp_path / "runs", "x")
    with pytest.raises(StorageError, match="a file stands where a folder should be"):
        named_run_folder(tmp_path / "runs" / "x")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("photos", "photos"),
        ("My photos (2024)/new", "My-photos-2024-new"),
        ("katzen_größe.v2", "katzen_größe.v2"),
        ("猫と犬", "猫と犬"),
        ("../..", "run"),
        ("", "run"),
        ("con", "run-con"),
        ("LPT1.photos", "run-LPT1.photos"),
        (".hidden", "hidden"),
        ("a\x00b\nc", "a-b-c"),
        ("x" * 100, "x" * 60),
    ],
)
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text) == name


@given(st.text(max_size=300))
def test_any_text_gives_a_name_that_every_system_takes(text: str) -> None:
    name = safe_name(text)
    assert name == safe_name(name)
    assert 0 < len(name) <= 64
    assert len(name.encode()) <= 190
    assert not set(name) & set('/\\:*?"<>|\0\n ')
    assert name[0] not in ".-"
    assert name[-1] not in ".-"


def test_a_long_data_name_leaves_room_for_the_recipe() -> None:
    assert run_name("photos", "probe") == "photos-probe"
    assert run_name("x" * 100, "probe").endswith("x-probe")
    assert len(run_name("x" * 100, "probe")) == 60


def test_a_run_appears_under_its_name_only_when_whole(tmp_path: Path) -> None:
    final = new_run_folder(tmp_path, "x")
    with building_run(final) as run:
        run.config_json.write_text("{}")
        (run.path / "sub").mkdir()
        assert run.path != final
        assert run.path.name.startswith(".")
        assert list(final.iterdir()) == []
    assert sorted(path.name for path in final.iterdir()) == ["config.json", "sub"]
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    final = new_run_folder(tmp_path, "x")
    with pytest.raises(interruption, match="stop"):
        build_half(final, interruption("stop"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_is_explained(tmp_path: Path) -> None:
    final = tmp_path / "x"
    with pytest.raises(StorageError, match="the disk is full"):
        build_half(final, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run = make_run(tmp_path / "x")
    with pytest.raises(RunError, match="is not empty, and a run never overwrites"), building_run(run.path):
        pass
    assert run.model_safetensors.read_bytes() == b"weights"


def test_two_runs_built_for_one_folder_are_both_kept(tmp_path: Path) -> None:
    final = tmp_path / "x"
    with pytest.raises(RunError, match=r"saved at .*x meanwhile.*saved at .*x-2"):
        build_two(final)
    assert RunFolder(final).config_json.read_text() == "early"
    assert RunFolder(tmp_path / "x-2").config_json.read_text() == "late"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_current_folder_is_filled_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert named_run_folder(Path()) == Path()
    inode = here.stat().st_ino
    with pytest.raises(ValueError, match="stop"):
        build_half(Path(), ValueError("stop"))
    assert list(here.iterdir()) == []
    make_run(Path())
    assert here.stat().st_ino == inode
    names = sorted(path.name for path in here.iterdir())
    assert names == ["config.json", "metrics.json", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert named_run_folder(Path()) == tmp_path / "here-2"


def test_a_mounted_folder_is_filled_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with building_run(tmp_path / "disk") as run:
        run.config_json.write_text("{}")
        assert run.path.parent == tmp_path / "disk"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["config.json"]


def test_a_folder_filled_in_place_is_no_run_until_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    moved: list[str] = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, to: moved.append(path.name) or rename(path, to))
    make_run(tmp_path / "disk")
    assert moved[-1] == "config.json"
    assert len(moved) == 3


def test_a_run_can_be_read_again(tmp_path: Path) -> None:
    make_run(tmp_path / "x")
    run = RunFolder.open(tmp_path / "x")
    assert run.read_config() == {"format_version": 1, "classes": ["a"]}
    assert run.read_metrics() == {"test": {"n": 1}}


def test_the_files_are_named_as_documented() -> None:
    run = RunFolder(Path("r"))
    names = [
        *(
            run.config_json,
            run.model_safetensors,
            run.metrics_json,
            run.history_jsonl,
            run.predictions_parquet,
        ),
        *(run.split_parquet, run.environment_json, run.readme, run.confusion_png),
    ]
    assert [path.name for path in names] == [
        *("config.json", "model.safetensors", "metrics.json", "history.jsonl", "predictions.parquet"),
        *("split.parquet", "environment.json", "README.md", "confusion.png"),
    ]


def test_an_unknown_run_suggests_the_nearest_else_the_latest(tmp_path: Path) -> None:
    for age, name in enumerate(["photos-probe-1", "other"]):
        run = make_run(tmp_path / "runs" / name)
        os.utime(run.config_json, (1000 - age, 1000 - age))
    with pytest.raises(
        RunNotFoundError, match=r"no run at .*photos-prob. Like it in .*runs: .*photos-probe-1\."
    ):
        RunFolder.open(tmp_path / "runs" / "photos-prob")
    latest = r"no run at .*zzz. The latest in .*runs: .*photos-probe-1, .*other\."
    with pytest.raises(RunNotFoundError, match=latest):
        RunFolder.open(tmp_path / "runs" / "zzz")
    with pytest.raises(
        RunNotFoundError, match=r"is not a run: it lacks config.json and model.safetensors. The l"
    ):
        RunFolder.open(tmp_path / "runs")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text("{}")
    with pytest.raises(RunNotFoundError, match=r"it lacks model.safetensors. Make one with `headstart train"):
        RunFolder.open(tmp_path / "x")
    with pytest.raises(RunNotFoundError, match="is a file; a run is a folder"):
        RunFolder.open(tmp_path / "x" / "config.json")
    with pytest.raises(RunNotFoundError, match="There is no run to be read at"):
        RunFolder.open(tmp_path / ("y" * 300))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format_version": 1, "cl', "is damaged, perhaps truncated"),
        ("", "is damaged, perhaps truncated"),
        ("[1]", "must hold a JSON object, not list"),
        ("[" * 100_000, "is damaged"),
        ('{"format_version": 2}', "has format version 2, and this Headstart reads up to 1. Upgrade"),
        ('{"format_version": "x"}', "has format_version 'x', which no Headstart wrote"),
        ("\xff\xfe", "is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    run = make_run(tmp_path / "x")
    for file in (run.config_json, run.metrics_json):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(DamagedRunError, match=f"{file.name} {words}"):
            run.read_config() if file == run.config_json else run.read_metrics()


def test_a_config_that_headstart_did_not_write(tmp_path: Path) -> None:
    run = make_run(tmp_path / "x")
    run.config_json.write_text(json.dumps({"architecture": "resnet18"}))
    with pytest.raises(DamagedRunError, match="lacks 'format_version', so Headstart did not write it"):
        run.read_config()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "x")
    run.metrics_json.unlink()
    with pytest.raises(DamagedRunError, match=r"metrics.json is missing from the run. Train again"):
        run.read_metrics()
