"""Exports answer as their run does, from image files on, or are refused."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.exports import onnx as exports_onnx
from support import TIMEOUT_S, Runner, pictures, refused, small_disk, went_well

# what predict_onnx.py says it needs, and what onnxruntime itself brings
_PACKAGES = ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime", "flatbuffers", "google", "packaging")


@pytest.fixture(scope="session")
def onnx_folder(headstart: Runner, pets_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX export of the pets, verified on its own images."""
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    done = headstart("export", pets_run, "--out", folder, "--json", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["agreeing"] == 40
    return folder


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with numpy, Pillow and onnxruntime, without torch."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name in _PACKAGES:
        for home in map(Path, sys.path):
            if (home / name).is_dir():
                (site / name).symlink_to(home / name)
                break
    return folder / "bin" / "python"


def run_script(python: Path, folder: Path, images: list[Path]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [python, folder / "predict_onnx.py", folder / "model.onnx", *images],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def odd_pictures(source: Path, folder: Path) -> list[Path]:
    """One photo as it comes from cameras, scanners and drawing programs."""
    folder.mkdir()
    photo = Image.open(source).convert("RGB").resize((300, 260))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.resize((1500, 1300)).save(folder / "large.jpg")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("L").save(folder / "grey.jpg")
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    clear.save(folder / "clear.png")
    photo.quantize(16).save(folder / "palette.gif", transparency=0)
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(deep).save(folder / "deep.tiff")
    photo.crop((0, 0, 300, 3)).save(folder / "thin.png")
    return sorted(folder.iterdir())


def test_the_script_answers_without_torch_as_predict_does(
    headstart: Runner, onnx_folder: Path, bare_python: Path, pets_run: Path, pets: Path, tmp_path: Path
) -> None:
    without = subprocess.run([bare_python, "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in without.stderr
    images = pictures(pets) + odd_pictures(pictures(pets)[0], tmp_path / "odd")
    answers = run_script(bare_python, onnx_folder, images)
    words = ["predict", pets_run, *images, "--runtime", "openvino-fp32", "--top", "2", "--out", "p.parquet"]
    assert headstart(*words, cwd=tmp_path).returncode == 0
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [answer["path"] for answer in answers] == [row["path"] for row in rows]
    assert [answer["predicted"] for answer in answers] == [row["predicted"] for row in rows]
    best = [max(answer["probabilities"]) for answer in answers]
    assert best == pytest.approx([row["confidence"] for row in rows], abs=1e-3)


def test_the_script_is_short_and_needs_little(onnx_folder: Path) -> None:
    lines = (onnx_folder / "predict_onnx.py").read_text().splitlines()
    assert len(lines) <= 40
    words = [line.split() for line in lines]
    imported = {word[1].split(".")[0] for word in words if word and word[0] in {"import", "from"}}
    assert imported <= {"json", "sys", "typing", "numpy", "onnxruntime", "PIL"}


def test_the_file_describes_itself(onnx_folder: Path, pets_run: Path) -> None:
    model = onnx.load(onnx_folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == ["cats", "dogs"]
    assert metadata["model_card"] == (pets_run / "README.md").read_text()
    contract = json.loads(metadata["headstart"])
    assert (contract["preprocessing"]["resize_px"], contract["preprocessing"]["crop_px"]) == (256, 224)
    assert model.opset_import[0].version >= 18
    (views,), (probabilities, features) = model.graph.input, model.graph.output
    shape = [axis.dim_value or axis.dim_param for axis in views.type.tensor_type.shape.dim]
    assert (views.name, views.type.tensor_type.elem_type, shape[1:]) == (
        "views",
        onnx.TensorProto.UINT8,
        [224, 224, 3],
    )
    assert isinstance(shape[0], str)
    assert (probabilities.name, features.name) == ("probabilities", "features")
    record = json.loads((onnx_folder / "verification.json").read_text())
    assert (record["verified"], record["images"], record["equal_pixels"]) == (True, 40, 40)
    assert record["difference_equal"] < 1e-4


def swap_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make the graph take BGR for RGB, as many a converter has done."""
    order = onnx.numpy_helper.from_array(np.array([2, 1, 0]), "order")
    model.graph.initializer.append(order)
    for node in model.graph.node:
        node.input[:] = ["swapped" if name == "views" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Gather", ["views", "order"], ["swapped"], axis=3))
    return model


def test_an_export_that_answers_otherwise_is_refused(
    call: Runner, onnx_folder: Path, pets_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = swap_channels(onnx.load(onnx_folder / "model.onnx"))
    monkeypatch.setattr(exports_onnx, "to_onnx", lambda source: broken)
    done = call("export", pets_run, "--out", tmp_path / "broken")
    assert done.returncode == 1
    assert "Kept aside" in done.stdout
    assert "headstart: refused, as given the same pixels, a probability differs by" in done.stderr
    assert not (tmp_path / "broken" / "model.onnx").exists()
    assert (tmp_path / "broken" / "model.onnx.rejected").is_file()
    record = json.loads((tmp_path / "broken" / "verification.json").read_text())
    assert record["verified"] is False
    assert record["refusals"]


def test_int8_keeps_the_accuracy(call: Runner, pets_run: Path, tmp_path: Path) -> None:
    done = call("export", pets_run, "--int8", "--out", tmp_path / "small")
    went_well(done, r"Quantised by (nncf|onnxruntime); on other training images", r"Accuracy 100\.0 %")
    assert (tmp_path / "small" / "model.onnx").stat().st_size < 5e6  # of 14 MB
    record = json.loads((tmp_path / "small" / "verification.json").read_text())
    assert {candidate["tool"] for candidate in record["quantisers"]} == {"onnxruntime", "nncf"}
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == [
        "model.onnx",
        "predict_onnx.py",
        "verification.json",
    ]


def test_openvino_timm_and_the_hub(call: Runner, pets_run: Path, tmp_path: Path) -> None:
    for to in ("openvino", "timm", "hf"):
        done = call("export", pets_run, "--to", to, "--out", tmp_path / to)
        went_well(done, r"the same class for 40 of 40 \(100\.0%\)")
    names = sorted(path.name for path in (tmp_path / "openvino").iterdir())
    assert names == ["model.bin", "model.xml", "verification.json"]
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    assert config["label_names"] == ["cats", "dogs"]
    assert "settings" not in json.dumps(config)
    again = call("export", pets_run, "--to", "timm", "--out", tmp_path / "timm")
    went_well(again, r"Saved \S+/timm-2/model\.safetensors")


def test_images_that_have_moved(call: Runner, pets_run: Path, pets: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pets_run, tmp_path / "moved"))
    for name in ("predictions.parquet", "split.parquet"):
        table = pq.read_table(run / name)
        gone = table["path"].to_pylist()
        column = table.schema.get_field_index("path")
        elsewhere = pq.read_table(run / name).set_column(column, "path", [[f"/gone{path}" for path in gone]])
        pq.write_table(elsewhere.replace_schema_metadata(table.schema.metadata), run / name)
    refused(
        call("export", run, "--to", "timm"),
        r"None of the 40 images that this run was measured on is where it was \(/gone/\S+\)\. "
        r"Name labelled images to verify with: --verify FOLDER",
    )
    refused(
        call("export", run, "--int8", "--verify", pets),
        r"None of the 40 training images of this run is where it was .* --calibrate FOLDER",
    )
    went_well(call("export", run, "--to", "timm", "--verify", pets), r"on \S+pets, .* 40 of 40")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "tflite"], r"--to"),
        (["--to", "timm", "--int8"], r"--int8 is for onnx and openvino; timm keeps 32-bit weights"),
        (["--calibrate", "x"], r"--calibrate needs --int8"),
        (["--to", "timm", "--verify", "nowhere"], r"nowhere"),
    ],
)
def test_settings_that_cant_be(call: Runner, pets_run: Path, words: list[str], message: str) -> None:
    refused(call("export", pets_run, *words), message)


def test_a_run_of_a_newer_version(call: Runner, pets_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pets_run, tmp_path / "newer"))
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"format_version": 1', '"format_version": 9'))
    refused(call("export", run), r"format version 9, and this Headstart reads up to 1\. Upgrade it")


@pytest.mark.parametrize(
    ("options", "message"), [("size=1m", r"the disk is full"), ("ro", r"this disk is read-only")]
)
def test_disks_that_take_nothing(
    call: Runner, pets_run: Path, tmp_path: Path, options: str, message: str
) -> None:
    with small_disk(tmp_path / "disk", options) as is_mounted:
        if not is_mounted:
            pytest.skip("this system doesn't let us mount a disk")
        refused(call("export", pets_run, "--to", "timm", "--out", tmp_path / "disk" / "x"), message)
        assert list((tmp_path / "disk").iterdir()) == []
