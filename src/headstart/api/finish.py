"""What a training of the backbone ends with: the network converted, calibrated and measured."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.api.findings import describe_findings
from headstart.api.follow import results_csv
from headstart.api.measure import measure
from headstart.api.plan import SplitPlan
from headstart.api.prepare import Prepared
from headstart.api.source import measure_zero_shot
from headstart.api.trained import Head, Trained
from headstart.backbones.catalogue import Backbone, WeightsFile
from headstart.backbones.network import Network, timm_tensors
from headstart.backbones.runtime import open_runtime
from headstart.backbones.trunk import Trunk, convert_trunk
from headstart.config import Preprocessing, TuneConfig
from headstart.features.extract import extract, open_store
from headstart.metrics.calibration import fit_temperature
from headstart.run.atomic import write_bytes


def measure_network(
    prepared: Prepared,
    plan: SplitPlan,
    tuning: TuneConfig,
    network: Network,
    preprocessing: Preprocessing,
    history: Sequence[dict[str, Any]],
) -> Trained:
    """Convert the trained backbone and measure it as it will be used: from files, on the fast runtime."""
    trunk = convert_network(network, prepared, preprocessing)
    runtime = open_runtime(trunk, prepared.runtime.name)
    dataset, store = prepared.dataset, open_store(prepared.cache, trunk, runtime.name)
    rows = np.concatenate([plan.rows("val"), plan.rows("test")])
    files = [dataset.samples[row].file for row in rows]
    extract(files, trunk, runtime, {"center": store}, progress=prepared.progress)
    weight, bias = (p.detach().float().cpu().numpy() for p in (network.head.weight, network.head.bias))
    val = plan.rows("val")
    features = np.concatenate(
        [x for _, x in store.table([dataset.samples[row].file.key for row in val]).blocks()]
    )
    temperature = fit_temperature(features @ weight.T + bias, dataset.class_indices()[val])
    calibrated = [(array / temperature).astype(np.float32) for array in (weight, bias)]
    head = Head(calibrated[0], calibrated[1], temperature, {"method": "gradient"}, history)
    return Trained(
        prepared.config,
        prepared.backbone,
        trunk,
        runtime.name,
        dataset,
        plan,
        head,
        measure(dataset, plan, head, store),
        describe_findings(dataset, plan),
        tuning,
        results_csv(history),
        measure_zero_shot(prepared, plan),
    )


def convert_network(network: Network, prepared: Prepared, preprocessing: Preprocessing) -> Trunk:
    """Put a trained network into the cache as a trunk of its own."""
    from safetensors.numpy import save

    old = prepared.trunk
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        write_bytes(file, save(timm_tensors(network, old.classifier)))
        own = Backbone(
            name=prepared.backbone.name,
            architecture=old.architecture,
            weights=WeightsFile(file),
            preprocessing=preprocessing,
            licence=old.licence,
            source_classes=prepared.dataset.classes,
        )
        return convert_trunk(own, prepared.cache / "trunks", prepared.progress)
