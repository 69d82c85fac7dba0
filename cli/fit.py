"""The command emodna-fit: train a model on labelled source corpora and an unlabelled target corpus."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common, options
from emodna.cli.options import FOLDER, Command, FeatureSetOption
from emodna.pipeline.errors import EmodnaError, PluginError, format_count

if TYPE_CHECKING:
    from emodna.model.methods.catalog import MethodInfo
    from emodna.model.request import FitPlan

#: Remarks on the scores of a run that used the target's labels, by its supervision.
_REMARKS: Final = {
    "semi-supervised": "semi-supervised: trained with some target labels; the scores leave their recordings out",
    "oracle-labels": "oracle: trained with the labels of the scored utterances; an upper bound, not a method",
    "oracle-folds": "oracle: trained with target labels, cross-validated over speakers; an upper bound, not a method",
}
#: `LAST` and the criteria, here because their module is slow to import.
_SELECTIONS: Final = ("last", "source-accuracy", "entropy", "information-maximisation", "snd", "pseudo-label-agreement")
#: The paper's values of the settings whose defaults depend on the features. A run with others prints them.
_PAPER_SETTINGS: Final = {"network": "paper", "normalisation": "source", "class_weights": "none"}
#: Greatest width of the list of methods, in columns of the terminal.
_MAX_WIDTH: Final = 100
_MARKS: Final = """
(our reading): layer sizes are our choice; the paper does not give them.
(oracle): learns from target labels, as an upper bound.
[scl]: accepts `--add scl`, Emo-DNA's contrastive loss on pseudo-labels.
[network]: accepts `--set network=paper` (windows of frames; the default of
MFCCs, log-mel and samples) and `--set network=statistics` (mean and deviation
over the utterance; the default of other features).

Methods that are trained on the source only still use mean and deviation of the
target, without labels, with `normalisation=per-corpus` (the default of features
other than MFCCs, log-mel and samples) and `per-speaker`."""


@click.command(
    cls=Command,
    environment="EMODNA_FIT",
    groups={
        "Data": "sources target task task_file classes feature_set cache",
        "Training": "method add target_labels settings steps seed select oracle_analysis residency compile cuda_graph"
        " threads device list_methods",
        "Output": "out resume",
    },
    examples=(
        "emodna-fit --src ravdess --tgt emodb --out runs/first",
        "emodna-fit --src ravdess --tgt emodb --task valence --method dan --add scl --set scl_weight=0.5",
    ),
)
@click.option(
    "--src",
    "sources",
    multiple=True,
    metavar="CORPUS",
    help="Labelled source corpus; repeatable. All sources have equal shares of a batch.",
)
@click.option("--tgt", "target", metavar="CORPUS", help="Target corpus; only oracle methods learn from its labels.")
@options.task_options
@click.option("--method", default="emo-dna", metavar="NAME", help="Training method; see --list-methods.")
@click.option("--add", type=click.Choice(["scl"]), help="Contrastive loss for methods marked [scl] in --list-methods.")
@click.option(
    "--target-labels",
    type=click.IntRange(min=0),
    metavar="K",
    help="Train with K labels of each class of the target, which scores leave out.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Training steps.  [default: 1000 for mfcc40; see docs/FEATURES.md]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of all random numbers.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: 1; with --resume, as before]")
@options.device_option
@click.option("--compile", is_flag=True, help="Compile the losses with torch.compile; needs a C++ compiler on a CPU.")
@click.option("--cuda-graph", is_flag=True, help="Capture each step as a CUDA graph.")
@options.cache_option
@click.option(
    "--feature-set", cls=FeatureSetOption, metavar="NAME", help="{names}, or a store's folder.  [default: mfcc40]"
)
@click.option("--out", type=FOLDER, help="Run folder.  [default: runs/<src>-<tgt>-<task>-<method>-s<seed>-<hash>]")
@click.option("--resume", is_flag=True, help="Continue the run in --out, or start it if there is none.")
@click.option(
    "--resident",
    "residency",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    help="Keep all windows in device memory; auto: if they fit easily.",
)
@click.option(
    "--select",
    type=click.Choice(_SELECTIONS),
    default="last",
    help="Keep the last model or the best one, chosen without target labels.",
)
@click.option(
    "--oracle-analysis", is_flag=True, help="Write scores of model snapshots on target labels to oracle.json."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting; see docs/METHODS.md. Repeatable.")
@click.option("--list-methods", is_flag=True, help="List the methods with their references, and exit.")
@options.config_option
@options.common_options
def fit(
    sources: tuple[str, ...],
    target: str | None,
    add: str | None,
    target_labels: int | None,
    device: str,
    cache: Path,
    feature_set: str | None,
    settings: tuple[str, ...],
    list_methods: bool,
    as_json: bool,
    **fields: Any,  # of FitRequest
) -> None:
    """Train a model on labelled source corpora and an unlabelled target corpus.

    The default method is that of the paper Emo-DNA (arXiv 2308.02190). Oracle methods learn from target labels, as an
    upper bound. Prints the scores on the target next to those of constant predictors. docs/METHODS.md describes methods
    and settings, docs/FEATURES.md the defaults that depend on the features, docs/RUNS.md the files of a run.
    """
    if list_methods:
        _print_methods(as_json=as_json)
        return
    if not sources or target is None:
        raise click.UsageError(f"Missing option '{'--tgt' if sources else '--src'}'.")
    if target in sources:
        raise EmodnaError("the same corpus as --src", field="target", value=target, remedy="choose another target")
    parsed = options.parse_settings(settings)
    for key, value in (("add", add), ("target_labels", target_labels)):
        if value is not None:
            if parsed.get(key, str(value)) != str(value):
                problem = f"conflicts with --set {key}={parsed[key]}"
                raise EmodnaError(problem, field=key, value=value, remedy="give only one of them")
            parsed[key] = str(value)
    # Checks without torch come first: its import takes seconds.
    from emodna.cli.fit_progress import print_warnings, show_progress
    from emodna.model.config import apply_shared_settings
    from emodna.model.methods import check_method_name
    from emodna.model.run_folder import RunFolder
    from emodna.model.task import resolve_task
    from emodna.pipeline.catalogue import find_stores
    from emodna.pipeline.store import FeatureStore

    check_method_name(fields["method"])
    apply_shared_settings(parsed)
    stores = [FeatureStore(path) for path in find_stores(cache, (*sources, target), feature_set)]
    if fields["out"] is not None:
        RunFolder(fields["out"]).check_free(resume=fields["resume"])
    fields["threads"] = fields["threads"] or _choose_threads(fields["out"] if fields["resume"] else None)
    with print_warnings():
        fields["task"] = resolve_task(fields["task"], stores[:-1], stores[-1])
        from emodna.model.fit import execute_plan
        from emodna.model.methods.base import DirectMethod
        from emodna.model.request import FitRequest, resolve_request

        request = FitRequest(stores[:-1], stores[-1], device=common.resolve_device(device), settings=parsed, **fields)
        for store in stores:
            common.detail(f"store {common.escape(store.path)}")
        common.detail(f"device {request.device}")
        plan = resolve_request(request)
        steps = None if isinstance(plan.method, DirectMethod) else plan.steps
        with show_progress(_describe_run(plan), steps, utterances=plan.utterances) as display:
            result = execute_plan(plan, display, common.stop_on_interrupt)
    _print_document(result, plan, as_json=as_json)


def _describe_run(plan: "FitPlan") -> str:
    from emodna.model.run_folder import JOIN

    sources = JOIN.join(source.snapshot.corpus for source in plan.request.sources)
    return f"{sources} -> {plan.request.target.snapshot.corpus}, {plan.task.name}, {plan.label}"


def _print_document(result: dict[str, Any], plan: "FitPlan", *, as_json: bool) -> None:
    from emodna.model.run_folder import RunFolder, read_json

    oracle = read_json(RunFolder(Path(result["run"])).oracle) if plan.request.oracle_analysis else {}
    if as_json:
        common.print_json({**result, **oracle})
        return
    _print_result(result, plan)
    if oracle:
        _print_oracle(oracle["oracle"], len(plan.task))


def _choose_threads(resumed: Path | None) -> int:
    """Return the threads of the run in a folder; for a new run one, the fastest number next to other programs."""
    from emodna.model.run_folder import RunFolder, read_json

    if resumed is None or not (config := RunFolder(resumed).config).exists():
        return 1
    decisive = read_json(config).get("decisive")
    threads = decisive.get("threads") if isinstance(decisive, dict) else None
    return threads if isinstance(threads, int) and threads >= 1 else 1  # None: the run is on CUDA


def _print_result(result: dict[str, Any], plan: "FitPlan") -> None:
    predictions = Path(result["run"]) / "predictions.parquet"
    if result["select"] != "last":
        common.out.print(f"selected by {result['select']}: step {result['selected_step']} of {result['steps']}")
    settings = {key: value for key, value in plan.chosen_settings.items() if value is not None}
    is_paper = all(value == _PAPER_SETTINGS[key] for key, value in settings.items())
    notes = [] if is_paper else [", ".join(f"{key}={value}" for key, value in settings.items())]
    notes += _describe_classes(plan)
    labels = plan.request.target.labels(plan.task)
    labelled, utterances = int((labels >= 0).sum()) - result.get("excluded", 0), len(labels)
    if labelled == 0:
        common.out.print(f"{common.escape(result['tgt'])} has no {result['task']} labels: nothing to score")
        for line in notes:
            common.out.print(common.escape(line))
        columns = f"id, {'probability' if len(plan.task) == 2 else 'probabilities'}, label"
        common.out.print(f"{format_count(utterances, 'prediction')} ({columns}): {common.escape(predictions)}")
        return
    from emodna.cli.scores import count_scored, make_score_table
    from emodna.model.label import note_exposure, read_exposure
    from emodna.model.methods.base import DirectMethod
    from emodna.pipeline.encoders.exposure import name_trained_model

    steps = "fitted at once" if isinstance(plan.method, DirectMethod) else format_count(result["steps"], "step")
    title = f"{result['src']} -> {result['tgt']}, {result['task']}, {steps}, seed {result['seed']}"
    common.out.print(f"{common.escape(title)}; {count_scored(labelled, utterances)}")
    for line in notes:
        common.out.print(common.escape(line))
    common.out.print()
    common.out.print(make_score_table(result, read_exposure(result, result["tgt"])))
    common.out.print()
    if (remark := _REMARKS.get(result.get("supervision", ""))) is not None:
        common.out.print(remark)
    for line in note_exposure({result["tgt"]: read_exposure(result, result["tgt"])}, name_trained_model(plan.features)):
        common.out.print(common.escape(line))
    common.out.print(common.escape(result["run"]))


def _describe_classes(plan: "FitPlan") -> Iterator[str]:
    """Yield the classes, unless they are built in, and the utterances of each corpus without one of them."""
    from emodna.cli.scores import list_counts
    from emodna.model.task import count_left_out

    if not plan.task.is_built_in:
        yield f"classes: {', '.join(plan.task.classes)}"
    request = plan.request
    for store in (*request.sources, request.target):
        if not (counts := count_left_out(store, plan.task)):
            continue
        done = "not scored" if store is request.target else "not trained on"
        found = f"{sum(counts.values())} of {format_count(len(store), 'utterance')}"
        yield f"{found} of {store.snapshot.corpus} {done}: {list_counts(counts)}"


def _print_oracle(oracle: dict[str, Any], classes: int) -> None:
    """Print the scores of the best and the last model snapshot, marked "oracle" on every line."""
    if oracle["best"] is None:
        common.out.print("oracle (uses the target's labels, for analysis only): the target has no labels")
        return
    from emodna.cli.scores import format_scores
    from emodna.model.label import name_scores

    common.out.print("oracle (uses the target's labels, for analysis only; the result above does not depend on it)")
    names = name_scores(classes)
    for which in ("best", "last"):
        cells = zip(names.values(), format_scores(oracle[which], names), strict=True)
        scores = "  ".join(f"{name} {score}" for name, score in cells)
        common.out.print(f"oracle {which}: step {oracle[which]['step']}  {scores}")


def _print_methods(*, as_json: bool) -> None:
    from emodna.model.methods.catalog import describe_methods

    found = describe_methods()
    if as_json:
        rows = (
            {"method": name, "error": str(each)} if isinstance(each, PluginError) else dataclasses.asdict(each)
            for name, each in found.items()
        )
        common.print_json(list(rows))
        return
    from rich.table import Table

    table = Table.grid("", "", padding=(0, 2, 0, 0))
    table.width = min(common.out.width, _MAX_WIDTH)
    for name, each in found.items():
        table.add_row(common.escape(name), "\n".join(map(common.escape, _describe_method(each))))
    common.out.print(table)
    common.out.print(_MARKS, markup=False)


def _describe_method(each: "MethodInfo | PluginError") -> Iterator[str]:
    if isinstance(each, PluginError):
        yield each.problem
        return
    marks = ["(our reading)"] * each.our_reading + ["(oracle)"] * each.oracle + [f"[{word}]" for word in each.add]
    marks += ["[network]"] * ("network" in each.settings)
    yield " ".join([each.summary, *marks])
    yield each.reference
    for package, version in each.package.items():
        yield f"from the package {package} {version}"


def main() -> None:
    """Run `emodna-fit`."""
    common.run(fit, resumable="run the same command with --resume to continue from the last checkpoint")
