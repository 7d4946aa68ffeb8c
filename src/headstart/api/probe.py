"""The recipe probe: a linear head, solved on stored features."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from headstart.api.findings import describe_findings
from headstart.api.measure import measure_probe
from headstart.api.plan import SplitPlan, plan_split
from headstart.api.prepare import Prepared
from headstart.api.save import save_run
from headstart.api.source import find_prior, measure_zero_shot, show_zero_shot, source_head
from headstart.api.trained import Head, Trained, TrainResult
from headstart.backbones.choice import read_speeds
from headstart.config import TuneConfig
from headstart.heads.probe import Probe, fit_probe
from headstart.recipes.effort import guess_tail_s

_ONE_THREAD_IMAGES = 5000


def train_probe(prepared: Prepared, out: Path | None) -> TrainResult:
    """Solve the probe, measure it and save it."""
    clock, progress = prepared.clock, prepared.progress
    trained = solve_probe(prepared)
    with clock.stage("saving"), progress.stage("Saving the run", None):
        run = save_run(trained, out, clock.seconds())
    result = TrainResult.of(run, trained, clock.seconds())
    return replace(result, next_rung_s=_guess_next_rung(prepared, trained.plan))


def _guess_next_rung(prepared: Prepared, plan: SplitPlan) -> float | None:
    """Seconds that training the last stages would take here; None where the runtime was never timed."""
    if prepared.trunk.is_onnx:
        return None
    name = prepared.runtime.name
    if speed := (read_speeds(prepared.trunk) or {}).get(name):
        n_train, in_bfloat16 = len(plan.rows("train")), name.endswith("bf16")
        return guess_tail_s(n_train, speed, TuneConfig().views, in_bfloat16=in_bfloat16)
    return None


def solve_probe(prepared: Prepared) -> Trained:
    """Solve the probe on all that the data leave it, and measure it."""
    clock, progress, store = prepared.clock, prepared.progress, prepared.stores["center"]
    dataset = prepared.dataset
    with clock.stage("head"), progress.stage("Solving the head", None):
        with blas_threads(len(dataset)):
            plan = plan_split(dataset, store, prepared.config)
        probe = fit_on_features(prepared, plan, nested=not (plan.parts == "test").any())
    with clock.stage("measuring"):
        parts = measure_probe(dataset, plan, probe, store)
        findings = describe_findings(dataset, plan)
        zero_shot = measure_zero_shot(prepared, plan)
    return Trained(
        prepared.config,
        prepared.backbone,
        prepared.trunk,
        prepared.runtime.name,
        dataset,
        plan,
        Head.of(probe),
        parts,
        findings,
        zero_shot=zero_shot,
    )


def fit_on_features(prepared: Prepared, plan: SplitPlan, *, nested: bool) -> Probe:
    """Solve the probe on the training images' stored features."""
    dataset, stores, config = prepared.dataset, prepared.stores, prepared.config
    rows = plan.rows("train")
    keys = [dataset.samples[row].file.key for row in rows]
    with blas_threads(len(rows)):
        prior = find_prior(prepared, plan)
        show_zero_shot(prepared, plan, prior)
        return fit_probe(
            stores["center"].table(keys),
            dataset.class_indices()[rows],
            len(dataset.classes),
            plan.folds[rows],
            mirrored=stores["mirror"].table(keys) if "mirror" in stores else None,
            choose_view=config.mirror == "auto",
            prior=prior,
            balance=config.balance,
            nested=nested,
        )


def solve_start(prepared: Prepared, plan: SplitPlan) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head that a training starts from, `(K, d)` and `(K,)`: the probe's, or the source's own rows."""
    n_train = len(plan.rows("train"))
    with blas_threads(n_train):
        if prior := find_prior(prepared, plan):
            show_zero_shot(prepared, plan, prior)
            return source_head(prior, n_train)
    probe = fit_on_features(prepared, plan, nested=False)
    return probe.weight, probe.bias


def blas_threads(n_images: int) -> AbstractContextManager[object]:
    """One BLAS thread for small sets: a second gains little there, and on a busy machine costs twentyfold."""
    return threadpool_limits(1) if n_images <= _ONE_THREAD_IMAGES else nullcontext()
