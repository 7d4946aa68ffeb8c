"""A frozen ResNet-50 under a new classifier, in epochs of ten steps; and a loss that stands at ln 2 (Keras).

    python examples/frozen_resnet50.py DATA          EfficientNet-Lite0, which needs no download
    python examples/frozen_resnet50.py DATA --full   ResNet-50, downloaded once

The tutorial put its classifier above the 1,000 probabilities of a softmax, and gave pixels otherwise than
the network had learnt from them: the loss stood at .6931 for ever, the accuracy at one half. Here a backbone
ends in its features and prepares its own pixels, so neither can happen. But a frozen network that knows
nothing can still be had, and does the same: it comes second, and Headstart says what may be wrong.
"""

from dataclasses import replace
from pathlib import Path

import cyclopts
import timm
from safetensors.torch import save_file

import headstart as hs


def main(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    full: bool = False,
    model: str = "lite0",
    epochs: int = 3,
    steps: int = 10,
    batch: int = 32,
    ignorant: str = "resnet50",
    out: Path = Path("runs/frozen"),
    cache: Path | None = None,
) -> None:
    """Train a new head on a frozen network, pretrained and not."""
    if full:
        model = "resnet50.tv_in1k"
    progress = hs.make_progress()
    photos = hs.Dataset.read(data, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "random.safetensors"
    save_file(timm.create_model(ignorant).state_dict(), file)

    head_only = hs.TuneConfig(
        epochs=epochs,
        steps_per_epoch=steps,
        batch_size=batch,
        backbone_lr=0.0,
        augment="none",
        views=1,
        schedule="constant",
    )
    frozen = hs.TrainConfig(recipe="finetune", head_init="random", model=model)
    trainings = {
        model: frozen,
        f"{ignorant}, random weights": replace(frozen, model=f"{ignorant}@{file}"),
    }
    results = {
        name: hs.train(
            photos,
            config,
            head_only,
            out=out / config.model.partition("@")[0],
            cache=cache,
            progress=progress,
        )
        for name, config in trainings.items()
    }

    print("| frozen backbone | loss by epoch | training accuracy by epoch | test accuracy |")
    print("|---|---|---|---|")
    for name, result in results.items():
        losses = " ".join(f"{epoch.train_loss:.4f}" for epoch in result.epochs)
        accuracies = " ".join(f"{epoch.train_accuracy:.3f}" for epoch in result.epochs)
        scores = result.scores["test"]
        low, high = scores.accuracy_interval
        print(f"| {name} | {losses} | {accuracies} | {scores.accuracy:.3f} ({low:.3f} to {high:.3f}) |")
    for name, result in results.items():
        for note in result.notes:
            print(f"\n{name}: {note}")


if __name__ == "__main__":
    cyclopts.run(main)
