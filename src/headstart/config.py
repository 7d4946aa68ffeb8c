"""The settings that travel: how pixels are prepared, and what a training was asked to do.

Frozen dataclasses without torch. Command-line flags, the saved `config.json` and
the Python API all derive from these.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from headstart.errors import ConfigError

Interpolation = Literal["bicubic", "bilinear", "lanczos"]
RuntimeName = Literal["openvino-bf16", "openvino-fp32", "torch-bf16", "torch-fp32"]
RuntimeChoice = Literal["auto", RuntimeName]
MirrorChoice = Literal["auto", "on", "off"]

RecipeName = Literal["probe", "scratch", "finetune", "two-phase", "partial", "gradual", "auto"]
HeadName = Literal["linear", "mlp"]
HeadInit = Literal["probe", "source", "random"]
OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["one-cycle", "cosine", "step", "constant"]
NormStatistics = Literal["auto", "frozen", "batch"]
Precision = Literal["fp32", "bf16"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]

_MAX_TEST_FRACTION = 0.9
_MAX_VAL_FRACTION = 0.5
_MIN_FOLDS, _MAX_FOLDS = 3, 20
_MAX_SEEDS = 100


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an upright RGB image to the `uint8 (crop_px, crop_px, 3)` that a network takes.

    The shorter side becomes `resize_px`, then the central square of `crop_px` is
    kept. Normalisation by `mean` and `std` (on the scale 0 to 1) is the network's
    own first operation and recorded here only to build it.
    """

    resize_px: int
    crop_px: int
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= self.resize_px:
            raise ConfigError(
                f"Preprocessing needs 1 <= crop_px <= resize_px, not crop_px={self.crop_px} and "
                f"resize_px={self.resize_px}."
            )

    def at(self, crop_px: int | None) -> "Preprocessing":
        """The same at another size, as much of a picture kept; as it is for None."""
        if crop_px is None:
            return self
        return replace(self, resize_px=round(crop_px * self.resize_px / self.crop_px), crop_px=crop_px)

    @property
    def view(self) -> str:
        """Name of the centre view, part of the feature store's address: `center-256-224-bicubic`."""
        return f"center-{self.resize_px}-{self.crop_px}-{self.interpolation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What a training is asked to do. Each field is a command-line flag of the same name."""

    model: str = "lite0"
    """Backbone: lite0, lite1, lite2, any timm name, or ARCHITECTURE@FILE for local weights."""

    recipe: RecipeName = "probe"
    """What learns. probe: a linear head, solved. finetune, two-phase, partial, gradual: the backbone,
    too, from its pretrained weights. scratch: everything, from random weights. auto: the probe, then as
    much of the backbone as time allows and validation says that it pays."""

    budget: str | None = None
    """Time to spend, such as 90s, 5m or 1h; makes the recipe auto."""

    test_fraction: float | None = None
    """Hold out this share of the images as a test split, in (0, 0.9]. Without it, and without a test
    folder, cross-validation measures the probe, and a fifth is held out where a backbone learns."""

    head: HeadName = "linear"
    """The recipe probe's. linear: solved. mlp: two hidden layers of 4,096 with dropout, as VGG has them,
    trained on the stored features; without a val folder some images are held out to stop early by."""

    head_init: HeadInit = "probe"
    """What the head starts from. probe: solved on frozen features. source: rows of the source classifier;
    the recipe probe takes them as its prior. random: Xavier, where the backbone is trained."""

    source_class: tuple[str, ...] = ()
    """TARGET=SOURCE, such as hotdog="hot dog": a source class whose row --head-init source carries over.
    Repeat it; without any, the rows are estimated from the training images."""

    balance: bool = False
    """Count every class alike, however many images it has: by weights where the probe is solved, by
    drawing images of small classes more often, each time augmented anew, where a backbone learns."""

    mirror: MirrorChoice = "auto"
    """Train on mirrored images too. auto: where the set is small, and cross-validation says that it helps."""

    runtime: RuntimeChoice = "auto"
    """What runs the backbone. auto: the fastest one here whose features can be trusted."""

    folds: int = 5
    """Folds of cross-validation, 3 to 20."""

    seed: int = 0
    """Decides folds and held-out parts, with the images' content."""

    strict: bool = False
    """Refuse to train if any file can't be read, and list all such files, instead of skipping them."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = []
        if self.budget is not None and parse_duration(self.budget) is None:
            problems.append(
                f"--budget must be a time such as 90s, 5m or 1h and at least a second, not {self.budget!r}"
            )
        if self.budget is not None and self.recipe not in {"probe", "auto"}:
            problems.append(
                f"--budget decides how far auto climbs; --recipe {self.recipe} takes --epochs instead"
            )
        if self.test_fraction is not None and not 0 < self.test_fraction <= _MAX_TEST_FRACTION:
            problems.append(
                f"--test-fraction must lie above 0 and at most {_MAX_TEST_FRACTION}, not {self.test_fraction}"
            )
        if not _MIN_FOLDS <= self.folds <= _MAX_FOLDS:
            problems.append(f"--folds must lie between {_MIN_FOLDS} and {_MAX_FOLDS}, not {self.folds}")
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed must lie between 0 and 2^32 - 1, not {self.seed}")
        object.__setattr__(self, "source_class", tuple(self.source_class))  # JSON has lists only
        problems += self._head_problems()
        if problems:
            raise ConfigError("; ".join(problems) + ".")

    def _head_problems(self) -> list[str]:
        """What of the head does not go together."""
        is_mlp, is_probe = self.head == "mlp", self.recipe == "probe"
        conflicts = {
            "--source-class does nothing without --head-init source": (
                bool(self.source_class) and self.head_init != "source"
            ),
            "--head-init source does not suit --recipe scratch, whose weights know no classes": (
                self.head_init == "source" and self.recipe == "scratch"
            ),
            "--head-init random does not suit --recipe probe, whose head is solved": (
                self.head_init == "random" and is_probe and not is_mlp
            ),
            "--head mlp learns from frozen features, so it goes with --recipe probe alone": (
                is_mlp and not is_probe
            ),
            "--head mlp starts from random weights, so it takes no --head-init": (
                is_mlp and self.head_init != "probe"
            ),
        }
        return [problem for problem, there in conflicts.items() if there]


def parse_duration(text: str) -> float | None:
    """Seconds of a time such as `90`, `90s`, `5m`, `1.5h`; None of what is none, or below a second."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", text)
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    return seconds if 1 <= seconds < inf else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig:
    """How a backbone is trained. Each field is a command-line flag; None leaves it to the recipe."""

    epochs: int | None = None
    """Passes over the training images in the recipe's last phase, in which most learns."""

    lr: float | None = None
    """Learning rate of the head."""

    backbone_lr: float | None = None
    """The backbone's learning rate as a fraction of the head's, in [0, 1]."""

    steps_per_epoch: int | None = None
    """Batches an epoch; the next one goes on with the images that are left. Default: all images."""

    batch_size: int = 32
    """Images an optimiser step."""

    accumulate: int = 1
    """Parts that a batch is computed in, one after the other; saves memory."""

    optimizer: OptimizerName = "adamw"
    """adamw, or sgd with Nesterov momentum 0.9."""

    schedule: ScheduleName = "one-cycle"
    """How the learning rate moves within a phase."""

    weight_decay: float = 1e-3
    """Of kernels and matrices, not of biases and norms."""

    augment: str = "light"
    """Policy: none, flip, light, strong, trivial or photo-shift; then, if wanted, parts of it set
    otherwise: strong,rotation=0,vertical_flip=0.5. `headstart preview` shows what it does."""

    views: int = 4
    """Augmented views of each image that frozen lower stages run on once; what comes out is stored, and
    only the stages above learn from it. 0: they run anew in each epoch, on new views."""

    input_px: int | None = None
    """Side of the training views; default: what the backbone was made for."""

    val_fraction: float = 0.15
    """Share of the images that choices are made on, where the data has no val folder; in (0, 0.5]."""

    label_smoothing: float = 0.0
    """Probability spread over all classes, in [0, 1)."""

    mixup: float = 0.0
    """Beta parameter of mixup; 0 is off."""

    cutmix: float = 0.0
    """Beta parameter of CutMix; 0 is off."""

    l2_sp: float = 0.0
    """Strength of the pull towards the weights that a phase starts from; 0 is off."""

    ema: float = 0.0
    """Decay of averaged weights, such as 0.999; 0 is off."""

    clip_grad: float = 0.0
    """Largest norm of a step's gradient; 0 is off."""

    patience: int = 0
    """Stop after so many epochs without a lower validation loss; 0 never does."""

    cut: str | None = None
    """First stage that learns, for the recipe partial; a wrong name lists the stages."""

    freeze_rules: tuple[str, ...] = ()
    """PATTERN=SCALE, first match wins: the learning-rate scale of each parameter; 0 freezes."""

    norm_statistics: NormStatistics = "auto"
    """What batch norms normalise by while they learn. frozen: the mean and variance that they were
    pretrained with, as at prediction. batch: each batch's own. auto: frozen from pretrained weights,
    batch from random ones."""

    norm_bias_only: bool = False
    """Of what the recipe trains in the backbone, train norms and biases alone: a hundredth of the
    parameters, so fit for few images. They then learn at the head's rate unless --backbone-lr says."""

    lora: int | None = None
    """Rank of low-rank updates that learn in place of a vision transformer's matrices; they are merged into
    them at the end. They learn at the head's rate unless --backbone-lr says. Needs headstart[lora]."""

    wise_ft: bool = False
    """Afterwards, go back towards the start's weights as far as validation likes it (WiSE-FT)."""

    precision: PrecisionChoice = "auto"
    """Of the training's arithmetic. auto: the faster one here, by a short timing."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = [
            f"--{name.replace('_', '-')} must be {wanted}, not {value}"
            for name, value, fits, wanted in self._ranges()
            if value is not None and not fits(value)
        ]
        if self.lora and self.norm_bias_only:
            problems.append("--lora and --norm-bias-only each say what alone learns; give one of them")
        if problems:
            raise ConfigError("; ".join(problems) + ".")

    def _ranges(self) -> list[tuple[str, float | None, Callable[[float], bool], str]]:
        at_least_1: tuple[Callable[[float], bool], str] = (lambda v: v >= 1, "at least 1")
        above_0: tuple[Callable[[float], bool], str] = (lambda v: 0 < v < inf, "above 0")
        not_below_0: tuple[Callable[[float], bool], str] = (lambda v: 0 <= v < inf, "0 or more")
        below_1: tuple[Callable[[float], bool], str] = (lambda v: 0 <= v < 1, "at least 0 and below 1")
        return [
            ("epochs", self.epochs, *at_least_1),
            ("lr", self.lr, *above_0),
            ("backbone_lr", self.backbone_lr, lambda v: 0 <= v <= 1, "between 0 and 1"),
            ("steps_per_epoch", self.steps_per_epoch, *at_least_1),
            ("batch_size", self.batch_size, *at_least_1),
            ("accumulate", self.accumulate, *at_least_1),
            ("lora", self.lora, *at_least_1),
            ("views", self.views, *not_below_0),
            ("weight_decay", self.weight_decay, *not_below_0),
            ("input_px", self.input_px, lambda v: v >= 8, "at least 8"),
            (
                "val_fraction",
                self.val_fraction,
                lambda v: 0 < v <= _MAX_VAL_FRACTION,
                f"above 0 and at most {_MAX_VAL_FRACTION}",
            ),
            ("label_smoothing", self.label_smoothing, *below_1),
            ("mixup", self.mixup, *not_below_0),
            ("cutmix", self.cutmix, *not_below_0),
            ("l2_sp", self.l2_sp, *not_below_0),
            ("ema", self.ema, *below_1),
            ("clip_grad", self.clip_grad, *not_below_0),
            ("patience", self.patience, *not_below_0),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    """What a preview shows. Each field is a command-line flag, and means what it means in a training."""

    augment: str = TuneConfig().augment
    """Policy: none, flip, light, strong, trivial or photo-shift; then, if wanted, parts of it set
    otherwise: strong,rotation=0,vertical_flip=0.5."""

    images: int = 6
    """Pictures, of each class alike many; a row each."""

    views: int = 6
    """Views of each picture: those of the first epochs."""

    model: str = TrainConfig().model
    """Backbone whose views these are, as for train."""

    input_px: int | None = None
    """Side of the views; default: what the backbone was made for."""

    seed: int = 0
    """Chooses the pictures, and decides their views as it does in a training."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = [
            f"--{name.replace('_', '-')} must lie between {least} and {most}, not {value}"
            for name, value, least, most in (
                ("images", self.images, 1, 100),
                ("views", self.views, 1, 50),
                ("input_px", self.input_px, 8, 1024),
                ("seed", self.seed, 0, 2**32 - 1),
            )
            if value is not None and not least <= value <= most
        ]
        if problems:
            raise ConfigError("; ".join(problems) + ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """What a comparison runs. Each field is a command-line flag of the same name."""

    recipes: tuple[str, ...] = ("scratch", "probe", "finetune")
    """What learns, in each its own way; see `headstart train --help`. Separated by commas."""

    models: tuple[str, ...] = ("lite0",)
    """Backbones, as for train, separated by commas."""

    seeds: int = 1
    """Trainings of each recipe with each model; their seeds are 0, 1, 2, ..."""

    split_seed: int = 0
    """Decides held-out parts, with the images' content; the same for all trainings."""

    test_fraction: float | None = None
    """Hold out this share of the images as a test split, in (0, 0.9]. Default, without a test folder:
    a fifth."""

    budget: str | None = None
    """Time that the recipe auto may spend on each training, such as 90s, 5m or 1h."""

    head_init: HeadInit = "probe"
    """What heads start from, as for train. Recipes that it doesn't suit start as ever: scratch, and with
    random the probe."""

    source_class: tuple[str, ...] = ()
    """TARGET=SOURCE for --head-init source, as for train."""

    balance: bool = False
    """Count every class alike, however many images it has, as for train."""

    mirror: MirrorChoice = "auto"
    """Train the probe on mirrored images too, as for train."""

    runtime: RuntimeChoice = "auto"
    """What runs frozen backbones, as for train."""

    folds: int = 5
    """Folds of the probe's cross-validation, 3 to 20."""

    strict: bool = False
    """Refuse to train if any file can't be read, instead of skipping it."""

    def __post_init__(self) -> None:
        """Check what `training` doesn't, and report every problem at once."""
        problems = []
        if not self.recipes or not self.models:
            problems.append("--recipes and --models must name at least one each")
        if not 1 <= self.seeds <= _MAX_SEEDS:
            problems.append(f"--seeds must lie between 1 and {_MAX_SEEDS}, not {self.seeds}")
        if not 0 <= self.split_seed < 2**32:
            problems.append(f"--split-seed must lie between 0 and 2^32 - 1, not {self.split_seed}")
        if problems:
            raise ConfigError("; ".join(problems) + ".")
        object.__setattr__(self, "source_class", tuple(self.source_class))
        self.splitting()
        self.training("auto", self.models[0], 0)

    def splitting(self) -> TrainConfig:
        """The settings by which the images are split."""
        return replace(self._shared(), test_fraction=self.test_fraction, seed=self.split_seed, mirror="off")

    def training(self, recipe: RecipeName, model: str, seed: int) -> TrainConfig:
        """The settings of one training, for images that are split."""
        budget = self.budget if recipe == "auto" else None
        config = replace(self._shared(), recipe=recipe, model=model, seed=seed, budget=budget)
        if recipe == "scratch" or (recipe == "probe" and self.head_init == "random"):
            return config
        return replace(config, head_init=self.head_init, source_class=self.source_class)

    def _shared(self) -> TrainConfig:
        return TrainConfig(
            balance=self.balance,
            mirror=self.mirror,
            runtime=self.runtime,
            folds=self.folds,
            strict=self.strict,
        )
