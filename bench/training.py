"""Training: the whole network and the last stages against the textbook's loop, and what the loop costs.

Each repeat runs, in turn and each as a fresh process: `textbook_loop.py` with lite0 and with resnet18, of
which --batches are timed; and `headstart train` on the same photos. Whole-network training is an epoch of
`--recipe finetune` (its images a second as the run's results.csv has them: decoding is done once,
before), and the recipe's five as they come, whose views grow; the last stages are ten epochs of
`--recipe partial` on K = 4 stored views, which grow, too, and count the whole process: listing, embedding,
solving the head, decoding, the frozen stages, training, measuring, saving.

Overhead compares the loop with the same steps bare, on batches that are in memory.

    python bench/training.py
    python bench/training.py --repeats 1 --batches 5 --images 200      a trial
"""

import csv
import json
import shutil
import time
from pathlib import Path
from statistics import harmonic_mean, median
from tempfile import TemporaryDirectory

from support import (
    HEADSTART,
    alternate,
    data_folder,
    make_parser,
    middle,
    print_table,
    run,
    run_json,
    scratch_cache,
    verdict,
)

LEAST_WHOLE = {"lite0": 2.5, "resnet18": 3.0}
LEAST_TAIL, MOST_OVERHEAD = 8.0, 0.05
TEXTBOOK_BATCH = 32
TAIL_EPOCHS = 10
WHOLE_EPOCHS = {"at full size": 1, "five epochs, growing": 5}


def textbook_images_per_s(model: str, batches: int) -> float:
    """Of the textbook's loop, start-up left out."""
    return (
        TEXTBOOK_BATCH / run_json("textbook_loop.py", "--model", model, "--batches", str(batches))["batch_s"]
    )


def whole_images_per_s(model: str, epochs: int, data: Path, cache: Path) -> float:
    """Of whole-network training, validation left out."""
    out = train(data, cache, ["--recipe", "finetune", "--epochs", str(epochs), "--model", model])[0]
    rows = csv.DictReader((out / "results.csv").read_text().splitlines())
    return harmonic_mean([float(row["images_per_s"]) for row in rows])


def tail_images_per_s(data: Path, cache: Path) -> float:
    """Images shown a second of the whole process, from nothing but the converted backbone."""
    for part in ("features", "pixels"):
        shutil.rmtree(cache / part, ignore_errors=True)
    out, seconds = train(data, cache, ["--recipe", "partial", "--epochs", str(TAIL_EPOCHS)])
    n_train = json.loads((out / "config.json").read_text())["headstart"]["data"]["n_train"]
    return TAIL_EPOCHS * n_train / seconds


def train(data: Path, cache: Path, flags: list[str]) -> tuple[Path, float]:
    """Train in a fresh process; the run, and wall seconds."""
    command = [HEADSTART, "train", data, "--cache", cache, "--out", cache.parent / "run", "--json", *flags]
    finished = run([*command, "--quiet"])
    return Path(json.loads(finished.output)["run"]), finished.seconds


def subset(data: Path, folder: Path, n_images: int) -> Path:
    """Links to the first images of each class: `n_images` to learn from, a tenth to test on."""
    for split, wanted in (("train", n_images), ("test", n_images // 10)):
        classes = sorted((data / split).iterdir())
        for name in classes:
            (folder / split / name.name).mkdir(parents=True)
            for path in sorted(name.iterdir())[: wanted // len(classes)]:
                (folder / split / name.name / path.name).symlink_to(path)
    return folder


def random_weights(folder: Path) -> str:
    """A resnet18 to be timed; its weights don't matter."""
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("resnet18").state_dict(), folder / "resnet18.safetensors")
    return f"resnet18@{folder / 'resnet18.safetensors'}"


def overhead(repeats: int, steps: int = 20) -> float:
    """Share of the loop's time that is not forward, backward and step; median of paired runs.

    In the precision that is faster here.
    """
    import torch

    from headstart.backbones.freeze import Rule
    from headstart.backbones.quick import quicken
    from headstart.config import TuneConfig
    from headstart.training.allocator import reusing_memory
    from headstart.training.loop import Trainer, Validation
    from headstart.training.phase import Phase
    from headstart.training.precision import time_precisions
    from textbook_loop import make_model

    class InMemory:
        views = torch.randn(TEXTBOOK_BATCH, 3, 224, 224)
        labels = torch.arange(TEXTBOOK_BATCH) % 2

        def n_steps(self) -> int:
            return steps

        def epoch(self, _: int, start: int = 0):
            return ((self.views, self.labels) for _ in range(start, steps))

    timed = make_model(2)
    quicken(timed)
    with TemporaryDirectory() as place:
        speeds = time_precisions(timed, Path(place), "overhead", InMemory.views)
    precision = max(speeds, key=lambda name: speeds[name])

    def loop_s() -> float:
        model, batches = make_model(2), InMemory()
        quicken(model)
        phases = (Phase("all", 1, 1e-4, (Rule(".*", 1.0),)),)
        held_out = Validation(lambda: iter([batches.views[:2]]), batches.labels[:2].numpy())
        trainer = Trainer(model, batches, held_out, phases, TuneConfig(), 2, precision=precision)
        marks = [time.perf_counter() for event in trainer.run() if type(event).__name__ == "StepEnded"]
        return (marks[-1] - marks[0]) / (steps - 1)

    def bare_s() -> float:
        model, batches = make_model(2).to(memory_format=torch.channels_last), InMemory()
        quicken(model)
        model.train()
        optimizer, marks = torch.optim.AdamW(model.parameters(), 1e-4, fused=True), []
        for views, labels in batches.epoch(0):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = model(views)
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            marks.append(time.perf_counter())
        return (marks[-1] - marks[0]) / (steps - 1)

    with reusing_memory():
        times = alternate(repeats, {"loop": loop_s, "bare": bare_s})
    return median(loop / bare - 1 for loop, bare in zip(times["loop"], times["bare"], strict=True))


def main() -> None:
    parser = make_parser(__doc__, repeats=3)
    parser.add_argument(
        "--batches", type=int, default=11, help="of the textbook's loop, timed in each repeat"
    )
    parser.add_argument(
        "--images", type=int, default=600, help="that an epoch of the whole network learns from"
    )
    options = parser.parse_args()
    with scratch_cache() as cache:
        few = subset(data_folder("hotdog"), cache.parent / "few", options.images)
        models = {"lite0": "lite0", "resnet18": random_weights(cache.parent)}
        for model in models.values():  # so that converting, embedding and decoding are done
            train(few, cache, ["--recipe", "finetune", "--epochs", "1", "--model", model])
        speeds = alternate(
            options.repeats,
            {
                **{
                    f"textbook {name}": lambda n=name: textbook_images_per_s(n, options.batches)
                    for name in models
                },
                **{
                    f"whole {name} {label}": lambda m=model, e=epochs: whole_images_per_s(m, e, few, cache)
                    for name, model in models.items()
                    for label, epochs in WHOLE_EPOCHS.items()
                },
                "tail": lambda: tail_images_per_s(data_folder("hotdog"), cache),
            },
        )
    rows = []
    jobs = [
        (f"whole network, {name}, {label}", f"whole {name} {label}", name, least)
        for name, least in LEAST_WHOLE.items()
        for label in WHOLE_EPOCHS
    ]
    jobs.append((f"last three stages, {TAIL_EPOCHS} epochs, all costs", "tail", "lite0", LEAST_TAIL))
    for label, key, name, least in jobs:
        ratio = median(speeds[key]) / median(speeds[f"textbook {name}"])
        cells = [middle(speeds[key], 1), middle(speeds[f"textbook {name}"], 1), f"{ratio:.1f}"]
        rows.append([label, *cells, f">= {least}", verdict(ratio >= least)])
    header = ["training", "images/s", "textbook's", "ratio", "must", "reached"]
    print_table("hotdog: images shown a second", header, rows)
    share = overhead(options.repeats)
    print(
        f"\nOverhead of the loop over bare steps: {share:.1%} (must: <= {MOST_OVERHEAD:.0%}): "
        f"{verdict(share <= MOST_OVERHEAD)}"
    )


if __name__ == "__main__":
    main()
