"""Write a run folder: the model, its numbers, and all it takes to understand or repeat them."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.api.measure import Part
from headstart.api.trained import Trained
from headstart.backbones.catalogue import SMALL
from headstart.backbones.trunk import digest_tensors, file_digest
from headstart.data.dataset import find_conflicts
from headstart.heads.hidden import name_tensors
from headstart.metrics.summary import Source
from headstart.reports.page import BRIEF, render_run
from headstart.run.atomic import write_bytes, write_json, write_text
from headstart.run.card import CardFacts, render_card
from headstart.run.environment import available_cores, command_line, cpu_model, describe_environment
from headstart.run.figures import save_confusion
from headstart.run.folder import (
    FORMAT_VERSION,
    RunFolder,
    building_run,
    named_run_folder,
    new_run_folder,
    run_name,
)
from headstart.run.replace import replacing_run
from headstart.run.tables import Predictions, SplitTable, write_predictions, write_split

_SMALL = {backbone.architecture for backbone in SMALL.values()}


def save_run(
    trained: Trained, out: Path | None, seconds: Mapping[str, float], *, replacing: Path | None = None
) -> Path:
    """Write the run at `out`, or under `runs/`; whole or not at all, and never over another.

    Args:
        trained: What it holds.
        out: Its folder; None makes one under `runs/`.
        seconds: How long each stage took so far, for `environment.json`.
        replacing: A run of this training that was saved before and is the worse one.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    final = replacing or (
        named_run_folder(out)
        if out
        else new_run_folder(Path("runs"), run_name(trained.data_name, trained.config.recipe))
    )
    with replacing_run(final) if replacing else building_run(final) as run:
        model_digest = _save_backbone(trained, run)
        if head := _head_tensors(trained):
            _save_model(run.head_safetensors, head)
        write_json(run.config_json, _config(trained, model_digest))
        write_json(run.metrics_json, _metrics(trained))
        write_json(
            run.environment_json, describe_environment({"runtime": trained.runtime, "seconds": dict(seconds)})
        )
        write_text(run.history_jsonl, "".join(json.dumps(line) + "\n" for line in trained.head.history))
        if trained.results:
            write_text(run.results_csv, trained.results)
        write_predictions(run.predictions_parquet, _predictions(trained))
        write_split(run.split_parquet, _split_table(trained))
        headline, part = next(iter(trained.parts.items()))
        save_confusion(run.confusion_png, part.scores.confusion, trained.dataset.classes)
        write_text(run.readme, render_card(_card(trained, final.name, headline, part)))
        write_text(run.report_html, render_run(run.path, BRIEF, name=final.name).html)
    return final


def complete_run(path: Path, events: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]) -> None:
    """Add to a saved run what was tried after it, and how long all of that took.

    Args:
        path: Of the run.
        events: Of the whole training, for `history.jsonl`; those that it has stay as they are.
        seconds: Of each stage, for `environment.json`.

    Raises:
        StorageError: The disk is full, read-only or forbidden.
    """
    run = RunFolder(path)
    known = [json.loads(line) for line in run.history_jsonl.read_text(encoding="utf-8").splitlines()]
    lines = [*known, *(event for event in events if event not in known)]
    write_text(run.history_jsonl, "".join(json.dumps(line) + "\n" for line in lines))
    environment = json.loads(run.environment_json.read_text(encoding="utf-8"))
    write_json(run.environment_json, {**environment, "seconds": dict(seconds)})
    write_text(run.report_html, render_run(path, BRIEF).html)


def _save_backbone(trained: Trained, run: RunFolder) -> str:
    """Write the network, with a linear head in its classifier's place; returns its digest."""
    if trained.trunk.is_onnx:
        onnx = trained.trunk.onnx_path
        write_bytes(run.backbone_onnx, onnx.read_bytes())
        write_bytes(run.backbone_onnx.with_suffix(".json"), onnx.with_suffix(".json").read_bytes())
        return file_digest(run.backbone_onnx)
    tensors = _model_tensors(trained)
    _save_model(run.model_safetensors, tensors)
    return digest_tensors(tensors)


def _model_tensors(trained: Trained) -> dict[str, NDArray[Any]]:
    """The backbone's tensors with the new head in the classifier's place, under timm's names.

    A head of several layers does not fit there: then there is none, and timm's model ends in features.
    """
    trunk, head = trained.trunk, trained.head
    own = {} if head.hidden else {"weight": head.weight, "bias": head.bias}
    backbone = {n: t for n, t in trunk.tensors().items() if not n.startswith(f"{trunk.classifier}.")}
    return backbone | {f"{trunk.classifier}.{name}": tensor for name, tensor in own.items()}


def _head_tensors(trained: Trained) -> dict[str, NDArray[Any]]:
    """The layers of a head that timm's classifier has no room for."""
    head = trained.head
    apart = bool(head.hidden) or trained.trunk.is_onnx
    return dict(name_tensors(head.hidden, head.weight, head.bias)) if apart else {}


def _save_model(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    write_bytes(path, save(tensors, metadata={"format": "pt"}))


def _config(trained: Trained, model_digest: str) -> dict[str, Any]:
    """`config.json`: what timm reads, and under `headstart` what Headstart does."""
    trunk, dataset, head = trained.trunk, trained.dataset, trained.head
    n_logits = 0 if head.hidden or trunk.is_onnx else len(dataset.classes)  # of timm's model
    return {
        "format_version": FORMAT_VERSION,
        "architecture": trunk.architecture,
        "num_classes": n_logits,
        "num_features": trunk.feature_dim,
        "label_names": list(dataset.classes),
        "pretrained_cfg": {
            **trunk.preprocessing.to_timm(),
            "num_classes": n_logits,
            "classifier": trunk.classifier,
            "fixed_input_size": trunk.fixed_input,
        },
        "headstart": {
            "version": version("headstart"),
            "recipe": trained.config.recipe,
            "settings": asdict(trained.config),
            "tuning": asdict(trained.tuning) if trained.tuning else None,
            "runtime": trained.runtime,
            "backbone": {
                "name": trained.backbone.name,
                "architecture": trunk.architecture,
                "classifier": trunk.classifier,
                "digest": trunk.digest,
                "source_digest": trunk.source_digest,
                "model_digest": model_digest,
                "licence": trunk.licence,
                "preprocessing": asdict(trunk.preprocessing),
                **({"from": asdict(trained.backbone.lineage)} if trained.backbone.lineage else {}),
            },
            "head": {
                "kind": "mlp" if head.hidden else "linear",
                **({"digest": digest_tensors(own)} if (own := _head_tensors(trained)) else {}),
                **head.facts,
                "temperature": head.temperature,
            },
            "data": {
                "name": trained.data_name,
                "n_train": len(trained.plan.rows("train")),
                "counts": dataset.counts(),
            },
        },
    }


def _metrics(trained: Trained) -> dict[str, Any]:
    dataset, plan = trained.dataset, trained.plan
    return {
        "format_version": FORMAT_VERSION,
        "headline": next(iter(trained.parts)),
        **({"nested": trained.nested} if "cross-validation" in trained.parts else {}),
        **{name: part.scores.to_json() for name, part in trained.parts.items()},
        **({"zero_shot": trained.zero_shot.to_json()} if trained.zero_shot else {}),
        "data": {
            "findings": list(trained.findings),
            "skipped": [asdict(skipped) for skipped in dataset.skipped],
            "conflicts": [asdict(conflict) for conflict in find_conflicts(dataset)],
            "leaked": [dataset.samples[row].file.path for row in plan.leaked],
        },
    }


def _predictions(trained: Trained) -> Predictions:
    samples = trained.dataset.samples
    rows = [(name, row) for name, part in trained.parts.items() for row in part.rows]
    return Predictions(
        paths=[samples[row].file.path for _, row in rows],
        splits=[name for name, _ in rows],
        labels=[samples[row].label for _, row in rows],
        probabilities=np.concatenate([part.probabilities for part in trained.parts.values()]).astype(
            np.float32
        ),
        classes=trained.dataset.classes,
    )


def _split_table(trained: Trained) -> SplitTable:
    samples, plan = trained.dataset.samples, trained.plan
    return SplitTable(
        paths=[sample.file.path for sample in samples],
        keys=[sample.file.key for sample in samples],
        labels=[sample.label for sample in samples],
        splits=[str(part) for part in plan.parts],
        groups=plan.groups,
        folds=[None if fold < 0 else int(fold) for fold in plan.folds],
    )


def _card(trained: Trained, name: str, headline: Source, part: Part) -> CardFacts:
    preprocessing = trained.trunk.preprocessing
    return CardFacts(
        name=name,
        classes=trained.dataset.classes,
        backbone=trained.backbone.name,
        licence=trained.trunk.licence,
        recipe=trained.config.recipe,
        dataset=trained.data_name,
        n_train=len(trained.plan.rows("train")),
        scores=part.scores.to_json(),
        hidden_layers=len(trained.head.hidden),
        source=headline,
        nested=trained.nested,
        preprocessing=(
            f"EXIF orientation applied, RGB, shorter side to {preprocessing.resize_px} pixels "
            f"({preprocessing.interpolation}), central square of {preprocessing.crop_px}."
        ),
        command=shlex.join(command_line(sys.argv)),
        counts=trained.dataset.counts(),
        machine=(
            f"{available_cores()} cores of {cpu_model()}, its backbone run by {trained.runtime}, "
            f"with Headstart {version('headstart')}"
        ),
        created=datetime.now(UTC).date().isoformat(),
        is_onnx=trained.trunk.is_onnx,
        lineage=trained.backbone.lineage.describe() if trained.backbone.lineage else "",
        registered_by="headstart.backbones.small" if trained.trunk.architecture in _SMALL else "",
    )
