"""Execute a run: train on stores, select a model snapshot, predict, evaluate, and write the result."""

import logging
import time
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from emodna.model.config import as_settings
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.domain import TrainingDomain, is_measured
from emodna.model.data.normalisation import Statistics, compute_statistics
from emodna.model.data.pooling import PooledStore, view_utterances
from emodna.model.data.speakers import SpeakerStatistics, count_speakers
from emodna.model.data.stream import CorpusWindows, FoldStream, LabelledTargetStream, SourceStream, Stream, TargetStream
from emodna.model.data.windows import Framer, get_silence
from emodna.model.errors import RunError
from emodna.model.evaluation.criteria import LAST
from emodna.model.evaluation.evaluate import evaluate
from emodna.model.evaluation.folds import predict_folds
from emodna.model.evaluation.oracle import write_oracle_analysis
from emodna.model.evaluation.selection import Sources, select
from emodna.model.inference.predictions import predict_store, write_predictions
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import ORACLE, SEMI_SUPERVISED, is_oracle, note_exposure
from emodna.model.methods.base import DirectMethod
from emodna.model.metrics import assign_labels
from emodna.model.reproducibility import force_float32, use_deterministic_algorithms
from emodna.model.request import FitPlan, FitRequest, resolve_request
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.model.runs.card import write_card
from emodna.model.task import digest_labels
from emodna.model.training.direct import fit_directly
from emodna.model.training.log import FitCallback, record_events
from emodna.model.training.loop import StopListener, Timing, never_stop, train
from emodna.model.training.snapshots import Snapshots
from emodna.pipeline.encoders.exposure import name_trained_model
from emodna.pipeline.errors import format_count
from emodna.pipeline.features import WaveSet
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import describe_task

_LOG: Final = logging.getLogger(__name__)


def fit(request: FitRequest, callback: FitCallback, stop_listener: StopListener = never_stop) -> dict[str, Any]:
    """Train and evaluate a run, or raise an EmodnaError; return the content of result.json."""
    return execute_plan(resolve_request(request), callback, stop_listener)


def execute_plan(plan: FitPlan, callback: FitCallback, stop_listener: StopListener = never_stop) -> dict[str, Any]:
    """Train and evaluate a resolved request, as `fit` does; `stop_listener` as in `train`."""
    request, config, target = plan.request, plan.config, plan.request.target
    run = RunFolder(plan.folder)
    snapshots = Snapshots(run.snapshots, plan.train.snapshot_every, plan.steps)
    events = record_events(callback, run.path, config, enabled=plan.record.tensorboard)
    _warn(plan)
    excluded = None if plan.target_labels is None else plan.target_labels.excluded
    is_labelled = target.labels(plan.task) >= 0  # for scores only; an unusable column fails before the training
    excluded_labels = 0 if excluded is None else int(is_labelled[excluded].sum())
    with run.claim(config, resume=request.resume), events as recorder:
        if not run.done.exists():
            _check_resume(plan, run)
            model, sources, timing = _train(plan, run, recorder, stop_listener)
            step = plan.steps
            if request.select != LAST:
                selection = select(request.select, model, snapshots, target, sources, request.seed)
                write_json(run.selection, selection)
                step = selection["selected_step"]
            model.save(run.model)
            folds = plan.folds
            probabilities = predict_store(model, target) if folds is None else predict_folds(model, target, folds)
            exposure = plan.exposure[target.snapshot.corpus]
            write_predictions(
                run.predictions, target, probabilities, plan.task, plan.supervision, exposure, training_labels=excluded
            )
            result = {
                **{key: config["decisive"][key] for key in ("src", "tgt", "task", "method", "seed", "steps")},
                **describe_task(plan.task),
                "task_hash": plan.task.hash,
                "classes": list(plan.task.classes),
                "supervision": plan.supervision,
                "label": plan.label,
                "exposure": plan.exposure,
                **plan.chosen_settings,
                "select": request.select,
                "selected_step": step,
                "utterances": len(target),
                "excluded": excluded_labels,
                "scored": int(is_labelled.sum()) - excluded_labels,
                **evaluate(assign_labels(probabilities), target, plan.task, excluded=excluded),
                **({"labels": labels} if (labels := digest_labels([target], plan.task)) else {}),
                "wall_seconds": time.perf_counter() - plan.start_time,
                "steps_per_second": timing.steps / timing.seconds if timing.steps else None,
                "blocked_seconds": timing.blocked_seconds,
                "run": str(run.path.absolute()),
            }
            write_json(run.result, result)
            recorder.record_result(result)
            write_card(run, plan.splits, target, plan.task, model.domain, excluded)
            run.done.touch()
        if request.oracle_analysis and not run.oracle.exists():
            write_oracle_analysis(run, TrainedModel.load(run.model, request.device), snapshots, target, excluded)
        return {**read_json(run.result), "run": str(run.path.absolute())}  # the folder may have been moved


def _train(
    plan: FitPlan, run: RunFolder, callback: FitCallback, stop_listener: StopListener
) -> tuple[TrainedModel, Sources, Timing]:
    request, method, streams = plan.request, plan.method, make_streams(plan)
    generators = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with generators, use_deterministic_algorithms(enabled=plan.train.deterministic), force_float32():
        if isinstance(method, DirectMethod):
            timing = fit_directly(method, streams.source, device=request.device, run=run, callback=callback)
        else:
            timing = train(
                method,
                streams.source,
                streams.target,
                plan.train,
                steps=plan.steps,
                seed=request.seed,
                device=request.device,
                run=run,
                callback=callback,
                stop_listener=stop_listener,
                residency=request.residency,
                compile=request.compile,
                cuda_graph=request.cuda_graph,
            )
    settings = as_settings(plan.resolved.config)
    training_rows = [(each.store, np.flatnonzero(each.labels >= 0)) for each in plan.splits]
    training_rows.append((request.target, np.arange(len(request.target))))
    domain = TrainingDomain.of_corpora(training_rows, plan.features.sample_rate)
    if unknown := domain.list_unknown_measures():
        names = sorted(store.snapshot.corpus for store, _ in training_rows if not is_measured(store))
        text = "an earlier version prepared %s, so these ranges of the training audio are not recorded: %s"
        _LOG.warning(text, ", ".join(names), ", ".join(unknown))
    windows = streams.target_windows
    model = TrainedModel(
        method.eval(),
        settings,
        plan.task,
        plan.data.dim,
        windows.framer,
        plan.features,
        domain,
        per_speaker=plan.train.normalisation == "per-speaker",
        speakers=windows.speakers,
        reads_statistics=plan.reads_statistics,
        target_labels=plan.train.target_labels,
    )
    return model, list(zip(plan.splits, streams.source_windows, strict=True)), timing


class Streams(NamedTuple):
    """The streams of a run and the windows of its corpora."""

    source: Stream[LabelledBatch]
    """Stream of the sources, or of the target for a cross-validated oracle."""
    target: Stream[Batch]
    source_windows: list[CorpusWindows]
    target_windows: CorpusWindows


def make_streams(plan: FitPlan) -> Streams:
    """Make the streams of a run. This is the only place where training gets labels of the target."""
    request, train = plan.request, plan.train
    pooled = plan.reads_statistics
    target = view_utterances(request.target, pooled=pooled)
    sources = [(view_utterances(each.store, pooled=pooled), each.labels) for each in plan.splits]
    source_statistics, target_statistics = compute_statistics(train.normalisation, sources, target)

    def make_windows(store: FeatureStore | PooledStore, statistics: Statistics | None) -> CorpusWindows:
        framer = Framer(train.frames, train.padding, statistics, get_silence(plan.features))
        speakers = None
        if train.normalisation == "per-speaker" and statistics is not None:
            speakers = SpeakerStatistics.of_corpus(store, statistics)
        return CorpusWindows(store, framer, plan.data.languages, speakers)

    windows = [make_windows(store, own) for (store, _), own in zip(sources, source_statistics, strict=True)]
    target_windows = make_windows(target, target_statistics)
    batches = {"batch_size": train.batch_size, "seed": request.seed}
    labelled = [(each, labels) for each, (_, labels) in zip(windows, sources, strict=True)]
    drawn = None if plan.target_labels is None else (target_windows, plan.target_labels.labels)
    weights = train.class_weights
    source_stream: Stream[LabelledBatch] = SourceStream(labelled, **batches, class_weights=weights, target=drawn)
    target_stream: Stream[Batch] = TargetStream(target_windows, **batches)
    if plan.supervision == "oracle-labels":
        target_stream = LabelledTargetStream(target_windows, target.labels(plan.task), **batches)
    elif plan.folds is not None:
        labels_of_folds = [plan.folds.mask_labels(fold) for fold in range(len(plan.folds.speakers))]
        source_stream = FoldStream(target_windows, labels_of_folds, **batches, class_weights=weights)
    return Streams(source_stream, target_stream, windows, target_windows)


def _warn(plan: FitPlan) -> None:
    method = plan.request.method
    if is_oracle(plan.supervision):
        _LOG.warning("%s: %s learns from the target's labels: its result is a bound for methods", ORACLE, method)
    target = plan.request.target
    if plan.target_labels is not None:
        text = "%s: the labels of %s of %s train the run; scores leave them out"
        count = format_count(int((plan.target_labels.labels >= 0).sum()), "utterance")
        _LOG.warning(text, SEMI_SUPERVISED, count, target.snapshot.corpus)
    if plan.exposure[target.snapshot.corpus] == "yes":
        _LOG.warning("%s", note_exposure({target.snapshot.corpus: "yes"}, name_trained_model(plan.features))[0])
    if isinstance(plan.method, DirectMethod):
        unused = [key for key in plan.method.unused_settings if key in plan.request.settings]
        if unused := [*(["steps"] if plan.request.steps is not None else []), *unused]:
            _LOG.warning("%s is fitted at once, so these settings have no effect: %s", method, ", ".join(unused))
    elif len(target) < plan.train.batch_size and plan.method.reads_target(plan.resolved.config):
        few = format_count(len(target), "utterance")
        text = "%s has only %s; each batch of %d repeats them, so adaptation may not work"
        _LOG.warning(text, target.snapshot.corpus, few, plan.train.batch_size)
    if plan.reads_statistics and isinstance(plan.features, WaveSet):
        text = "mean and deviation of samples tell the level of an utterance only: choose features of a spectrum"
        _LOG.warning("%s: %s", plan.features.name, text)
    for store in (*plan.request.sources, target) if plan.train.normalisation == "per-speaker" else ():
        if (remark := count_speakers(store).remark) is not None:
            _LOG.warning("normalisation by speaker of %s: %s", store.snapshot.corpus, remark)
    for corpus, count in plan.config["shared_audio"].items():
        if count:
            shared = format_count(count, "utterance")
            _LOG.warning("source %s contains %s of the target, with labels that training uses", corpus, shared)
    for each in plan.splits:
        if missing := [name for label, name in enumerate(plan.task.classes) if not (each.labels == label).any()]:
            _LOG.warning("source %s has no utterances of %s", each.store.snapshot.corpus, ", ".join(missing))
    for remark in plan.resolved.remarks:
        _LOG.warning("%s: %s", method, remark)


def _check_resume(plan: FitPlan, run: RunFolder) -> None:
    """Log a warning for a resume without a checkpoint or with other versions of libraries."""
    config, first_config = plan.config, read_json(run.config)
    for key, name in (("folds", "folds"), ("target_labels", "drawn target labels")):
        if first_config.get(key) != config.get(key):  # scores would be of utterances whose labels were used
            raise RunError(f"the {name} have changed since the run started", where=run.path, remedy="start a new run")
    has_checkpoints = not isinstance(plan.method, DirectMethod)
    if plan.request.resume and has_checkpoints and not run.resume.exists():
        _LOG.warning("%s: no checkpoint found: training starts at the first step", run.path)
    if (earlier := first_config.get("versions")) != config["versions"]:
        _LOG.warning("the run was started with other versions, %s: its result may differ in rounding", earlier)
