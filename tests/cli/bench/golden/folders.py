"""Experiments in all states for the golden files, with seeded random numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Conditions, Experiment, RunSpec
from emodna.model.metrics import SCORES, compute_scores
from emodna.model.run_folder import write_json
from emodna.pipeline.store import FeatureStore
from tests.model.bench.builders import (
    CLASSES,
    LANGUAGES,
    RunKey,
    begin_run,
    fail_run,
    make_run,
    write_experiment,
    write_log,
    write_predictions,
    write_run,
)

#: A corpus name that is a formula and markup of HTML, rich and LaTeX.
HOSTILE = "=<b>[red]&$x_1"
HOSTILE_ERROR = "no such thing: </script> [bold]| \u2028 50 % of $x_1"
FEATURE_SET = "mfcc40-22050hz-1d163ad7"
#: Approximate advantage over chance in points; 4 for other methods.
ADVANTAGES: Mapping[str, float] = {"source-only": 2.0, "emo-dna": 9.0, "upper-bound": 25.0, "dann:add=scl": 6.0}
#: Arguments for an own corpus without valence labels and with an unknown language.
OWN_CORPUS: Mapping[str, Any] = {
    "classes": {**CLASSES, HOSTILE: ((20, 30), (0, 0))},
    "languages": {**LANGUAGES, HOSTILE: None},
}


def make_key(run: RunSpec) -> RunKey:
    return run.src, run.tgt, run.task, str(run.method), run.seed


def is_learnable(run: RunSpec) -> bool:
    """Return False if the source of a run, or the target of the upper bound, has no labels."""
    return run.task == "arousal" or not (run.src == HOSTILE or (run.method == UPPER_BOUND and run.tgt == HOSTILE))


def make_scores(counts: tuple[int, int], right: tuple[int, int]) -> dict[str, float | None]:
    """Return all scores in percent from the numbers of utterances and of correct predictions of class 0 and 1."""
    confusion = np.array([[right[0], counts[0] - right[0]], [counts[1] - right[1], right[1]]])
    values = compute_scores(confusion).tolist() if sum(counts) else [None] * len(SCORES)
    return {key: None if value is None else round(value, 3) for key, value in zip(SCORES, values, strict=True)}


def finish(experiment: Experiment, run: RunSpec, stores: Mapping[str, FeatureStore] | None = None, **more: Any) -> None:
    """Write the result of a run; `more` replaces values of result.json."""
    counts, rng = experiment.corpora[run.tgt].classes[run.task], random.Random(repr(make_key(run)))
    advantage = ADVANTAGES.get(str(run.method), 4.0)
    recalls = [min(max(0.5 + (advantage + rng.gauss(0, 5)) / 100, 0), 1) for _ in counts]
    low, high = (round(recall * count) for recall, count in zip(recalls, counts, strict=True))
    result = {**make_scores(counts, (low, high)), "wall_seconds": round(rng.uniform(20, 90), 2)}
    write_run(experiment, run, {**result, **more}, stores)


def draw_predictions(experiment: Experiment, run: RunSpec, stores: Mapping[str, FeatureStore]) -> None:
    """Write predictions for the target's utterances if its store is there, else for 15 made-up ids."""
    rng = random.Random(f"predictions {make_key(run)!r}")
    ids = stores[run.tgt].ids if run.tgt in stores else [f"{run.tgt} {place}" for place in range(15)]
    write_predictions(experiment, make_key(run), ids, [int(round(rng.random(), 3) >= 0.5) for _ in ids])


def make_log_lines(key: RunKey) -> Iterator[dict[str, Any]]:
    """Yield lines of metrics.jsonl: loss terms, their total, then monitored values."""
    method, rng = key[3], random.Random(f"log {key!r}")
    is_emo_dna = method.partition(":")[0] == "emo-dna"
    for step in (10, 20, 30)[: 2 if key[4] == 1 else 3]:
        terms = {"emotion": round(7 / step + rng.random() / 10, 3)}
        if is_emo_dna:
            terms |= {"corpus": round(rng.random(), 3), "decouple": 1e-19, "mmd": round(rng.random(), 3)}
        if is_emo_dna or "add=scl" in method:
            terms["scl"] = round(rng.random(), 3)
        line: dict[str, Any] = {"step": step, **terms, "total": round(sum(terms.values()), 3)}
        if is_emo_dna:
            line["threshold"] = None if "oracle" in method else round(0.5 + step / 100 + rng.random() / 10, 3)
        if is_emo_dna or "add=scl" in method:
            line["confident"] = round(rng.random(), 3)
        if is_emo_dna:
            names = ("emotion", "source", "target")
            line |= {f"prototypes_{name}": round(rng.uniform(-1, 1), 3) for name in names}
        yield line


def make_paper_folder(out: Path) -> Experiment:
    """Write a nearly finished experiment on the paper's six corpora, with a part of each table and no failed run."""
    all_specs = ["source-only", "source-only:target_bn=true", "dann", "dann:add=scl", "emo-dna", "upper-bound"]
    arousal_specs = ["cdan", "addi", "v3", "emo-dna:threshold=none", "emo-dna:steps=1000"]  # the last equals emo-dna
    experiment = write_experiment(
        out,
        [*all_specs, *arousal_specs],
        conditions=Conditions(1000, FEATURE_SET),
        shared_recordings={("savee", "emodb"): 1},
        wanted=lambda run: str(run.method) in all_specs or (run.task, run.seed) == ("arousal", 0),
    )
    missing_runs = {("casia", "savee", "arousal", "emo-dna", 1), ("emovo", "emodb", "valence", "dann", 0)}
    for run in experiment.runs:
        if make_key(run) not in missing_runs and str(run.method) != "emo-dna:steps=1000":
            finish(experiment, run)
    return experiment


def make_own_folder(out: Path, store: FeatureStore | None = None) -> Experiment:
    """Write an experiment on three of the paper's corpora and an own one without valence labels, in all run states."""
    both = ["source-only", "dan", "dan:add=scl", "emo-dna", "upper-bound"]
    oracle = "emo-dna:threshold=oracle-labels"
    missing = "studio-net:depth=3"  # of a package that is not installed

    def is_wanted(run: RunSpec) -> bool:
        most = run.seed < 2 or (run.task == "arousal" and str(run.method) in ("source-only", "emo-dna"))
        return most and (run.task == "arousal" or str(run.method) in both) and is_learnable(run)

    experiment = write_experiment(
        out,
        [*both[:2], "addi", *both[2:4], oracle, both[4], missing],
        corpora=[HOSTILE, "emodb", "ravdess", "savee"],
        seeds=3,
        conditions=Conditions(300, FEATURE_SET, {"frames": "64"}),
        shared_recordings={(HOSTILE, "savee"): 1, ("ravdess", HOSTILE): 3},
        wanted=is_wanted,
        **OWN_CORPUS,
    )
    stores = {} if store is None else {"emodb": store}
    changed: dict[RunKey, dict[str, Any]] = {
        ("emodb", "savee", "arousal", "dan", 1): {"uar": None},
        ("emodb", "ravdess", "arousal", "addi", 1): {"f1": float("nan")},
        ("savee", "emodb", "arousal", "dan", 0): score_constant("emodb", "arousal"),
        ("savee", "emodb", "arousal", "dan", 1): score_constant("emodb", "arousal"),
        ("ravdess", "savee", "valence", "emo-dna", 0): {"wall_seconds": None},
    }
    interrupted = [("savee", "emodb", "valence", "dan:add=scl", 1), ("ravdess", "savee", "arousal", "addi", 1)]
    failed: dict[RunKey, str] = {
        ("ravdess", "savee", "arousal", "addi", 1): HOSTILE_ERROR,
        ("emodb", HOSTILE, "arousal", "dan", 0): "the loss is not finite",
        ("emodb", HOSTILE, "arousal", "dan", 1): "the loss is not finite",
    }
    waiting: list[RunKey] = [("savee", "ravdess", "arousal", "addi", 0), make_key(experiment.runs[-1])]
    for run in experiment.runs:
        key = make_key(run)
        if key in interrupted:
            begin_run(experiment, run, stores)
        elif key not in (*failed, *waiting):
            finish(experiment, run, stores, **changed.get(key, {}))
            write_log(experiment, key, list(make_log_lines(key)))
            if key[3] != "dan:add=scl" and not (key[3] == "emo-dna" and key[1] == HOSTILE and key[4] == 1):
                draw_predictions(experiment, run, stores)
    for key, error in failed.items():
        fail_run(experiment, make_run(key), error)
    damaged = experiment.run_folder(make_run((HOSTILE, "savee", "arousal", "dan:add=scl", 1))).result
    damaged.write_text(damaged.read_text().replace('"macro_f1"', '"macro F1"'))
    experiment.run_folder(make_run(("ravdess", "emodb", "arousal", missing, 0))).result.write_text("nonsense")
    with experiment.run_folder(make_run(("emodb", "ravdess", "arousal", "emo-dna", 0))).metrics.open("a") as lines:
        lines.write('{"step": 40, "emot')  # as after a kill
    return experiment


def make_settings_folder(out: Path) -> Experiment:
    """Write an experiment that changes one setting of Emo-DNA at a time, on two pairs."""
    changed = ("padding=mask", "normalisation=none", "threshold_momentum=0.9", "threshold_momentum=0.999")
    experiment = write_experiment(
        out,
        ["emo-dna", *(f"emo-dna:{each}" for each in (*changed, "mmd_estimator=linear-ring", "steps=1000"))],
        corpora=[HOSTILE, "emodb"],
        tasks=["arousal"],
        conditions=Conditions(300, FEATURE_SET, threads=2),
        **OWN_CORPUS,
    )
    for run in experiment.runs:
        if make_key(run) != ("emodb", HOSTILE, "arousal", "emo-dna:normalisation=none", 1):
            finish(experiment, run)
            draw_predictions(experiment, run, {})
    return experiment


def score_constant(corpus: str, task: str) -> dict[str, float | None]:
    low, high = CLASSES[corpus][task == "valence"]
    return make_scores((low, high), (0, high))


def add_leftovers(experiment: Experiment) -> None:
    out, old = experiment.out, "emodb-ravdess-arousal-dan-s0-00000000"
    for number in range(3):
        folder = out / "runs" / f"{old[:-1]}{number}"
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"uar": 50.0}, indent=1) + "\n")
    (out / "runs" / f"{old[:-1]}1" / "notes.txt").write_text("mine")
    (out / "runs" / "mine").mkdir()
    (out / "analysis").mkdir()
    write_json(out / "failures" / f"{old}.json", {"error": "of old", "when": "2026-01-01T00:00:00+00:00"})
    write_json(out / "analysis" / f"{old}.json", {})
    write_json(out / "analysis" / "input-emodb-ravdess-arousal.json", {})
    (out / "failures" / "mine.json").write_text("{}")
    (experiment.run_folder(experiment.runs[0]).path / "result.json.77.tmp").write_text("{")
    (out / "bench.json.78.tmp").write_text("{")
