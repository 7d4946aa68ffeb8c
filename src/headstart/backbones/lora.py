"""Low-rank updates of a vision transformer's matrices (LoRA, Hu et al. 2022), by peft.

The matrices themselves stay as they were pretrained; beside each learn two thin ones whose product is
added to it. In the end the product is merged in, and the network is what timm knows.
"""

import importlib.util
from collections.abc import Container

import torch
from torch import nn

from headstart.backbones.freeze import Rule
from headstart.backbones.network import Network
from headstart.errors import ConfigError

FROZEN = Rule(r"backbone\.(?!.*\.lora_[AB]\.).*", 0.0)
"""Freezes all of a backbone but the updates."""

_ATTENTION = {"qkv", "q", "wq", "q_proj"}
_MATRICES = {*_ATTENTION, *("k", "v", "kv", "wk", "wv", "k_proj", "v_proj", "proj", "fc1", "fc2")}
_MIN_ATTENTIONS = 2  # one alone is how some convolutional networks pool
_SCALE = 2  # of the product, as commonly taken


def add_lora(network: Network, rank: int, learning: Container[str], *, seed: int = 0) -> None:
    """Put updates beside the matrices of a transformer's blocks, in place; at first they add 0.

    Args:
        network: On a transformer.
        rank: Of the updates.
        learning: Names of the network's parameters that are to learn; only their matrices get updates.
        seed: Decides what the updates start from.

    Raises:
        ConfigError: The network is no transformer, none of its matrices learns, or peft is not installed.
    """
    backbone = network.backbone
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if sum(_last(name) in _ATTENTION for name in names) < _MIN_ATTENTIONS:
        raise ConfigError(
            f"--lora updates the matrices of a vision transformer, and {type(backbone).__name__} is none. To "
            "train few weights of it, take --norm-bias-only or --recipe partial; or take a transformer, such "
            "as --model vit_small_patch16_224."
        )
    targets = [n for n in names if _last(n) in _MATRICES and f"backbone.{n}.weight" in learning]
    if not targets:
        raise ConfigError("--lora finds no matrix to update: the recipe or the rules freeze all of them.")
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("--lora needs the package peft. Install it: pip install 'headstart[lora]'")
    from peft import LoraConfig, inject_adapter_in_model  # seconds that others don't need

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules=targets)
        inject_adapter_in_model(config, backbone)


def merge_lora(network: Network) -> None:
    """Add the updates to the matrices and take them away, in place; the network computes what it did."""
    from peft.tuners.lora import LoraLayer

    backbone = network.backbone
    for name, module in [(n, m) for n, m in backbone.named_modules() if isinstance(m, LoraLayer)]:
        module.merge(safe_merge=True)
        backbone.set_submodule(name, module.get_base_layer())


def _last(name: str) -> str:
    return name.rpartition(".")[2]
