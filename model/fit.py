"""One run, from stores to a result: train, predict, evaluate."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch

from emodna.model.config import TrainConfig, as_settings
from emodna.model.errors import RunError
from emodna.model.evaluation.criteria import LAST
from emodna.model.evaluation.evaluate import evaluate
from emodna.model.evaluation.folds import cross_validated
from emodna.model.evaluation.oracle import write_oracle_analysis
from emodna.model.evaluation.selection import Sources, select
from emodna.model.feed import feed
from emodna.model.inference.predictions import probabilities_of, write_predictions
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import ORACLE, is_oracle
from emodna.model.metrics import classified
from emodna.model.plan import Plan, planned
from emodna.model.precision import float32_throughout
from emodna.model.request import FitRequest, default_folder
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.model.runs.card import write_card
from emodna.model.training.events import recording
from emodna.model.training.loop import Listening, Timing, never_stopping, train
from emodna.model.training.snapshots import Snapshots
from emodna.model.training.watcher import Watcher

_LOG: Final = logging.getLogger(__name__)


def fit(request: FitRequest, watcher: Watcher, listening: Listening = never_stopping) -> dict[str, Any]:
    """Train and evaluate; return the content of result.json.

    Parameters
    ----------
    listening
        See `train`.

    Raises
    ------
    ConfigError, RunError, TrainingError, StoreError
        A setting, the run folder, the data, or a store that cannot be used.
    """
    return carry_out(planned(request), watcher, listening)


def carry_out(plan: Plan, watcher: Watcher, listening: Listening = never_stopping) -> dict[str, Any]:
    """Train and evaluate what is planned; as `fit`."""
    request, config, target = plan.request, plan.config, plan.request.target
    run = RunFolder(request.out or default_folder(config["decisive"]))
    snapshots = Snapshots(run.snapshots, plan.train.snapshot_every, request.steps)
    events = recording(watcher, run.path, config, wanted=plan.record.tensorboard)
    _tell(plan)
    with run.claimed(config, resume=request.resume), events as recorder:
        if not run.done.exists():
            _check_resume(request, run, config)
            trained = _trained(plan, run, recorder, listening)
            model, timing, step = trained.model, trained.timing, request.steps
            if request.select != LAST:
                selection = select(request.select, model, snapshots, target, trained.sources, request.seed)
                write_json(run.selection, selection.content())
                step = selection.step
            model.save(run.model)
            probabilities = (
                probabilities_of(model, target) if plan.folds is None else cross_validated(model, target, plan.folds)
            )
            write_predictions(run.predictions, target, probabilities, plan.supervision)
            result = {
                **{key: config["decisive"][key] for key in ("src", "tgt", "task", "method", "seed", "steps")},
                "supervision": plan.supervision,
                "label": plan.label,
                "select": request.select,
                "selected_step": step,
                **evaluate(classified(probabilities), target, request.task),
                "wall_seconds": time.perf_counter() - plan.began,
                "steps_per_second": timing.steps / timing.seconds if timing.steps else None,
                "blocked_seconds": timing.blocked_seconds,
                "run": str(run.path.absolute()),
            }
            write_json(run.result, result)
            recorder.finished(result)
            write_card(run, plan.splits, target, request.task)
            run.done.touch()
        if request.oracle_analysis and not run.oracle.exists():
            write_oracle_analysis(run, TrainedModel.load(run.model, request.device), snapshots, target)
        return {**read_json(run.result), "run": str(run.path.absolute())}  # it may have been moved


def _tell(plan: Plan) -> None:
    """Warn of what a user may not have meant."""
    method = plan.request.method
    if is_oracle(plan.supervision):
        _LOG.warning("%s: %s learns from the target's labels: a bound for methods, not one of them", ORACLE, method)
    for corpus, count in plan.config["shared_audio"].items():
        if count:
            _LOG.warning("--src %s: has %d utterances of the target, with their labels", corpus, count)
    for remark in plan.settled.remarks:
        _LOG.warning("%s: %s", method, remark)


def _check_resume(request: FitRequest, run: RunFolder, config: Mapping[str, Any]) -> None:
    """Warn of a resume that finds nothing to go on from, or by other versions, which may round otherwise.

    Raises
    ------
    RunError
        Networks would come to judge speakers whom they have heard.
    """
    began = read_json(run.config)
    if began.get("folds") != config["folds"]:
        raise RunError(f"--resume {run.path}: the folds are no longer those that it began with; start a new run")
    if request.resume and not run.resume.exists():
        _LOG.warning("%s: no checkpoint there: begins with the first step", run.path)
    if (earlier := began.get("versions")) != config["versions"]:
        _LOG.warning("the run was begun with other versions, %s: it may not end bit for bit as it would have", earlier)


class _Trained(NamedTuple):
    """A model, how each source's utterances become its input, and how long its training took."""

    model: TrainedModel
    sources: Sources
    timing: Timing


def _trained(plan: Plan, run: RunFolder, watcher: Watcher, listening: Listening) -> _Trained:
    """Train the method on the stores' streams."""
    request, method, fed = plan.request, plan.method, feed(plan)
    generators = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with generators, _determinism(plan.train), float32_throughout():
        timing = train(
            method,
            fed.labelled,
            fed.target,
            plan.train,
            steps=request.steps,
            seed=request.seed,
            device=request.device,
            run=run,
            watcher=watcher,
            listening=listening,
            residency=request.residency,
            compile=request.compile,
            cuda_graph=request.cuda_graph,
        )
    settings = as_settings(plan.settled.config)
    model = TrainedModel(method.eval(), settings, request.task, request.target.dim, fed.of_target, plan.features)
    return _Trained(model, list(zip(plan.splits, fed.of_sources, strict=True)), timing)


@contextmanager
def _determinism(config: TrainConfig) -> Iterator[None]:
    """Use deterministic algorithms only, where that is asked for."""
    before = torch.are_deterministic_algorithms_enabled()
    if config.deterministic:  # cuBLAS asks for it, before its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
