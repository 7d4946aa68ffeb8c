"""Preview: what a training with these settings will see of some pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.api.places import cache_folder
from headstart.backbones.catalogue import Backbone, find_backbone
from headstart.backbones.trunk import open_trunk
from headstart.config import Preprocessing, PreviewConfig
from headstart.data.augment import describe_policy, find_policy
from headstart.data.dataset import Dataset, Sample
from headstart.data.pixels import PixelStore
from headstart.errors import TooFewImagesError, UnreadableImageError
from headstart.progress import Progress, Silent
from headstart.recipes.effort import suited_px
from headstart.run.atomic import numbering
from headstart.run.figures import check_png
from headstart.run.grid import Grid, cell_px, save_grid
from headstart.training.batches import ImageBatches


@dataclass(frozen=True, slots=True)
class Preview:
    """A grid that was written.

    Attributes:
        file: The PNG.
        samples: What is shown, a row each.
        views: Of each.
        policy: All that is done to them, as `--augment` reads it.
    """

    file: Path
    samples: tuple[Sample, ...]
    views: int
    policy: str


def preview(
    data: str | Path | Dataset,
    config: PreviewConfig | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Draw training pictures beside the views of them that the first epochs of a training will see.

    Args:
        data: As for training; of data with splits, the training part alone is shown.
        config: What to show; a training of the same seed, size and augmentation sees these very views.
        out: A PNG, numbered where it exists. Default: `DATA-preview.png`.
        cache: Where decoded pictures are kept; default: the platform's cache.
        progress: Told how the work moves.

    Raises:
        HeadstartError: The data, the settings or the disk need the user.
    """
    config, progress, folder = config or PreviewConfig(), progress or Silent(), cache_folder(cache)
    policy = find_policy(config.augment)
    dataset = Dataset.read(data, progress=progress) if not isinstance(data, Dataset) else data
    wanted = Path(out) if out else Path(f"{Path(dataset.root).stem}-preview.png")
    check_png(wanted)
    backbone = find_backbone(config.model)
    preprocessing = _view(backbone, dataset, config, folder, progress)
    store = PixelStore.whole(folder, preprocessing.resize_px)
    samples = _choose(dataset, config, store, progress)
    keys, size_px = [sample.file.key for sample in samples], preprocessing.crop_px
    labels = np.array([dataset.classes.index(sample.label) for sample in samples])
    batches = ImageBatches(store, keys, labels, policy, size_px, len(keys), config.seed)
    rows = [
        (sample.label, [store[key], *(batches.view(row, epoch) for epoch in range(config.views))])
        for row, (sample, key) in enumerate(zip(samples, keys, strict=True))
    ]
    headings = ["original", *(f"epoch {epoch + 1}" for epoch in range(config.views))]
    description = describe_policy(policy)
    caption = f"--augment {config.augment} = {description}; {size_px} pixels, seed {config.seed}"
    with numbering(wanted) as file:
        save_grid(file, Grid(rows, headings, caption, cell_px(size_px)))
    return Preview(file, tuple(samples), config.views, description)


def _view(
    backbone: Backbone, dataset: Dataset, config: PreviewConfig, cache: Path, progress: Progress
) -> Preprocessing:
    """What a training would take: the size asked for, or the one that suits the pictures."""
    own, takes_any = backbone.preprocessing, True
    if own is None:
        trunk = open_trunk(backbone, cache, progress=progress)
        own, takes_any = trunk.preprocessing, not trunk.fixed_input
    if config.input_px is None and takes_any:
        return own.at(suited_px(dataset.shorter_sides_px(), own.crop_px))
    return own.at(config.input_px)


def _choose(dataset: Dataset, config: PreviewConfig, store: PixelStore, progress: Progress) -> list[Sample]:
    """As many training samples as asked for, of each class alike many, decoded; in order of class.

    Raises:
        TooFewImagesError: There are no training images.
        UnreadableImageError: None of them can be decoded.
    """
    candidates = list(_in_turn(dataset, config.seed))
    if not candidates:
        raise TooFewImagesError(f"{dataset.root} has no training images to show.")
    chosen: list[Sample] = []
    reason = ""
    while candidates and len(chosen) < config.images:
        missing = config.images - len(chosen)
        tried, candidates = candidates[:missing], candidates[missing:]
        failures = store.fill([sample.file for sample in tried], progress=progress)
        for reason in failures.values():
            progress.note(f"Left out: {reason}.")
        chosen += [sample for sample in tried if sample.file.key not in failures]
    if not chosen:
        raise UnreadableImageError(f"None of the training images can be decoded, such as {reason}.")
    return sorted(chosen, key=lambda sample: dataset.classes.index(sample.label))


def _in_turn(dataset: Dataset, seed: int) -> Iterator[Sample]:
    """Training samples in random order, one of each class after the other."""
    rng = np.random.default_rng(seed)
    learning = [sample for sample in dataset.samples if sample.split in (None, "train")]
    by_class = {name: [s for s in learning if s.label == name] for name in dataset.classes}
    piles = [[some[k] for k in rng.permutation(len(some))] for some in by_class.values() if some]
    while piles:
        for pile in piles:
            yield pile.pop()
        piles = [pile for pile in piles if pile]
