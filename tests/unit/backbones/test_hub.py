"""Weights from the hub, where there is no hub."""

import socket
from collections.abc import Iterator

import pytest
from huggingface_hub import constants as hub

from headstart.backbones import weights
from headstart.backbones.catalogue import find_backbone
from headstart.backbones.weights import build_source
from headstart.errors import WeightsNotFoundError


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "getproxies", dict)


def test_a_hub_that_listens_is_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{port}")
    assert weights._hub_answers()


def test_behind_a_proxy_only_the_proxy_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "getproxies", lambda: {"https": "http://127.0.0.1:1"})
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:1")
    assert weights._hub_answers()


def test_without_a_hub_nobody_retries(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    seen = []
    create = weights.timm.create_model

    def spy(*args: object, **kwargs: object) -> object:
        if kwargs.get("pretrained"):  # the bare architecture may be looked up before
            seen.append(hub.HF_HUB_OFFLINE)
        return create(*args, **kwargs)

    monkeypatch.setattr(weights.timm, "create_model", spy)
    with pytest.raises(WeightsNotFoundError, match=r"'resnet18' are not on this machine .*resnet18@model"):
        build_source(find_backbone("resnet18"))
    assert seen == [True]
    assert not hub.HF_HUB_OFFLINE
