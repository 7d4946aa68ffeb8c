"""What flips are worth on CIFAR-10, from scratch (Dive into Deep Learning, "Image Augmentation").

    python examples/flips.py DATA --seeds 1        4 epochs, batches of 64
    python examples/flips.py DATA --full           as in the book: 10 epochs, batches of 256; three seeds

DATA holds train/ and test/ with the ten classes. The grids show one and the same picture under each kind of
augmentation; nothing random ever happens at evaluation.
"""

from pathlib import Path
from statistics import mean

import cyclopts

import headstart as hs

GRIDS = {
    "flips": "flip,vertical_flip=0.5",
    "crops": "none,crop=0.1-1,aspect=0.5-2",
    "colours": "none,brightness=0.5,contrast=0.5,saturation=0.5,hue=0.5",
    "all": "flip,crop=0.1-1,aspect=0.5-2,brightness=0.5,contrast=0.5,saturation=0.5,hue=0.5",
}
BOOK = {"none": "train .975, test .824", "flip": "train .943, test .843"}


def main(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    full: bool = False,
    epochs: int = 4,
    seeds: int = 1,
    batch: int = 64,
    out: Path = Path("runs/flips"),
    cache: Path | None = None,
) -> None:
    """Draw what augmentation does, train with flips and without, and measure the gain."""
    if full:
        epochs, seeds, batch = 10, 3, 256
    progress = hs.make_progress()
    photos = hs.Dataset.read(data, progress=progress)
    for name, policy in GRIDS.items():
        hs.preview(photos, hs.PreviewConfig(augment=policy, images=2), out=out / f"{name}.png", cache=cache)

    results = {
        policy: [
            hs.train(
                photos,
                hs.TrainConfig(recipe="scratch", model="resnet18-cifar", seed=seed),
                hs.TuneConfig(epochs=epochs, batch_size=batch, augment=policy),
                out=out / f"{policy}-{seed}",
                cache=cache,
                progress=progress,
            )
            for seed in range(seeds)
        ]
        for policy in ("none", "flip")
    }

    print("| augmentation | loss | training accuracy | test accuracy | images/s | the book's |")
    print("|---|---:|---:|---:|---:|---|")
    for policy, trained in results.items():
        last = [result.epochs[-1] for result in trained]
        print(
            f"| {policy} | {mean(epoch.train_loss for epoch in last):.3f} "
            f"| {mean(epoch.train_accuracy for epoch in last):.3f} "
            f"| {mean(result.scores['test'].accuracy for result in trained):.3f} "
            f"| {mean(epoch.images_per_s for epoch in last):.0f} | {BOOK[policy]} |"
        )
    runs = {policy: [result.run for result in trained] for policy, trained in results.items()}
    print("\nFlips over none.", *hs.gain(runs["flip"], over=runs["none"]).lines())


if __name__ == "__main__":
    cyclopts.run(main)
