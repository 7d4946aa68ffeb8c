"""Harden: train a run anew, on its own images, with the augmentation that a test of shifts advises."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from headstart.config import RecipeName, ShiftConfig, TrainConfig, TuneConfig
from headstart.data.dataset import Dataset, Sample
from headstart.data.files import Skipped, probe_files
from headstart.data.splits import parse_split
from headstart.errors import ConfigError, DamagedRunError, DataError
from headstart.progress import Progress
from headstart.reports.pictures import common_root
from headstart.run.folder import RunFolder
from headstart.run.tables import read_split

_NO_BACKBONE_LEARNS = {"probe", "auto"}
_INSTEAD: RecipeName = "partial"
_BATCH, _LEAST_STEPS = 32, 4  # an epoch of fewer steps hardly learns, and small sets have no batch of 32


@dataclass(frozen=True, slots=True, eq=False)
class Hardening:
    """A training about to be done again with another augmentation.

    Attributes:
        dataset: The run's own images, in the splits that it used.
        training: What it was asked to do; what trains no backbone becomes `partial`.
        tuning: How, but for the augmentation.
        out: The folder of the new run, numbered where it exists.
        replaced: The recipe in whose place `partial` stands; empty where the run's own is kept.
    """

    dataset: Dataset
    training: TrainConfig
    tuning: TuneConfig
    out: Path
    replaced: str

    @classmethod
    def plan(cls, source: RunFolder, config: ShiftConfig, progress: Progress) -> "Hardening":
        """Read what a run was made of.

        Raises:
            ConfigError: It has no network that could learn.
            DamagedRunError: Its settings can't be read.
            DataError: Some of its training images are gone.
        """
        facts = source.read_config()["headstart"]
        if source.backbone_onnx.is_file():
            raise ConfigError(
                f"--harden: {source.path} has an ONNX file for a backbone, which no recipe trains. Harden a "
                "run of one of timm's networks, or leave out --harden."
            )
        try:
            own = TrainConfig(**_known(TrainConfig, facts["settings"]))
            tuned = TuneConfig(**_known(TuneConfig, facts.get("tuning") or {}))
        except (AttributeError, KeyError, TypeError) as error:
            raise DamagedRunError(
                f"{source.config_json} lacks or garbles {error}, so --harden can't train alike. Restore it "
                "from a copy, or leave out --harden."
            ) from error
        replaced = own.recipe if own.recipe in _NO_BACKBONE_LEARNS else ""
        training = replace(
            own,
            recipe=_INSTEAD if replaced else own.recipe,
            seed=config.seed,
            head="linear",
            budget=None,
            test_fraction=None,  # the splits are settled
        )
        if replaced:  # of its training nothing is left but the size of its views, where auto chose that
            px = facts["backbone"]["preprocessing"]["crop_px"] if own.recipe == "auto" else None
            table = read_split(source.split_parquet)
            n_train = sum(part == "train" for part in table.splits)
            tuned = TuneConfig(input_px=px, batch_size=max(min(_BATCH, n_train // _LEAST_STEPS), 1))
        tuning = replace(tuned, epochs=config.epochs or tuned.epochs, log="")
        whole = source.path if source.path.name not in {"", ".."} else source.path.resolve()
        out = whole.with_name(f"{whole.name}-hardened")
        return cls(_own_images(source, progress), training, tuning, out, replaced)

    def train(self, policy: str, cache: str | Path | None, progress: Progress) -> Path:
        """Train with a policy of augmentation; returns the new run.

        Raises:
            HeadstartError: The images, the backbone or the disk need the user.
        """
        from headstart.api.train import train  # torch, that measuring can do without

        progress.note(f"Training with --recipe {self.training.recipe} --augment {policy}")
        tuning = replace(self.tuning, augment=policy)
        return train(self.dataset, self.training, tuning, out=self.out, cache=cache, progress=progress).run


def _known(config: type[TrainConfig] | type[TuneConfig], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings that a class of settings has; JSON knows lists in place of tuples."""
    names = {field.name for field in fields(config)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name in names
    }


def _own_images(source: RunFolder, progress: Progress) -> Dataset:
    """The images of a run, in the splits that it used.

    Raises:
        DataError: Some of them are gone.
    """
    table = read_split(source.split_parquet)
    probed = probe_files(list(table.paths), progress=progress)
    gone = [file for file in probed if isinstance(file, Skipped)]
    if gone:
        raise DataError(
            f"--harden trains on the run's own images, and {len(gone):,} of the {len(probed):,} are not "
            f"where it found them, such as {gone[0].path}: {gone[0].reason}. Put them back, or leave out "
            "--harden and train anew with the --augment advised."
        )
    samples = tuple(
        Sample(file, label, parse_split(part), str(group))
        for file, label, part, group in zip(probed, table.labels, table.splits, table.groups, strict=True)
        if not isinstance(file, Skipped)
    )
    classes = tuple(source.read_config()["label_names"])
    return Dataset(common_root(list(table.paths)), classes, samples, ())
