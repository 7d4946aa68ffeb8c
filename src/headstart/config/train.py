"""What a training is asked to do."""

from dataclasses import dataclass
from typing import Literal

from headstart.config.choices import choice_problems
from headstart.config.duration import parse_duration
from headstart.errors import ConfigError

RuntimeName = Literal["openvino-bf16", "openvino-fp32", "torch-bf16", "torch-fp32"]
RuntimeChoice = Literal["auto", RuntimeName]
MirrorChoice = Literal["auto", "on", "off"]

RecipeName = Literal["probe", "scratch", "finetune", "two-phase", "partial", "gradual", "auto"]
HeadName = Literal["linear", "mlp"]
HeadInit = Literal["probe", "source", "random"]

_DEFAULT_MODEL = "lite0"
_MAX_TEST_FRACTION = 0.9
_MIN_FOLDS, _MAX_FOLDS = 3, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What a training is asked to do. Each field is a command-line flag of the same name."""

    model: str = _DEFAULT_MODEL
    """Backbone: lite0, lite1, lite2, any timm name, ARCHITECTURE@FILE for local weights, the path of a
    run, or an .onnx file for frozen features. Of the recipe scratch also simple-vgg, for 64 pixels, and
    resnet18-cifar, for 32."""

    from_: str | None = None
    """Run folder whose backbone to start from, with its classes as source classes, in place of a --model."""

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
        problems = choice_problems(self)
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
        problems += self._from_problems() + self._head_problems()
        if problems:
            raise ConfigError("; ".join(problems) + ".")

    def _from_problems(self) -> list[str]:
        """What contradicts a run to start from."""
        if self.from_ is None:
            return []
        conflicts = {
            "--from needs the folder of a run": not self.from_,
            f"--from {self.from_} and --model {self.model} each say what to start from; give one of them": (
                self.model != _DEFAULT_MODEL
            ),
            f"--from {self.from_} does not suit --recipe scratch, which starts from random weights": (
                self.recipe == "scratch"
            ),
        }
        return [problem for problem, there in conflicts.items() if there]

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
