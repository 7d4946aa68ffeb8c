"""Manifests: what is read, and how all problems are told at once."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.data.manifest import ManifestRow, read_manifest
from headstart.errors import DatasetNotFoundError, ManifestError


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    """What the manifests name: that it exists is checked, what is in it is not."""
    for name in ("a.png", "b.png", "c.png", "d.png", "b\n.png", "a", "b", "elsewhere/c.png", "set/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "images.csv"
    path.write_text(text, encoding="utf-8")
    return path


def write_parquet(folder: Path, **columns: object) -> Path:
    path = folder / "images.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_reads_csv_with_all_columns(tmp_path: Path) -> None:
    absolute = tmp_path / "elsewhere" / "c.png"
    rows = read_manifest(
        write_csv(
            tmp_path,
            "path,label,split,group,remark\n"
            f"a.png,3,Train,p1,fine\nsub/../b.png,10,VALIDATION,,\n{absolute},猫,,p1,\n\nd.png,cat,test,,\n",
        )
    )
    assert rows == [
        ManifestRow(str(tmp_path / "a.png"), "3", "train", "p1"),
        ManifestRow(str(tmp_path / "b.png"), "10", "val", None),
        ManifestRow(str(absolute), "猫", None, "p1"),
        ManifestRow(str(tmp_path / "d.png"), "cat", "test", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "label,path\ncat,a.png\n",
        " Path , LABEL \na.png, cat \n",
        "path;label\na.png;cat\n",
        "path\tlabel\r\na.png\tcat\r\n",
        '\ufeffpath,label\n"a.png","cat"',
        "path,label\na.png,cat\na.png,cat\n",
    ],
)
def test_reads_csv_as_spreadsheets_write_it(tmp_path: Path, text: str) -> None:
    assert read_manifest(write_csv(tmp_path, text)) == [
        ManifestRow(str(tmp_path / "a.png"), "cat", None, None)
    ]


def test_relative_paths_start_at_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "set", "path,label\na.png,cat\n")
    monkeypatch.chdir(tmp_path)
    (row,) = read_manifest(Path("set/images.csv"))
    assert row.path == str(tmp_path / "set" / "a.png")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([3, 10]), ["3", "10"]),
        (pa.array([3.0, 10.0]), ["3", "10"]),
        (pa.array(["3", "3.0"]), ["3", "3.0"]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
        (pa.array([b"b", b"a"]), ["b", "a"]),
    ],
)
def test_parquet_labels_become_text(tmp_path: Path, labels: pa.Array, expected: list[str]) -> None:
    rows = read_manifest(write_parquet(tmp_path, label=labels, path=["a.png", "b.png"], other=[[1], [2]]))
    assert [row.label for row in rows] == expected


def test_parquet_labels_that_are_lists_are_refused(tmp_path: Path) -> None:
    manifest = write_parquet(tmp_path, label=[["a"], ["a", "b"]], path=["a.png", "b.png"])
    with pytest.raises(ManifestError, match=r"has list<.*> in the column 'label'\. Give one text or number"):
        read_manifest(manifest)


def test_parquet_nulls_are_empty(tmp_path: Path) -> None:
    columns = {"path": ["a", "b"], "label": ["x", "y"], "split": [None, "test"], "group": [None, 7]}
    rows = read_manifest(write_parquet(tmp_path, **columns))
    assert [(row.split, row.group) for row in rows] == [(None, None), ("test", "7")]
    with pytest.raises(ManifestError, match=r"row 2: the label is empty"):
        read_manifest(write_parquet(tmp_path, path=["a", "b"], label=[1.0, float("nan")]))


def test_missing_columns_are_told_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"lacks the columns 'path', 'label'; it has 'file', 'class'\. Name"
    ):
        read_manifest(write_csv(tmp_path, "file,class\na.png,cat\n"))
    with pytest.raises(ManifestError, match=r"lacks the column 'label'; it has 'path'"):
        read_manifest(write_parquet(tmp_path, path=["a.png"]))
    with pytest.raises(ManifestError, match=r"it has none"):
        read_manifest(write_csv(tmp_path, ""))
    with pytest.raises(ManifestError, match=r"has 'path' twice"):
        read_manifest(write_csv(tmp_path, "path,Path,label\na,b,c\n"))


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no rows"):
        read_manifest(write_csv(tmp_path, "path,label\n\n"))


def test_all_problems_are_gathered(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        'path,label,split\n,cat,train\n"a.png",,\n"b\n.png",cat,holdout\nc.png,cat\nd.png,cat,\n./d.png,dog,\n',
    )
    with pytest.raises(ManifestError, match="has 5 problems; mend") as caught:
        read_manifest(path)
    assert str(caught.value).splitlines()[1:] == [
        "  line 6: 2 cells, but the header has 3",
        "  line 2: the path is empty",
        "  line 3: the label is empty",
        "  line 4: unknown split 'holdout' (known: train, val, valid, validation, test)",
        "  line 8: ./d.png is labelled 'dog', but 'cat' in line 7",
    ]


def test_only_the_first_hundred_problems_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has 1,234 problems(?s:.*)line 101: .*\n  and 1,134 more$"):
        read_manifest(write_csv(tmp_path, "path,label\n" + "a.png,\n" * 1234))


def test_all_paths_that_lead_to_no_file_are_told_with_the_other_problems(tmp_path: Path) -> None:
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    text = "a.png,x\ngone.png,x\nset,y\nlost.png,y\n/no/such.png,y\na.png/b.png,\na.png/c.png,y\ngone.png,y\n"
    with pytest.raises(ManifestError, match="has 7 problems; mend") as caught:
        read_manifest(write_csv(tmp_path, f"path,label\n{text}"))
    assert str(caught.value).splitlines()[1:] == [
        f"  line 3: there is no gone.png in {tmp_path}",
        f"  line 4: a folder, not a file: set in {tmp_path}",
        f"  line 5: a link leads nowhere: lost.png in {tmp_path}",
        "  line 6: there is no /no/such.png",
        "  line 7: the label is empty",
        f"  line 8: there is no a.png/c.png in {tmp_path}",
        "  line 9: gone.png is labelled 'y', but 'x' in line 3",
    ]


def test_a_path_with_a_null_byte_is_left_to_the_reader(tmp_path: Path) -> None:
    assert len(read_manifest(write_csv(tmp_path, "path,label\na\0.png,x\n"))) == 1


def test_files_that_are_no_manifests(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(
        ManifestError, match=r"not a readable Parquet file \(.*[^.]\)\. Write it again, or save it as"
    ):
        read_manifest(damaged)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("path,label\na.png,café\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"not UTF-8 text \(byte 20\). Save it"):
        read_manifest(latin)
    with pytest.raises(
        ManifestError, match=r"not a valid CSV file: unexpected end of data\. Save it again, with q"
    ):
        read_manifest(write_csv(tmp_path, 'path,label\n"a.png,cat\n'))


@pytest.mark.parametrize("name", ["images.csv", "images.parquet"])
def test_missing_manifest(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=rf"Can't open the manifest .*{name}: no such file"):
        read_manifest(tmp_path / name)


def test_manifest_is_independent_of_the_working_folder(tmp_path: Path) -> None:
    (row,) = read_manifest(write_csv(tmp_path / "set", f"path,label\n{os.pardir}/a.png,cat\n"))
    assert row.path == str(tmp_path / "a.png")
