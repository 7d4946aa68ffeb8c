"""Does what leaves Headstart answer as what was measured? On every test photo of four sets.

A run is trained on each set and exported to ONNX; `predict_onnx.py`, the script that lies beside the file,
and `headstart predict` on a float32 runtime then answer the whole test split, each from image files on and
in a process of its own. How often both decode the same pixels is counted apart. The int8 export's accuracy is
what `headstart export --int8 --verify` finds on the same photos; where it loses more than half a point, the
export is kept aside.

    python bench/export.py
    python bench/export.py --sets hymenoptera --no-int8     a quick trial
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import headstart
from headstart.data.decode import read_view
from headstart.metrics.intervals import wilson_interval
from headstart.run.folder import RunFolder
from support import HEADSTART, data_folder, make_parser, print_table, run, scratch_cache, verdict

LEAST_AGREEMENT = 0.995
MOST_DIFFERENCE = 1e-3
_FP32 = "openvino-fp32"


def answers(lines: str, classes: Sequence[str] | None = None) -> NDArray[np.float64]:
    """Probabilities of JSON lines, `(N, K)`: in the order of `classes`, or as the script lists them."""
    rows = [json.loads(line) for line in lines.splitlines()]
    if classes is None:
        return np.array([row["probabilities"] for row in rows])
    named = [{top["class"]: top["probability"] for top in row["top"]} for row in rows]
    return np.array([[by_name[name] for name in classes] for by_name in named])


def reader_of(script: Path) -> Callable[[str, dict[str, Any]], NDArray[np.uint8]]:
    """The script's own reading of a picture."""
    spec = importlib.util.spec_from_file_location("predict_onnx", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read: Callable[[str, dict[str, Any]], NDArray[np.uint8]] = module.read_view
    return read


def measure(name: str, cache: Path, folder: Path, *, int8: bool) -> list[str]:
    data = data_folder(name)
    run([HEADSTART, "train", data, "--out", folder, "--cache", cache, "--quiet"])
    exported = folder / "exports" / "onnx"
    run([HEADSTART, "export", folder, "--verify", data / "test", "--cache", cache, "--quiet"])
    paths = sorted(str(path) for path in (data / "test").rglob("*") if path.is_file())
    classes = RunFolder(folder).read_config()["label_names"]
    words = ["--format", "jsonl", "--top", str(len(classes)), "--runtime", _FP32, "--cache", cache, "--quiet"]
    own = answers(run([HEADSTART, "predict", folder, *paths, *words]).output, classes)
    script = exported / "predict_onnx.py"
    theirs = answers(run([sys.executable, script, exported / "model.onnx", *paths]).output)

    read = reader_of(script)
    contract = json.loads((exported / "verification.json").read_text())["contract"]
    preprocessing = headstart.load(folder, cache=cache).trunk.preprocessing
    equal = np.array(
        [
            np.array_equal(read(path, contract["preprocessing"]), read_view(path, preprocessing))
            for path in paths
        ]
    )
    agreeing = int(np.sum(own.argmax(axis=1) == theirs.argmax(axis=1)))
    low, _ = wilson_interval(agreeing, len(paths))
    differences = np.abs(own - theirs).max(axis=1)
    worst = float(differences[equal].max()) if equal.any() else 0.0
    reached = agreeing >= LEAST_AGREEMENT * len(paths) and worst <= MOST_DIFFERENCE
    return [
        name,
        f"{len(paths):,}",
        f"{agreeing:,} ({agreeing / len(paths):.2%}, at least {low:.2%})",
        f"{int(equal.sum()):,}",
        f"{worst:.1e}",
        f"{differences.max():.1e}",
        verdict(reached),
        *(quantised(folder, data, cache) if int8 else ["", ""]),
    ]


def quantised(folder: Path, data: Path, cache: Path) -> list[str]:
    """The run's accuracy and the int8 export's on the test photos, and whether the export may be used."""
    words = ["--int8", "--verify", data / "test", "--cache", cache, "--quiet", "--json"]
    rejected = 1  # the exit code that says so, after the figures
    found = json.loads(run([HEADSTART, "export", folder, *words], fine=(0, rejected)).output)
    before, after = found["original"]["value"], found["exported"]["value"]
    return [f"{before:.4f} to {after:.4f}", "yes" if found["verified"] else "no"]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=["hotdog", "cats_dogs", "hymenoptera", "cifar10"])
    parser.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    with scratch_cache() as cache:
        rows = [
            measure(name, cache, cache.parent / "runs" / name, int8=options.int8) for name in options.sets
        ]
    print_table(
        "predict_onnx.py against headstart predict in float32, from image files on",
        [
            "set",
            "photos",
            f"same class (>= {LEAST_AGREEMENT:.1%})",
            "equal pixels",
            f"differ there (<= {MOST_DIFFERENCE})",
            "differ at most",
            "reached",
            "int8 accuracy",
            "may be used",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
