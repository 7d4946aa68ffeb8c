"""How a backbone is trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from headstart.config.choices import choice_problems
from headstart.errors import ConfigError

OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["one-cycle", "cosine", "step", "constant"]
NormStatistics = Literal["auto", "frozen", "batch"]
Precision = Literal["fp32", "bf16"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]
BatchSizeChoice = int | Literal["auto"]

_BATCH_SIZE = 32
_MAX_VAL_FRACTION = 0.5


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

    batch_size: BatchSizeChoice | None = None
    """Images an optimiser step. auto: by a short measurement of speed and memory, which is told and saved.
    Default: 32, or all of the training images where these are fewer."""

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
    only the stages above learn from it. Where views grow, about so many of all sizes together, and one of
    each at least. 0: they run anew in each epoch, on new views."""

    input_px: int | None = None
    """Side of the training views. Default: what the backbone was made for, or four times the pictures' own
    where these are small."""

    progressive: bool | None = None
    """Begin with views of half the side, and grow to the full size for the last epochs: two fifths less to
    compute. Validation is at full size throughout. Default: where what learns of a pretrained
    network does so from the first epoch on, for three epochs or more, on views of 160 pixels or more."""

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
    """Decay of averaged weights, such as 0.999; lower in the first steps, so that the average soon leaves the
    start. 0 is off."""

    clip_grad: float = 0.0
    """Largest norm of a step's gradient; 0 is off."""

    patience: int = 0
    """Stop after so many epochs without a lower validation loss; 0 never does."""

    cut: str | None = None
    """First stage that learns, for the recipe partial; a wrong name lists the stages."""

    freeze_rules: tuple[str, ...] = ()
    """PATTERN=SCALE: the learning-rate scale of each parameter whose whole name matches, such as
    backbone.blocks.5.0.conv_dw.weight; 0 freezes. The first match wins, and each needs one: end with .*=1."""

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

    log: str = ""
    """Also log to tensorboard, mlflow, or both: tensorboard,mlflow. They need pip install 'headstart[log]',
    and write beside the run: tensorboard/ and mlflow.db, or to your MLFLOW_TRACKING_URI."""

    def __post_init__(self) -> None:
        """Check all fields and report every problem at once."""
        problems = choice_problems(self) + [
            f"--{name.replace('_', '-')} must be {wanted}, not {value}"
            for name, value, fits, wanted in self._ranges()
            if value is not None and not fits(value)
        ]
        if self.batch_size == "auto" and self.accumulate > 1:
            problems.append("--batch-size auto measures whole batches; give a number beside --accumulate")
        if self.lora and self.norm_bias_only:
            problems.append("--lora and --norm-bias-only each say what alone learns; give one of them")
        if problems:
            raise ConfigError("; ".join(problems) + ".")

    def settled(self, n_train: int) -> "TuneConfig":
        """With the batch size that the default stands for, of so many training images."""
        if self.batch_size is not None:
            return self
        return replace(self, batch_size=min(_BATCH_SIZE, n_train))

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
            ("batch_size", self.batch_size if isinstance(self.batch_size, int) else None, *at_least_1),
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
