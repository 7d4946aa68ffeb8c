"""Hot dog or not: fine-tuning, and what it is held against (Dive into Deep Learning, "Fine-Tuning").

    python examples/hotdog.py DATA          epochs of 15 steps at 128 pixels
    python examples/hotdog.py DATA --full   as in the book: epochs of all images, at 224

DATA holds train/ and test/, each with a folder `hotdog` and another. EfficientNet-Lite0, which needs no
download, stands in for ResNet-18.
"""

from dataclasses import replace
from pathlib import Path

import cyclopts

import headstart as hs

BOOK = {"from scratch": 0.853, "fine-tuned": 0.917, "head from hot dog": 0.924, "reloaded": 0.941}


def main(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    full: bool = False,
    model: str = "lite0",
    epochs: int = 5,
    steps: int | None = 15,
    px: int = 128,
    batch: int = 32,
    out: Path = Path("runs/hotdog"),
    cache: Path | None = None,
) -> None:
    """Train in five ways; reload what was fine-tuned, and train it on."""
    if full:
        steps, px = None, 224
    progress = hs.make_progress()
    photos = hs.Dataset.read(data, progress=progress)
    crops = "light,crop=0.08-1"  # of any size and some aspects, and half of them flipped
    hs.preview(photos, hs.PreviewConfig(images=8, augment=crops), out=out / "photos.png", cache=cache)

    book = hs.TuneConfig(
        epochs=epochs,
        steps_per_epoch=steps,
        batch_size=batch,
        input_px=px,
        augment=crops,
        optimizer="sgd",
        schedule="constant",
        lr=0.01,
        backbone_lr=0.1,
        weight_decay=1e-3,
        progressive=False,
    )
    new_head = hs.TrainConfig(model=model, recipe="finetune", head_init="random")
    known_head = hs.TrainConfig(
        model=model, recipe="finetune", head_init="source", source_class=("hotdog=hot dog",)
    )
    trainings = {
        "from scratch": (
            hs.TrainConfig(model=model, recipe="scratch"),
            replace(book, lr=0.1, backbone_lr=1.0),
        ),
        "frozen": (new_head, replace(book, backbone_lr=0.0)),
        "frozen, head solved": (hs.TrainConfig(model=model, recipe="probe"), None),
        "fine-tuned": (new_head, book),
        "head from hot dog": (known_head, book),
    }
    results = {
        name: hs.train(
            photos, config, tuning, out=out / name.replace(" ", "-"), cache=cache, progress=progress
        )
        for name, (config, tuning) in trainings.items()
    }

    saved = results["fine-tuned"].run
    again = hs.TrainConfig(
        recipe="finetune", model=f"{model.partition('@')[0]}@{saved / 'model.safetensors'}"
    )
    results["reloaded"] = hs.train(
        photos, again, replace(book, lr=0.001), out=out / "reloaded", cache=cache, progress=progress
    )

    print("| training | validation accuracy by epoch | test accuracy | the book's | s an epoch |")
    print("|---|---|---|---:|---:|")
    for name, result in results.items():
        by_epoch = " ".join(f"{epoch.val_accuracy:.3f}" for epoch in result.epochs)
        seconds = sum(epoch.seconds for epoch in result.epochs) / max(len(result.epochs), 1)
        scores = result.scores["test"]
        low, high = scores.accuracy_interval
        print(
            f"| {name} | {by_epoch or '-'} | {scores.accuracy:.3f} ({low:.3f} to {high:.3f}) "
            f"| {BOOK.get(name, '-')} | {seconds:.1f} |"
        )
    print(f"\nFine-tuned over scratch. {hs.gain(saved, over=results['from scratch'].run).lines()[0]}")
    model = hs.load(saved, cache=cache)
    print(f"{model} reloads with test accuracy {model.evaluate(photos.part('test')).accuracy:.3f}.")
    for note in results["head from hot dog"].notes:
        print(note)


if __name__ == "__main__":
    cyclopts.run(main)
