"""Adapt a finished run to an unlabelled corpus without its source data, in a new run folder."""

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model import methods
from emodna.model.adaptation import get_adaptation
from emodna.model.adaptation.base import Adaptation, Job
from emodna.model.changed_settings import NOT_DECISIVE
from emodna.model.config import TrainConfig, apply_settings, as_settings, build_config
from emodna.model.data.stream import CorpusWindows, TargetStream
from emodna.model.errors import ConfigError, RunError
from emodna.model.evaluation.criteria import CRITERIA, LAST, SOURCE_ACCURACY
from emodna.model.evaluation.evaluate import evaluate
from emodna.model.inference.bulk_workers import hash_model
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import predict_store, write_predictions
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import uses_target_labels
from emodna.model.metrics import assign_labels
from emodna.model.provenance import RunCorpus, add_target_audio, describe_corpus, read_corpora, write_entries
from emodna.model.reproducibility import derive_seed, use_deterministic_algorithms
from emodna.model.run_folder import RunFolder, hash_settings, read_json, write_json
from emodna.model.runs.card import render_card
from emodna.model.task import digest_labels
from emodna.model.training.log import FitCallback, record_events
from emodna.model.training.loop import StopListener, never_stop
from emodna.pipeline.encoders.exposure import find_exposure
from emodna.pipeline.features import find_packages
from emodna.pipeline.files import write_atomically
from emodna.pipeline.prepare.extract import read_package_versions
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import describe_task

#: Default number of model snapshots of a run that selects one.
_SNAPSHOTS: Final = 20


@dataclass(frozen=True, slots=True)
class AdaptRequest:
    """A request to adapt a finished run to a corpus."""

    base: Path
    """Run folder."""
    target: FeatureStore
    method: str = "shot"
    """One of `ADAPTATIONS`."""
    steps: int | None = None
    """Training steps; None: the default of the method."""
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of the method's configuration, with values as text."""
    out: Path | None = None
    resume: bool = False
    select: str = LAST


@dataclass(frozen=True)
class AdaptPlan:
    """A resolved and validated request."""

    request: AdaptRequest
    base: FinishedRun
    base_config: Mapping[str, Any]
    corpora: Sequence[RunCorpus]
    """Corpora of the base run except the target: its sources, then corpora that it was adapted to."""
    adaptation: Adaptation
    adaptation_config: Any
    model: TrainedModel
    """Model of the base run with the target's normalisation."""
    windows: CorpusWindows
    """Windows of the target."""
    prior: NDArray[np.float64] | None
    """See `Job.prior`."""
    train: TrainConfig
    steps: int
    excluded: NDArray[np.bool_]
    """(n,) utterances of the target whose labels the base run used; they are not scored."""
    start_time: float = field(default_factory=time.perf_counter)

    @property
    def label(self) -> str:
        """Label of the run in tables: that of the base run, and the method with its settings."""
        usual = as_settings(self.adaptation.defaults)
        used = as_settings(self.adaptation_config)
        changed = [f"{key}={value}" for key, value in used.items() if value != usual[key]]
        usual_steps = self.adaptation.default_steps
        changed += [f"steps={self.steps}"] * (usual_steps not in (0, self.steps))
        changed += [f"select={self.request.select}"] * (self.request.select != LAST)
        settings = f" ({', '.join(changed)})" if changed else ""
        return f"{self.base.description['label']} -> {self.adaptation.name}{settings}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of config.json, with the keys of any run; `decisive` determines the weights bit for bit."""
        request, base, target = self.request, self.base_config, self.request.target
        corpus, features = target.snapshot.corpus, self.base.model.features
        earlier = base["decisive"]
        supervision = self.base.description["supervision"]
        labelled = base.get("labelled_target", earlier["tgt"])
        corpora = [*(each.name for each in self.corpora), corpus]
        train = {key: value for key, value in as_settings(self.train).items() if key not in NOT_DECISIVE}
        location = target.snapshot.location or base.get("location")
        return {
            "decisive": {
                "src": earlier["src"],
                "tgt": corpus,
                **describe_task(self.base.model.task),
                "method": earlier["method"],
                "seed": request.seed,
                "select": request.select,
                "steps": self.steps,
                "train": train,
                "method_config": earlier["method_config"],
                "features": dict(target.snapshot.parameters),
                "fingerprints": {**earlier["fingerprints"], corpus: target.fingerprint},
                "device": request.device.type,
                "threads": torch.get_num_threads() if request.device.type == "cpu" else None,
                "adaptation": {"method": self.adaptation.name, **as_settings(self.adaptation_config)},
                "base": {
                    "model_sha256": hash_model(RunFolder(request.base).model),
                    "label": self.base.description["label"],
                    "adaptations": _list_adaptations(earlier),
                },
            },
            "supervision": supervision,
            **({"labelled_target": labelled} if uses_target_labels(supervision) else {}),
            "label": self.label,
            "exposure": {each: find_exposure(features, each) for each in corpora},
            "folds": None,
            "defaults": {
                "steps": self.adaptation.default_steps or self.steps,
                "train": train,
                "method_config": earlier["method_config"],
            },
            "unused_settings": base.get("unused_settings", []),
            "stores": {**base.get("stores", {}), corpus: str(target.path)},
            **({} if location is None else {"location": location}),
            "remarks": [f"adapted by {self.adaptation.name} without the source's data from {request.base.absolute()}"],
            "shared_audio": dict.fromkeys(base.get("shared_audio", {}), 0),  # a target that shares some is refused
            "left_out": base.get("left_out", {}),
            "held_out": base.get("held_out", {}),
            **({"target_labels": base["target_labels"]} if "target_labels" in base else {}),
            "versions": {name: importlib.metadata.version(name) for name in ("emodna", "torch", "numpy")}
            | methods.find_package(earlier["method"])
            | read_package_versions(find_packages(features)),
        }

    @property
    def folder(self) -> Path:
        """Run folder: `AdaptRequest.out`, or one named after the decisive configuration."""
        decisive = self.config["decisive"]
        name = "{src}-{tgt}-{task}-{method}".format(**decisive)
        name += f"-{self.adaptation.name}-s{decisive['seed']}-{hash_settings(decisive)}"
        return self.request.out or Path("runs") / name


def resolve_adaptation(request: AdaptRequest) -> AdaptPlan:
    """Resolve and validate a request, or raise an EmodnaError. Writes nothing and opens no store of the source."""
    start_time = time.perf_counter()
    kind = get_adaptation(request.method)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    if request.steps is not None and not kind.default_steps:
        problem = f"not valid for method {kind.name}, which does not train"
        raise ConfigError(problem, field="steps", value=request.steps, remedy="leave it out")
    base = FinishedRun.load(request.base, request.device)
    config, target = read_json(RunFolder(request.base).config), request.target
    base.check_features(target)
    seen, corpora = base.find_seen(target), read_corpora(RunFolder(request.base))
    sources = [each for each in corpora if each.role == "source"]
    is_source = target.snapshot.corpus in {each.name for each in sources}
    if is_source or seen["source"].any():
        problem = "a source of the run" if is_source else f"has {int(seen['source'].sum())} recordings of its sources"
        problem, remedy = f"{problem}, whose labels trained it", "choose another target"
        raise ConfigError(problem, field="target", value=target.snapshot.corpus, remedy=remedy)
    if base.description["supervision"] == "oracle-folds":
        raise ConfigError("consists of one network per fold", where=request.base, remedy="choose another run")
    (adaptation_config,) = apply_settings(request.settings, kind.defaults)
    recorded = dict(config["decisive"]["train"])
    frames = recorded.pop("frames")  # one frame of statistics is no valid setting
    train = replace(build_config(TrainConfig(), recorded), frames=frames)
    steps = request.steps or kind.default_steps or 1
    valid = (LAST, *(name for name in CRITERIA if name != SOURCE_ACCURACY)) if kind.default_steps else (LAST,)
    if request.select not in valid:
        raise ConfigError("not possible without the source", field="select", value=request.select, valid=valid)
    train = replace(train, snapshot_every=max(steps // _SNAPSHOTS, 1) if request.select != LAST else 0)
    adaptation, model, prior = kind(), base.adapt_model(target), _find_prior(config, sources, base)
    if prior is None and kind.name == "prior":
        problem = "the class shares of the base run are corrected already"
        raise ConfigError(problem, field="method", value=kind.name, remedy="choose another method")
    windows = CorpusWindows(model.view(target), model.framer, [], model.speakers)
    trial = TargetStream(windows, batch_size=min(len(target), 2), seed=0).batch(0).to(request.device)
    adaptation.check(model.method, trial)
    others = [each for each in corpora if each.name != target.snapshot.corpus]
    return AdaptPlan(
        request=request,
        base=base,
        base_config=config,
        corpora=others,
        adaptation=adaptation,
        adaptation_config=adaptation_config,
        model=model,
        windows=windows,
        prior=prior,
        train=train,
        steps=steps,
        excluded=seen["target-labels"],
        start_time=start_time,
    )


def adapt(request: AdaptRequest, callback: FitCallback, stop_listener: StopListener = never_stop) -> dict[str, Any]:
    """Adapt a run to a corpus and evaluate it; return the content of result.json."""
    return execute_adaptation(resolve_adaptation(request), callback, stop_listener)


def execute_adaptation(
    plan: AdaptPlan, callback: FitCallback, stop_listener: StopListener = never_stop
) -> dict[str, Any]:
    """Adapt and evaluate a resolved request, as `adapt` does; `stop_listener` as in `train`."""
    request, config, run, target = plan.request, plan.config, RunFolder(plan.folder), plan.request.target
    events = record_events(callback, run.path, config, enabled=False)
    with run.claim(config, resume=request.resume), events as recorder:
        if not run.done.exists():
            model, values = _adapt_model(plan, run, recorder, stop_listener)
            model.save(run.model)
            probabilities = predict_store(model, target)
            _write_result(plan, run, model, probabilities, values)
            recorder.record_result(read_json(run.result))
            entry = describe_corpus("target", target, model.task, held_out=0)
            if model.domain is not None:
                entry = replace(entry, audio=model.domain.describe(len(model.domain.corpora) - 1))
            sources = [each for each in plan.corpora if each.role == "source"]
            earlier_targets = [each for each in plan.corpora if each.role == "target"]
            write_entries(run, [*sources, entry, *earlier_targets])  # the card describes the first target
            add_target_audio(RunFolder(request.base), run, target)
            write_atomically(run.card, render_card(run).encode())
            run.done.touch()
        return {**read_json(run.result), "run": str(run.path.absolute())}


def _adapt_model(
    plan: AdaptPlan, run: RunFolder, callback: FitCallback, stop_listener: StopListener
) -> tuple[TrainedModel, Mapping[str, Any]]:
    """Return the adapted model with the target's normalisation, and the values of the method."""
    request, target = plan.request, plan.request.target
    model = plan.model
    job = Job(
        model,
        target,
        plan.windows,
        plan.adaptation_config,
        plan.train,
        plan.prior,
        run,
        plan.steps,
        request.seed,
        request.select,
        request.device,
        callback,
        stop_listener,
    )
    generators = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with generators, use_deterministic_algorithms(enabled=plan.train.deterministic):
        torch.manual_seed(derive_seed(request.seed, "adaptation"))
        values = plan.adaptation.adapt(job)
    if not all(bool(each.isfinite().all()) for each in model.method.parameters()):
        raise RunError("the adapted weights are not finite", where=run.path)
    domain = None if model.domain is None else model.domain.replace_target(target)
    return replace(model, domain=domain), values


def _find_prior(
    config: Mapping[str, Any], sources: Sequence[RunCorpus], base: FinishedRun
) -> NDArray[np.float64] | None:
    """Return the class shares (classes,) in the labelled batches of the base run; None after a correction of them."""
    decisive, task = config["decisive"], base.model.task
    if "prior" in _list_adaptations(decisive):
        return None
    counts = np.array([[each.classes[name] for name in task.classes] for each in sources], np.float64)
    if drawn := config.get("target_labels"):  # one more labelled corpus, see `SourceStream`
        counts = np.vstack([counts, [len(drawn[name]) for name in task.classes]])
    if decisive["train"].get("class_weights", "none") == "balanced":
        parts = (counts > 0).sum(axis=0).astype(np.float64)  # the classes of each corpus take turns
    else:
        parts = (counts / counts.sum(axis=1, keepdims=True)).sum(axis=0)  # corpora have equal shares of a batch
    found: NDArray[np.float64] = parts / parts.sum()
    return found


def _list_adaptations(decisive: Mapping[str, Any]) -> list[str]:
    """Return the methods that adapted a run, the first one first."""
    if "adaptation" not in decisive:
        return []
    return [*decisive["base"].get("adaptations", ()), decisive["adaptation"]["method"]]


def _write_result(
    plan: AdaptPlan, run: RunFolder, model: TrainedModel, probabilities: NDArray[np.float64], values: Mapping[str, Any]
) -> None:
    config, target, task = plan.config, plan.request.target, model.task
    excluded = plan.excluded if plan.excluded.any() else None
    is_labelled = target.labels(task) >= 0
    supervision, exposure = config["supervision"], config["exposure"]
    exposure_of_target = exposure[target.snapshot.corpus]
    write_predictions(
        run.predictions, target, probabilities, task, supervision, exposure_of_target, training_labels=excluded
    )
    write_json(
        run.result,
        {
            **{key: config["decisive"][key] for key in ("src", "tgt", "task", "method", "seed", "steps")},
            **describe_task(task),
            "task_hash": task.hash,
            "classes": list(task.classes),
            "supervision": supervision,
            "label": plan.label,
            "exposure": exposure,
            "adaptation": {"method": plan.adaptation.name, **values},
            "select": plan.request.select,
            "selected_step": values.get("selected_step", plan.steps),
            "utterances": len(target),
            "excluded": int(is_labelled[plan.excluded].sum()),
            "scored": int(is_labelled[~plan.excluded].sum()),
            **evaluate(assign_labels(probabilities), target, task, excluded=excluded),
            **({"labels": labels} if (labels := digest_labels([target], task)) else {}),
            "wall_seconds": time.perf_counter() - plan.start_time,
            "steps_per_second": values.get("steps_per_second"),
            "blocked_seconds": 0.0,
            "run": str(run.path.absolute()),
        },
    )
