"""Freeze, augment, unfreeze: the three steps of transfer learning, and what happens without the first.

    python examples/unfreeze.py DATA          20 steps an epoch, 128 pixels
    python examples/unfreeze.py DATA --full   all images in each epoch, 224 pixels, 10 epochs

A new head knows nothing, and what it sends back in its first steps spoils what the backbone knows. So the
head is trained first, on a frozen backbone; then on augmented pictures; and only then all learns.
"""

from dataclasses import replace
from pathlib import Path

import cyclopts

import headstart as hs


def main(  # noqa: PLR0913 - each is a flag
    data: Path,
    *,
    full: bool = False,
    model: str = "lite0",
    epochs: int = 3,
    steps: int | None = 20,
    px: int = 128,
    batch: int = 16,
    out: Path = Path("runs/unfreeze"),
    cache: Path | None = None,
) -> None:
    """Take the steps one after another, then skip the first."""
    if full:
        epochs, steps, px = 10, None, 224
    progress = hs.make_progress()
    photos = hs.Dataset.read(data, progress=progress)
    augment = "light,rotation=10,brightness=0.2"
    hs.preview(photos, hs.PreviewConfig(augment=augment), out=out / "augmented.png", cache=cache)

    tuning = hs.TuneConfig(
        epochs=epochs,
        steps_per_epoch=steps,
        batch_size=batch,
        input_px=px,
        augment=augment,
        progressive=False,
    )
    all_at_once = replace(tuning, lr=1e-2, backbone_lr=1.0)
    trainings = {
        "1. frozen": (hs.TrainConfig(model=model, recipe="probe"), None),
        "2. frozen, augmented": (
            hs.TrainConfig(model=model, recipe="finetune"),
            replace(tuning, backbone_lr=0.0),
        ),
        "3. then unfrozen": (hs.TrainConfig(model=model, recipe="two-phase"), tuning),
        "never frozen, new head": (
            hs.TrainConfig(model=model, recipe="finetune", head_init="random"),
            tuning,
        ),
        "the same, ten times as fast": (
            hs.TrainConfig(model=model, recipe="finetune", head_init="random"),
            all_at_once,
        ),
    }
    results = {
        name: hs.train(photos, config, given, out=out / f"run-{number}", cache=cache, progress=progress)
        for number, (name, (config, given)) in enumerate(trainings.items(), 1)
    }

    frozen = results["1. frozen"]
    print("| step | validation accuracy by epoch | test accuracy | over step 1, points |")
    print("|---|---|---|---|")
    for name, result in results.items():
        scores, gained = result.scores["test"], hs.gain(result.run, over=frozen.run).gain
        by_epoch = " ".join(f"{epoch.val_accuracy:.3f}" for epoch in result.epochs) or "-"
        low, high = scores.accuracy_interval
        print(
            f"| {name} | {by_epoch} | {scores.accuracy:.3f} ({low:.3f} to {high:.3f}) "
            f"| {100 * gained.value:+.1f} ({100 * gained.low:+.1f} to {100 * gained.high:+.1f}) |"
        )


if __name__ == "__main__":
    cyclopts.run(main)
