"""What a user names becomes pictures in order, one at a time, wherever they lie."""

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.data.files import MAX_BYTES
from headstart.data.pictures import Picture
from headstart.data.sources import open_sources
from headstart.errors import ConfigError, DatasetNotFoundError, UnreadableImageError
from support import paint


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures in two folders, natural order 1 2 10, beside what is none."""
    for number in (1, 2, 10):
        paint(tmp_path / "photos" / "a" / f"{number}.png", number)
    paint(tmp_path / "photos" / "b.png", 20)
    paint(tmp_path / "photos" / ".hidden.png", 21)
    (tmp_path / "photos" / "notes.md").write_text("no picture")
    return tmp_path / "photos"


def read_all(*words: str, column: str | None = None) -> dict[str, bytes | str]:
    """Bytes, or the reason, by name."""
    return {picture.name: content(picture.held()) for picture in open_sources(words, column)}


def content(picture: Picture) -> bytes | str:
    try:
        return picture.read()
    except UnreadableImageError as error:
        return str(error)


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    return paint(tmp_path / "one.png", 1).read_bytes()


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


# ------------------------------------------------------------------ local names


def test_folders_globs_and_lists_in_natural_order(photos: Path, tmp_path: Path) -> None:
    below = [str(photos / name) for name in ("a/1.png", "a/2.png", "a/10.png", "b.png")]
    assert list(read_all(str(photos))) == below
    assert list(read_all(f"{photos}/a/*.png")) == below[:3]
    (tmp_path / "list.txt").write_text(f"{below[3]}\n\n{photos / 'a'}\r\n{tmp_path}/gone.png\n")
    found = read_all(f"@{tmp_path}/list.txt")
    assert list(found) == [below[3], *below[:3], f"{tmp_path}/gone.png"]
    assert found[f"{tmp_path}/gone.png"] == "no such file"
    assert [picture.name for picture in open_sources([io.StringIO(f"{below[1]}\n")])] == [below[1]]


@pytest.mark.parametrize("line", ["a.jpg\0b.jpg\0", "\x89PNG[*\0\0?]" + 99 * "x"])
def test_what_is_no_list_of_names_is_told(line: str) -> None:
    [picture] = open_sources([io.StringIO(f"{line}\n")])
    with pytest.raises(UnreadableImageError, match="no name of a file; give a list of names, one a line"):
        picture.read()
    assert "\0" not in picture.name


def test_a_name_in_a_list_that_holds_nothing_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path}/empty\n{tmp_path}/*.jpg\n@{listed}\nnone://x\n")
    found = read_all(f"@{listed}")
    assert found[f"{tmp_path}/empty"] == f"The folder {tmp_path}/empty has no images in it. Name another."
    assert found[f"{tmp_path}/*.jpg"] == f"Nothing matches {tmp_path}/*.jpg. Check the pattern."
    assert found[f"@{listed}"] == "a list inside a list"
    assert "no file system is called none" in str(found["none://x"])


def test_a_total_is_known_where_listing_tells(photos: Path, tmp_path: Path, png: bytes) -> None:
    pq.write_table(pa.table({"image": [png] * 3}), tmp_path / "t.parquet")
    assert open_sources([str(photos), f"{photos}/b.png", str(tmp_path / "t.parquet")]).total == 8
    write_tar(tmp_path / "s.tar", {"a.png": png})
    assert open_sources([str(photos), str(tmp_path / "s.tar")]).total is None


def test_an_empty_folder_hints_at_its_shards(tmp_path: Path, png: bytes) -> None:
    write_tar(tmp_path / "s.tar", {"a.png": png})
    (tmp_path / "one.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"has no images .* to be named: \S+/s\.tar"):
        open_sources([str(tmp_path)])


# ------------------------------------------------------------------ tar shards


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.xz", "w:xz")]
)
def test_members_come_in_the_shards_order(tmp_path: Path, png: bytes, suffix: str, mode: str) -> None:
    members = {"9.png": png, "9.json": b"{}", "10.cls": b"1", "./10.jpg": b"damaged", "a/._x.png": png}
    shard = write_tar(tmp_path / f"s.{suffix}", members, mode)
    assert read_all(str(shard)) == {f"{shard}/9.png": png, f"{shard}/./10.jpg": b"damaged"}


def test_names_of_members_are_names_alone(tmp_path: Path, png: bytes) -> None:
    members = {"../../evil.png": png, "/etc/evil.png": png}
    shard = write_tar(tmp_path / "s.tar", members)
    before = sorted(tmp_path.rglob("*"))
    assert read_all(str(shard)) == {f"{shard}/{name}": png for name in members}
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_endless_members_are_rows(tmp_path: Path, png: bytes) -> None:
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        one = tarfile.TarInfo("one.png")
        one.size = len(png)
        archive.addfile(one, io.BytesIO(png))
        huge = tarfile.TarInfo("huge.png")
        huge.size = MAX_BYTES + 1
        archive.addfile(huge)  # its bytes are missing
    found = read_all(str(shard))
    assert found[f"{shard}/link.png"] == "a link or device, not a file"
    assert found[f"{shard}/one.png"] == png
    assert str(found[f"{shard}/huge.png"]).startswith("1,073,741,825 bytes, more than the limit")
    assert found[str(shard)] == "the rest of it can't be read: truncated"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_shard_says_so_after_what_was_whole(tmp_path: Path, mode: str, kept: float) -> None:
    noise = {f"{n}.png": os.urandom(3000) for n in range(10)}
    data = write_tar(tmp_path / "whole.tar", noise, mode).read_bytes()
    size = len(data) if mode == "w:gz" else 10 * 3584
    shard = tmp_path / "cut.tar"
    shard.write_bytes(data[: int(size * kept) + 700])
    found = read_all(str(shard))
    whole = [name for name, data in found.items() if isinstance(data, bytes)]
    assert whole == [f"{shard}/{n}.png" for n in range(len(whole))]
    assert len(whole) in {int(10 * kept), int(10 * kept) - 1}
    assert found[str(shard)] == "the rest of it can't be read: truncated"


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path, png: bytes) -> None:
    shard = write_tar(tmp_path / "s.tar", {"0.png": bytes(3000), "1.png": png, "2.png": png})
    data = bytearray(shard.read_bytes())
    data[3584 + 20] ^= 1
    shard.write_bytes(data)
    found = read_all(str(shard))
    assert list(found) == [f"{shard}/0.png", str(shard)]
    assert found[str(shard)] == "the rest of it can't be read: damaged (bad checksum)"


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_what_is_no_tar(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(data)
    assert str(read_all(str(tmp_path / "s.tar"))[str(tmp_path / "s.tar")]).startswith("it can't be read")
    assert read_all(str(tmp_path / "gone.tar")) == {str(tmp_path / "gone.tar"): "no such file"}
    write_tar(tmp_path / "empty.tar", {"a.txt": b"text"})
    assert read_all(str(tmp_path / "empty.tar")) == {str(tmp_path / "empty.tar"): "a tar without images"}


def test_a_bomb_in_the_header_of_a_compressed_shard_stays_small(tmp_path: Path) -> None:
    bomb = tarfile.TarInfo("name")
    bomb.type, bomb.size = tarfile.GNUTYPE_LONGNAME, 200 << 20
    with gzip.open(tmp_path / "s.tar.gz", "wb", compresslevel=1) as file:
        file.write(bomb.tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    found = read_all(str(tmp_path / "s.tar.gz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {str(tmp_path / "s.tar.gz"): "it can't be read: a header of 209,715,200 bytes"}
    assert peak < 100 << 20


def test_members_do_not_gather_in_memory(tmp_path: Path, png: bytes) -> None:
    def peak(n: int) -> int:
        shard = write_tar(tmp_path / f"{n}.tar", {f"{number:05}.png": png for number in range(n)})
        tracemalloc.start()
        assert sum(len(picture.held().read()) for picture in open_sources([str(shard)])) == n * len(png)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)  # what is imported and cached once
    assert peak(1500) < peak(300) + 100_000


# ------------------------------------------------------------------ tables


def test_bytes_as_hugging_face_writes_them(tmp_path: Path, png: bytes) -> None:
    paint(tmp_path / "beside.png", 2)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [
        {"bytes": png, "path": "x.png"},
        {"bytes": png, "path": None},
        {"bytes": None, "path": "beside.png"},
        {"bytes": None, "path": None},
        None,
    ]
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": [0, 1, 0, 1, 0]}), table)
    assert read_all(str(table)) == {
        "x.png": png,
        f"{table}#1": png,
        str(tmp_path / "beside.png"): (tmp_path / "beside.png").read_bytes(),
        f"{table}#3": "no image: the row's bytes are null",
        f"{table}#4": "no image: the row's bytes are null",
    }


def test_plain_bytes_and_paths(photos: Path, tmp_path: Path, png: bytes) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"content": [png, b"damaged", None], "label": ["a", "b", "c"]}), table)
    assert list(read_all(str(table)).values()) == [png, b"damaged", "no image: the row's bytes are null"]
    pq.write_table(pa.table({"path": ["photos/b.png", str(photos / "a/1.png"), None, ""]}), table)
    found = read_all(str(table))
    assert list(found) == [str(photos / "b.png"), str(photos / "a/1.png"), f"{table}#2", f"{table}#3"]
    assert found[str(photos / "b.png")] == (photos / "b.png").read_bytes()
    assert found[f"{table}#3"] == "the path is empty"


def test_the_column_is_asked_for_where_several_could_be_meant(tmp_path: Path, png: bytes) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"left": [png], "right": [b"other"], "note": ["x"]}), table)
    with pytest.raises(
        ConfigError, match=r"'left', 'right' hold bytes and 'note' holds text\. Say --column NAME"
    ):
        open_sources([str(table)])
    assert read_all(str(table), column="right") == {f"{table}#0": b"other"}
    with pytest.raises(ConfigError, match=r"has no column 'middle' of images or paths; 'left', 'right' hold"):
        open_sources([str(table)], "middle")
    pq.write_table(pa.table({"label": [1]}), table)
    with pytest.raises(ConfigError, match="none holds bytes or text"):
        open_sources([str(table)])


def test_what_is_no_table(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    table.write_bytes(b"PAR1 no table PAR1")
    assert "not a readable Parquet file" in str(read_all(str(table))[str(table)])
    assert read_all(f"{tmp_path}/gone.parquet") == {f"{tmp_path}/gone.parquet": "no such file"}


def test_one_large_row_group_is_not_read_whole(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    noise = pa.table({"image": [os.urandom(200_000) for _ in range(200)]})
    pq.write_table(
        noise, table, row_group_size=200, compression="none", use_dictionary=False, write_batch_size=4
    )
    del noise
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()  # what Python hands to pyarrow; the rest is in pyarrow's own pool
    for picture in open_sources([str(table)]):
        assert len(picture.read()) == 200_000
        most = max(most, pa.total_allocated_bytes() - before)
    most += tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6, "of 40 MB"


# ------------------------------------------------------------------ URLs


def test_the_same_from_memory_as_from_files(
    memory: fsspec.AbstractFileSystem, photos: Path, tmp_path: Path, png: bytes
) -> None:
    shard = write_tar(tmp_path / "s.tar.gz", {"1.png": png, "2.png": b"damaged"}, "w:gz")
    pq.write_table(pa.table({"path": ["photos/b.png"]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"image": [png]}), tmp_path / "i.parquet")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            memory.pipe(f"/top/{path.relative_to(tmp_path)}", path.read_bytes())
    words = ["photos", "photos/b.png", "photos/a/*.png", shard.name, "t.parquet", "i.parquet"]
    for word in words:
        here = read_all(f"{tmp_path}/{word}")
        there = read_all(f"memory://top/{word}")
        assert list(there.values()) == list(here.values())
        names = [name.replace("memory:///", "memory://") for name in there]
        assert names == [name.replace(str(tmp_path), "memory://top") for name in here]
    assert len(read_all("memory://")) == len(list(photos.rglob("[!.]*.png"))) + 1
    assert read_all("memory://top/gone.png") == {"memory://top/gone.png": "no such file"}


def test_pictures_inside_a_zip(photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.write(path, str(path.relative_to(tmp_path)))
    expected = [(photos / name).read_bytes() for name in ("a/1.png", "a/2.png", "a/10.png")]
    for word in ("photos/a", "photos/a/*.png"):
        found = read_all(f"zip://{word}::{tmp_path}/p.zip")
        assert list(found.values()) == expected
        assert next(iter(found)) == f"zip://photos/a/1.png::{tmp_path}/p.zip"
        assert list(read_all(f"simplecache::zip://{word}::{tmp_path}/p.zip").values()) == expected
    assert list(read_all(f"file://{photos}/b.png")) == [f"{photos}/b.png"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nope://x/1.jpg", r"no file system is called nope"),
        ("zip://*.jpg::/no/such.zip", r"Can't open zip://\*\.jpg::/no/such\.zip: no such file"),
        ("memory://none/*.jpg", r"Nothing matches memory://\S*none/\*\.jpg"),
        ("memory://", r"The folder memory:/*\S* has no images"),
    ],
)
def test_urls_that_lead_nowhere(url: str, message: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=message):
        open_sources([url])


def test_a_missing_package_is_named() -> None:
    known = fsspec.available_protocols()
    missing = next(
        name for name in ("oss", "dropbox", "webhdfs", "gdrive", "ipfs", "adl") if is_missing(name, known)
    )
    with pytest.raises(
        DatasetNotFoundError, match=rf"{missing}:// needs a package that is not installed\. \S+"
    ):
        open_sources([f"{missing}://bucket/*.jpg"])


def is_missing(protocol: str, known: list[str]) -> bool:
    if protocol not in known:
        return False
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError:
        return True
    return False
