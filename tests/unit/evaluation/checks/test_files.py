from pathlib import Path

import pytest

from evidence import make_evidence, with_files
from headstart.data.files import Skipped
from headstart.evaluation.checks.files import find_file_findings, find_unreadable

N = 40


@pytest.mark.parametrize(
    ("kind", "change", "severity"),
    [
        ("tiny", {"width_px": 40, "height_px": 50}, "warning"),
        ("odd_aspect", {"width_px": 1000}, "warning"),
        ("odd_aspect", {"height_px": 1200}, "warning"),
        ("wrong_extension", {"format": "PNG"}, "info"),
    ],
)
def test_a_picture_with_an_odd_header(
    tmp_path: Path, kind: str, change: dict[str, object], severity: str
) -> None:
    plain = make_evidence(tmp_path, [0, 1] * (N // 2))
    assert list(find_file_findings(plain)) == []
    usual = {"width_px": 400, "height_px": 300, "format": "JPEG"}
    fields = {name: [usual[name]] * 7 + [value] + [usual[name]] * (N - 8) for name, value in change.items()}
    (found,) = find_file_findings(with_files(plain, **fields))
    assert (found.kind, found.severity, found.files) == (kind, severity, ("/set/b/7.jpg",))


@pytest.mark.parametrize(
    ("orientation", "is_turned"), [(1, False), (3, True), (8, True), (0, False), (56624, False)]
)
def test_only_valid_exif_orientations_turn(tmp_path: Path, orientation: int, is_turned: bool) -> None:
    looks = {"orientation": [orientation] + [1] * (N - 1)}
    found = list(find_file_findings(make_evidence(tmp_path, [0, 1] * (N // 2), looks=looks)))
    assert [finding.kind for finding in found] == ["rotated"] * is_turned


def test_what_holds_for_most_is_told_once_of_all(tmp_path: Path) -> None:
    small = with_files(make_evidence(tmp_path, [0, 1] * (N // 2)), width_px=[32] * N, height_px=[32] * N)
    (found,) = find_file_findings(small)
    assert (found.kind, found.severity, len(found.files)) == ("tiny", "info", N)
    assert found.message == "40 of 40 pictures: its shorter side has fewer than 64 pixels"


def test_unreadable_files_are_told_by_reason() -> None:
    found = list(find_unreadable([Skipped("/a.jpg", "truncated"), Skipped("/b.jpg", "not an image")]))
    assert [(f.kind, f.files, f.message) for f in found] == [
        ("truncated", ("/a.jpg",), "truncated"),
        ("unreadable", ("/b.jpg",), "not an image"),
    ]
