"""Fit tensors that somebody saved to an architecture, or say why they are not its own.

People save networks inside others (`module.`, `model.`, `backbone.`, `resnetv20_`), beside an
optimiser, with another classifier or none. So the prefix is looked for rather than known: the one under
which most of the architecture's tensors stand. The classifier may be missing; any other tensor must be
there and have its shape, or nothing is loaded.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property
from inspect import signature
from math import prod
from typing import Any

import timm
import torch
from torch import nn

from headstart.backbones.architecture import Architecture, Shape, find_architecture
from headstart.errors import BackboneError, WeightsMismatchError

Tensors = Mapping[str, torch.Tensor]

_SEPARATORS = "._/"
_TRIED_PREFIXES = 4
_OPTIONAL = "num_batches_tracked"  # torch before 0.4.1 saved none, and nothing here reads it
_STATISTICS = ("running_mean", "running_var")
_COUNTED = re.compile(r"[a-z]+\d+_(\w+\d+_)*(weight|bias|gamma|beta|running_mean|running_var)")
_SEARCH_S = 6.0
_LIKELY = 0.5
_CHANCE = 0.2  # names as plain as `conv1.weight` stand somewhere in any network
_SHOWN = 3
_COMMON = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50d", "wide_resnet50_2"),
    *("resnext50_32x4d", "seresnet50", "vgg16", "vgg19", "vgg16_bn", "vgg19_bn", "vgg11"),
    *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch32_224"),
    *("efficientnet_b0", "tf_efficientnet_b0", "tf_efficientnet_lite0", "mobilenetv2_100"),
    *("mobilenetv3_small_100", "mobilenetv3_large_100", "densenet121", "convnext_tiny", "convnext_small"),
    *("vit_large_patch16_224", "swin_tiny_patch4_window7_224", "regnety_008", "test_resnet", "test_vit"),
)
"""Whose weights people have, the likeliest first."""


@dataclass(frozen=True, eq=False)
class Fit:
    """How tensors compare with an architecture's once a prefix is stripped.

    Attributes:
        architecture: What they should be.
        tensors: Those under the prefix, without it.
        prefix: Such as `module.`; often empty.
        others: Names that stand under no prefix or another.
        renamed: Whether timm's own rules for this architecture were applied.
    """

    architecture: Architecture
    tensors: Tensors
    prefix: str = ""
    others: tuple[str, ...] = ()
    renamed: bool = False

    @property
    def wanted(self) -> dict[str, Shape]:
        """What must be there: the architecture's tensors, but for counters that nothing reads."""
        shapes = self.architecture.shapes
        return {name: shape for name, shape in shapes.items() if not name.endswith(_OPTIONAL)}

    @cached_property
    def matched(self) -> int:
        """How many of the tensors wanted are there in their shape."""
        return sum(
            name in self.tensors and tuple(self.tensors[name].shape) == shape
            for name, shape in self.wanted.items()
        )

    @cached_property
    def missing(self) -> list[str]:
        """Tensors wanted that are not there."""
        return [name for name in self.wanted if name not in self.tensors]

    @cached_property
    def misshapen(self) -> list[str]:
        """Tensors of the architecture's names but of other shapes."""
        shapes = self.architecture.shapes
        return [name for name, t in self.tensors.items() if name in shapes and tuple(t.shape) != shapes[name]]

    @cached_property
    def surplus(self) -> list[str]:
        """Tensors that the architecture lacks inside modules that it has: another depth's, say."""
        owner = self.architecture.classifier.split(".")[0]
        modules = {name.split(".")[0] for name in self.architecture.shapes} - {owner}
        return [name for name in self._unknown if name.split(".")[0] in modules]

    @cached_property
    def ignored(self) -> list[str]:
        """Tensors of other modules: another head, a projector, an optimiser."""
        surplus = set(self.surplus)
        own = {f"{self.architecture.classifier}.{part}" for part in ("weight", "bias")}
        used = own if self.head else set()
        return [name for name in self._unknown if name not in surplus | used] + list(self.others)

    @cached_property
    def head(self) -> dict[str, torch.Tensor]:
        """The classifier's weight and bias, if its weight takes the architecture's features; else empty."""
        name = self.architecture.classifier
        weight = self.tensors.get(f"{name}.weight")
        if weight is None or weight.ndim != 2 or weight.shape[1] != self.architecture.feature_dim:
            return {}
        bias = self.tensors.get(f"{name}.bias", torch.zeros(len(weight)))
        return {f"{name}.weight": weight, f"{name}.bias": bias} if bias.shape == weight.shape[:1] else {}

    @property
    def whole(self) -> bool:
        """Whether nothing but a classifier is missing."""
        return not (self.missing or self.misshapen or self.surplus)

    @property
    def share(self) -> float:
        """Matching tensors among those of the architecture and those of the file, from 0 to 1."""
        return self.matched / max(len(self.wanted) + len(self.surplus), 1)

    @property
    def _unknown(self) -> list[str]:
        return [name for name in self.tensors if name not in self.architecture.shapes]

    def load(self, place: str) -> nn.Module:
        """Make the timm model with these tensors; without a classifier that fits it gets none.

        Args:
            place: The file, for messages.

        Raises:
            WeightsMismatchError: A tensor holds values that are no numbers.
        """
        wanted = {name: self.tensors[name] for name in self.architecture.shapes if name in self.tensors}
        wanted |= self.head
        if spoilt := [name for name, t in wanted.items() if t.is_floating_point() and not t.isfinite().all()]:
            raise WeightsMismatchError(
                f"{len(spoilt)} tensors of {place} hold values that are no numbers ({_list(spoilt)}). "
                "The training that made it diverged; take an earlier checkpoint."
            )
        n_classes = len(next(iter(self.head.values()))) if self.head else 0
        model: nn.Module = timm.create_model(self.architecture.name, num_classes=n_classes)
        model.load_state_dict(wanted, strict=False)
        return model

    def describe(self) -> str:
        """What was done to the tensors beyond taking them, in one line; empty if nothing."""
        parts = []
        if self.prefix:
            parts.append(f"the prefix {self.prefix!r} stripped")
        if self.renamed:
            parts.append(f"renamed by timm's rules for {self.architecture.name}")
        if not self.head:
            parts.append(
                f"no classifier {self.architecture.classifier!r} that fits, so the trunk alone is used"
            )
        if self.ignored:
            parts.append(f"{len(self.ignored)} other tensors left out ({_list(self.ignored)})")
        return "; ".join(parts)


def fit(tensors: Tensors, name: str, place: str) -> Fit:
    """Find an architecture's tensors among somebody's.

    Args:
        tensors: By name, dictionaries inside dictionaries flattened with dots.
        name: timm's, of the architecture.
        place: The file, for messages.

    Raises:
        UnknownBackboneError: There is no such architecture.
        WeightsMismatchError: They are another's; says what matched, what did not, and the likely reason.
    """
    fits = list(_fits(tensors, find_architecture(name)))
    if whole := [found for found in fits if found.whole]:
        return _the_one(whole, place)
    nearest = max(fits, key=lambda found: (found.share > _CHANCE and found.share, -len(found.others)))
    raise WeightsMismatchError(
        f"{place} does not fit {name}: {_compare(nearest)} {_reason(nearest, tensors, place)}"
    )


def _fits(tensors: Tensors, architecture: Architecture) -> Iterator[Fit]:
    """Attempts: as the tensors stand, as an `nn.Sequential` numbers them, renamed as timm does."""
    own = {name: name for name in architecture.shapes}
    plain = [_strip(tensors, prefix, own, architecture) for prefix in _prefixes(tensors, own)]
    yield from plain
    if any(found.whole for found in plain):
        return
    yield from filter(None, map(_rename, plain))
    numbered = _numbered(architecture)
    for prefix in _prefixes(tensors, numbered):
        yield _strip(tensors, prefix, numbered, architecture)


def _numbered(architecture: Architecture) -> dict[str, str]:
    """Names in `nn.Sequential(*model.children())`, a usual way to cut a classifier off, to timm's."""
    numbers = {name: str(number) for number, (name, _) in enumerate(architecture.model.named_children())}
    split = [name.partition(".") for name in architecture.shapes]
    return {
        f"{numbers[first]}.{rest}": f"{first}.{rest}" for first, _, rest in split if rest and first in numbers
    }


def _prefixes(tensors: Tensors, theirs: Mapping[str, str]) -> list[str]:
    """Prefixes under which names stand, the most frequent first; and no prefix."""
    counts = Counter(
        name[:start]
        for name in tensors
        for start in (0, *(at + 1 for at, letter in enumerate(name) if letter in _SEPARATORS))
        if name[start:] in theirs
    )
    shared = _shared_prefix(list(tensors))
    best = [prefix for prefix, _ in counts.most_common(_TRIED_PREFIXES)]
    return list(dict.fromkeys([*best, shared, ""]))


def _shared_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a separator."""
    first, last = min(names, default=""), max(names, default="")
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first[: max(first.rfind(separator, 0, length) for separator in _SEPARATORS) + 1]


def _strip(tensors: Tensors, prefix: str, theirs: Mapping[str, str], architecture: Architecture) -> Fit:
    under = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    others = tuple(name for name in tensors if not name.startswith(prefix))
    return Fit(architecture, {theirs.get(name, name): t for name, t in under.items()}, prefix, others)


def _rename(found: Fit) -> Fit | None:
    """Apply timm's own conversion of the weights' first publication, where it has one.

    It may move tensors, and resample position embeddings, but not make a kernel out of another's.
    """
    module: Any = sys.modules[type(found.architecture.model).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    if convert is None:
        return None
    try:
        both = len(signature(convert).parameters) > 1
        arguments = (dict(found.tensors), found.architecture.model)
        renamed = dict(convert(*arguments) if both else convert(arguments[0]))
    except Exception:  # it was written for the files that timm's authors met
        return None
    if not all(isinstance(tensor, torch.Tensor) for tensor in renamed.values()):
        return None
    for name, tensor in renamed.items():
        before = found.tensors.get(name)
        if before is not None and prod(before.shape) != prod(tensor.shape) and "pos" not in name:
            return None
    return replace(found, tensors=renamed, renamed=True)


def _the_one(whole: Sequence[Fit], place: str) -> Fit:
    """The only network that fits; of two, the averaged one.

    Raises:
        WeightsMismatchError: Several fit, and nothing says which is meant.
    """
    different = [whole[0], *(found for found in whole[1:] if not _same(found, whole[0]))]
    averaged = [found for found in different if "ema" in re.split(r"[._/]", found.prefix)]
    averaged = averaged or [found for found in different if "ema" in found.prefix]
    if len(averaged) == 1:
        return averaged[0]
    if len(different) > 1:
        prefixes = ", ".join(repr(found.prefix) for found in different)
        raise WeightsMismatchError(
            f"{place} holds {len(different)} networks that fit, under {prefixes}. Save the one that you mean."
        )
    return whole[0]


def _same(one: Fit, other: Fit) -> bool:
    names = one.architecture.shapes
    return all(
        torch.equal(one.tensors[name], other.tensors[name])
        for name in names
        if name in one.tensors and name in other.tensors
    )


def _compare(nearest: Fit) -> str:
    after = f" (without the prefix {nearest.prefix!r})" if nearest.prefix else ""
    parts = [f"{nearest.matched} of the {len(nearest.wanted)} tensors wanted are there{after}"]
    if nearest.missing:
        parts.append(f"missing: {len(nearest.missing)} ({_list(nearest.missing)})")
    if nearest.misshapen:
        name = nearest.misshapen[0]
        parts.append(
            f"of another shape: {len(nearest.misshapen)} ({name} is "
            f"{_size(nearest.tensors[name].shape)}, not {_size(nearest.architecture.shapes[name])})"
        )
    unknown = [*nearest.surplus, *nearest.ignored]
    if unknown:
        parts.append(f"unknown: {len(unknown)} ({_list(unknown)})")
    return "; ".join(parts) + "."


def _reason(nearest: Fit, tensors: Tensors, place: str) -> str:
    """The likely cause, in a sentence or two."""
    statistics = [name for name in nearest.wanted if name.endswith(_STATISTICS)]
    if statistics and nearest.missing == statistics:
        return (
            "Its batch norms have no statistics: the parameters were saved without the buffers. "
            "Save model.state_dict()."
        )
    likely = _find_likely(nearest.architecture.name, tensors)
    if likely and likely.whole:
        return f"They are those of {likely.architecture.name}: --model {likely.architecture.name}@{place}"
    if likely and likely.share > max(nearest.share, _LIKELY):
        share = f"{100 * likely.share:.0f} %"
        return f"Is it another architecture's? {likely.architecture.name} comes nearest ({share} match)."
    return _guess(nearest, tensors)


def _guess(nearest: Fit, tensors: Tensors) -> str:
    """The likely cause where no architecture looked at comes near."""
    if nearest.share > _LIKELY and nearest.misshapen:
        return "Is it the same family in another width, patch or input size?"
    if nearest.share > _LIKELY:
        return "Is it the same family in another depth, or a part of the network only?"
    if sum(bool(_COUNTED.fullmatch(name)) for name in tensors) > len(tensors) / 2:
        return (
            "Its names are counted by layer, as Gluon and Keras count them, and say nothing of the order. "
            "Load it in the library that wrote it, and save it under timm's names."
        )
    return "Is it another architecture's, or another library's that names its layers otherwise?"


def _find_likely(name: str, tensors: Tensors) -> Fit | None:
    """The architecture, of the asked one's family and the common ones, that the tensors fit best."""
    module = type(find_architecture(name).model).__module__.rpartition(".")[2]
    family = sorted(
        timm.list_models(module=module), key=lambda other: -SequenceMatcher(None, name, other).ratio()
    )
    asked, best, deadline = name.partition(".")[0], None, time.monotonic() + _SEARCH_S
    for other in dict.fromkeys([*family[:4], *_COMMON, *family]):
        if time.monotonic() > deadline or (best and best.whole):
            break
        try:
            found = max(
                _fits(tensors, find_architecture(other)), key=lambda found: (found.whole, found.share)
            )
        except BackboneError:  # it has no linear classifier
            continue
        if other != asked and (best is None or (found.whole, found.share) > (best.whole, best.share)):
            best = found
    return best


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
