"""Predict at scale: shards and tables answer as files do, parts resume, and a kill costs one part at most."""

import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headstart as hs
from headstart.api.rows import Row, write_rows
from headstart.cli import rows as rows_module
from headstart.cli.rows import print_rows
from headstart.data.files import natural_key
from headstart.run.lock import hold
from support import TIMEOUT_S, Runner, digest, files_below, pictures, refused, run_code, words_of

_PARTS = ("--part-rows", "16", "--quiet")


def answers(path: Path) -> list[tuple[str, float]]:
    """Class and confidence of each row, whatever it is called."""
    return [(row["predicted"], row["confidence"]) for row in pq.read_table(path).to_pylist()]


def in_order(folder: Path) -> list[Path]:
    """The pictures as a folder lists them."""
    return sorted(pictures(folder), key=lambda path: natural_key(str(path)))


@pytest.fixture(scope="session")
def shards(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small set as two tar shards and as one table."""
    folder = tmp_path_factory.mktemp("shards")
    paths = in_order(small_set)
    for number, (mode, end) in enumerate((("w", ".tar"), ("w:gz", ".tar.gz"))):
        with tarfile.open(folder / f"{number}{end}", mode) as archive:  # type: ignore[call-overload]
            for path in paths[20 * number : 20 * (number + 1)]:
                archive.add(path, f"{path.parent.name}/{path.name}")
                info = tarfile.TarInfo(f"{path.parent.name}/{path.stem}.json")
                info.size = 2
                archive.addfile(info, io.BytesIO(b"{}"))
    cells = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind)}), folder / "all.parquet", row_group_size=7)
    return folder


@pytest.fixture(scope="session")
def whole(
    headstart: Runner, pets_run: Path, small_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small set's parts, written without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    done = headstart("predict", pets_run, small_set, "--out", "parts/", *_PARTS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "parts"


# ------------------------------------------------------------------ sources


def test_shards_tables_and_lists_answer_as_the_files_do(
    call: Runner, pets_run: Path, small_set: Path, shards: Path, tmp_path: Path
) -> None:
    assert call("predict", pets_run, small_set, "--out", "files.parquet").returncode == 0
    expected = answers(tmp_path / "files.parquet")
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in in_order(small_set)))
    for words in ([f"{shards}/*.tar*"], [shards / "all.parquet"], ["@list.txt"]):
        assert call("predict", pets_run, *words, "--out", "other.parquet").returncode == 0
        assert answers(tmp_path / "other.parquet") == expected
    names = pq.read_table(tmp_path / "other.parquet")["path"].to_pylist()
    assert names == [str(path) for path in in_order(small_set)]


def test_what_a_shard_or_table_has_that_cannot_be_read_is_a_row_and_exit_1(
    call: Runner, pets_run: Path, small_set: Path, shards: Path, tmp_path: Path
) -> None:
    data = (shards / "0.tar").read_bytes()
    first = in_order(small_set)[0]
    (tmp_path / "cut.tar").write_bytes(data[: first.stat().st_size // 2])
    pq.write_table(pa.table({"image": [first.read_bytes(), None, b"GIF89a"]}), tmp_path / "holes.parquet")
    done = call("predict", pets_run, "cut.tar", "holes.parquet", "gone.tar", "--format", "jsonl")
    assert done.returncode == 1
    assert "headstart: 5 of 6 images can't be read" in done.stderr
    rows = {row["path"]: row["error"] for row in map(json.loads, done.stdout.splitlines())}
    assert rows == {
        f"cut.tar/cats/{first.name}": "truncated",
        "cut.tar": "the rest of it can't be read: truncated",
        "holes.parquet#0": None,
        "holes.parquet#1": "no image: the row's bytes are null",
        "holes.parquet#2": "truncated or damaged GIF",
        "gone.tar": "no such file",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["two.parquet"],
            r"two\.parquet: which column holds the images\? 'a', 'b' hold bytes\. Say --column NAME",
        ),
        (["two.parquet", "--column", "c"], r"has no column 'c' of images or paths; 'a', 'b' hold bytes"),
        (["nope://x/*.jpg"], r"nope://x/\*\.jpg: no file system is called nope\. Check the spelling"),
        (["x.jpg", "--part-rows", "0", "--out", "parts"], r"--part-rows must be at least 1, not 0"),
        (["@gone.txt"], r"Can't open the list gone\.txt: no such file\. Check the path"),
        (["x.jpg", "--part-rows", "9"], r"--part-rows needs --out FOLDER"),
        (
            ["x.jpg", "--out", "s3://bucket/a.csv"],
            r"--out s3://bucket/a\.csv is a URL\. Write to this machine",
        ),
        (["x.jpg", "--out", "parts/", "--format", "table"], r"Parts can't be tables\. Say --format parquet"),
    ],
)
def test_mistakes_are_told_before_the_model_is_loaded(
    words: list[str], message: str, call: Runner, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"a": [b""], "b": [b""]}), tmp_path / "two.parquet")
    refused(call("predict", "no run", *words), message)


# ------------------------------------------------------------------ parts


def test_parts_hold_what_one_file_holds_and_read_as_one_table(
    call: Runner, pets_run: Path, small_set: Path, whole: Path, tmp_path: Path
) -> None:
    names = [f"part-{number:05}.parquet" for number in range(3)]
    assert sorted(files_below(whole)) == ["_progress.json", *names]
    assert call("predict", pets_run, small_set, "--out", "one.parquet").returncode == 0
    assert pq.read_table(whole).equals(pq.read_table(tmp_path / "one.parquet"))
    assert [pq.read_table(whole / name).num_rows for name in names] == [16, 16, 8]


def test_a_finished_folder_is_left_as_it_is(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    words = ["predict", pets_run, small_set, tmp_path / "gone.jpg", "--out", "parts/", "--part-rows", "16"]
    assert call(*words, "--format", "csv").returncode == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("part*")}
    assert [path.suffix for path in before] == [".csv"] * 3
    done = call(*words, "--format", "csv")
    assert done.returncode == 1
    assert "parts answers 41 images already" in done.stderr
    assert "headstart: 1 of 41 images can't be read" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("part*")} == before


_KILLED = """
import os, signal, sys
from headstart.api import parts

where, calls = sys.argv.pop(1), []

def write_rows(rows, *rest, original=parts.write_rows):
    def dying():
        for n, row in enumerate(rows):
            if where == "within a part" and len(calls) == 2 and n == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            yield row
    calls.append(rest)
    original(dying(), *rest)
    if where == "before it is listed" and len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

parts.write_rows = write_rows
from headstart.cli import main
main()
"""


@pytest.mark.parametrize("where", ["within a part", "before it is listed"])
def test_a_killed_prediction_goes_on_and_ends_in_the_same_bytes(
    where: str,
    *,
    headstart: Runner,
    pets_run: Path,
    small_set: Path,
    whole: Path,
    cache: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    words = ["predict", str(pets_run), str(small_set), "--out", "parts/", "--part-rows", "16"]
    killed = run_code(_KILLED, [where, *words, "--cache", str(cache)], tmp_path, environment)
    assert killed.returncode == -signal.SIGKILL
    listed = json.loads((tmp_path / "parts" / "_progress.json").read_text())
    assert (len(listed["parts"]), listed["finished"]) == (1, False)
    done = headstart(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parts answers 16 images already; going on after them" in words_of(done.stderr)
    assert files_below(tmp_path / "parts") == files_below(whole)


def test_a_part_that_is_gone_or_damaged_is_made_again(
    call: Runner, pets_run: Path, small_set: Path, whole: Path, tmp_path: Path
) -> None:
    words = ["predict", pets_run, small_set, "--out", "parts/", *_PARTS]
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])):
        assert call(*words).returncode == 0
        damage(tmp_path / "parts" / "part-00001.parquet")
        assert call(*words).returncode == 0
        assert files_below(tmp_path / "parts") == files_below(whole)


def test_parts_of_something_else_are_refused(
    call: Runner, pets_run: Path, pets: Path, small_set: Path, shards: Path, tmp_path: Path
) -> None:
    words = ["predict", pets_run, pets, "--out", "parts/", *_PARTS]
    assert call(*words).returncode == 0
    before = files_below(tmp_path / "parts")
    mend = r"Name another folder with --out, or delete this one to start again"
    refused(call(*words, "--top", "2"), rf"asked for otherwise: top was 1 and is 2\. {mend}")
    refused(call(*words[:-2], "5", "--quiet"), r"part_rows was 16 and is 5")
    refused(call(*words, "--format", "csv"), r"format was parquet and is csv")
    other = (
        r"part-00000\.parquet answers other images than those named now, or they have changed: it begins with"
    )
    refused(call("predict", pets_run, shards / "all.parquet", *words[3:]), rf"{other} \S+, now with \S+#0")
    refused(call("predict", pets_run, pets / "dogs", *words[3:]), other)
    refused(call(*words[:3], pets, *words[3:]), r"answers 40 images and is finished, but there are more now")
    changed = pictures(pets)[20]
    changed.write_bytes(changed.read_bytes() + b"\0")
    refused(call(*words), r"part-00001\.parquet answers other images .* or they have changed")
    assert files_below(tmp_path / "parts") == before


def test_parts_of_another_model_are_refused(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    for folder in ("cats", "dogs"):
        (tmp_path / "other" / folder).mkdir()
        for path in sorted((small_set / folder).iterdir())[:8]:
            shutil.copy(path, tmp_path / "other" / folder)
    assert call("train", "other", "--out", "other run", "--quiet").returncode == 0
    words = [small_set / "cats", "--out", "parts/", *_PARTS]
    assert call("predict", pets_run, *words).returncode == 0
    refused(call("predict", "other run", *words), r"asked for otherwise: model was \w{24} and is \w{24}")


def test_a_folder_of_the_users_own_is_left_alone(
    call: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "part-00000.parquet").write_text("mine")
    words = ["predict", pets_run, small_set, "--out", "mine/"]
    refused(
        call(*words), r"mine holds files that are no predictions, such as part-00000\.parquet\. Name a folder"
    )
    assert files_below(tmp_path / "mine") == {"part-00000.parquet": digest(b"mine")}
    (tmp_path / "mine" / "_progress.json").write_text("{}")
    refused(call(*words), r"_progress\.json is damaged \('version'\)\. Name another folder")


def test_two_processes_do_not_write_the_same_parts(
    headstart: Runner, pets_run: Path, small_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    lock = hold(tmp_path / "parts")
    try:
        done = headstart("predict", pets_run, small_set, "--out", "parts/", cwd=tmp_path)
        refused(done, r"Another process is writing parts\. Wait for it, or name another folder")
    finally:
        lock.release()


def test_a_list_is_answered_while_it_is_written(
    pets_run: Path, small_set: Path, cache: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Far more names than are ever under way: the first answers come before the list ends."""
    command = [sys.executable, "-m", "headstart", "predict", str(pets_run), "-", "--out", "parts/"]
    command += ["--part-rows", "20", "--quiet", "--cache", str(cache)]
    paths = pictures(small_set)
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, text=True
    ) as process:
        for _ in range(12):
            process.stdin.write("".join(f"{path}\n" for path in paths))
        process.stdin.flush()
        deadline = time.monotonic() + TIMEOUT_S
        while not (tmp_path / "parts" / "part-00000.parquet").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 0
    assert pq.read_table(tmp_path / "parts").num_rows == 480


# ------------------------------------------------------------------ Python, and memory


def test_the_verb_of_the_python_api(pets_run: Path, small_set: Path, cache: Path, tmp_path: Path) -> None:
    config = hs.PredictConfig(top=2, part_rows=16)
    wanted = [small_set / "cats", str(small_set / "dogs"), tmp_path / "gone.jpg"]
    first = hs.predict(pets_run, wanted, config, out=tmp_path / "parts", cache=cache)
    assert first == hs.Predicted(tmp_path / "parts", images=41, unreadable=1, kept=0)
    assert hs.predict(pets_run, wanted, config, out=tmp_path / "parts", cache=cache).kept == 41
    one = hs.predict(pets_run, small_set / "cats", out=tmp_path / "one.csv", cache=cache)
    assert (one.images, len((tmp_path / "one.csv").read_text().splitlines())) == (20, 21)
    with pytest.raises(
        hs.HeadstartError, match=r"one\.xml tells no format\. Name it \.csv, \.jsonl or \.parquet"
    ):
        hs.predict(pets_run, small_set, out=tmp_path / "one.xml", cache=cache)
    with pytest.raises(TypeError, match=r"Give paths, URLs or open lists of them, not int"):
        hs.predict(pets_run, [3], out=tmp_path / "one.csv", cache=cache)  # type: ignore[list-item]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "table"])
def test_rows_do_not_gather_in_memory(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_BLOCK_ROWS", 50)

    def rows(n: int) -> Iterator[Row]:
        for number in range(n):
            yield Row(f"folder/{number:06}.jpg", "cats", 0.75, (("cats", 0.75),), None)

    def peak(n: int) -> int:
        out = tmp_path / f"rows.{kind}"
        tracemalloc.start()
        if kind == "table":
            print_rows(rows(n), "table", 1, str(out))
        else:
            write_rows(rows(n), kind, 1, out)  # type: ignore[arg-type]
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = (200, 600) if kind == "table" else (9000, 27000)
    peak(100)  # what is imported and cached once
    assert peak(many) < 1.1 * peak(few) + 200_000
