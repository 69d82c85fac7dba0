"""The command emodna-fit: train a model on labelled source corpora and an unlabelled target corpus."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.options import (
    Command,
    FeatureSetOption,
    cache_option,
    common_options,
    config_option,
    device_option,
    parse_settings,
)
from emodna.model.config import DEFAULT_STEPS
from emodna.pipeline.emotions import TASKS
from emodna.pipeline.errors import EmodnaError, PluginError

if TYPE_CHECKING:
    from emodna.model.methods.catalog import MethodInfo

#: Remarks on the scores of a run that used the target's labels, by its supervision.
_ORACLES: Final = {
    "oracle-labels": "oracle: trained with the labels of the scored utterances; a bound, not a method",
    "oracle-folds": "oracle: trained with the target's labels, cross-validated over speakers; a bound, not a method",
}
#: Greatest width of the list of methods, in columns.
_MAX_WIDTH: Final = 100
_MARKS: Final = """
(our reading): the paper does not give the sizes of its layers.
(oracle): learns from the target's labels, as an upper bound.
[scl]: accepts `--add scl`, Emo-DNA's contrastive loss on pseudo-labels."""


@click.command(
    cls=Command,
    environment="EMODNA_FIT",
    groups={
        "Data": "sources target task feature_set cache",
        "Training": "method add settings steps seed select oracle_analysis residency compile cuda_graph threads device"
        " list_methods",
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
    help="Labelled source corpus; repeatable, for equal shares of each batch.",
)
@click.option(
    "--tgt", "target", metavar="CORPUS", help="Target corpus; only oracles and the evaluation use its labels."
)
@click.option("--task", type=click.Choice(TASKS), default="arousal", help="Labels to learn.")
@click.option("--method", default="emo-dna", metavar="NAME", help="Method, by a name from --list-methods.")
@click.option("--add", type=click.Choice(["scl"]), help="Emo-DNA's contrastive loss L_SCL, for methods marked [scl].")
@click.option("--steps", type=click.IntRange(min=1), default=DEFAULT_STEPS, help="Training steps.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of all random numbers.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: chosen by torch]")
@device_option
@click.option("--compile", is_flag=True, help="Compile the losses by torch.compile; on a CPU, needs a C++ compiler.")
@click.option("--cuda-graph", is_flag=True, help="Capture each step as a CUDA graph.")
@cache_option
@click.option(
    "--feature-set",
    cls=FeatureSetOption,
    help="{names}, or the folder name of a store.  [default: mfcc40]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder.  [default: runs/<src>-<tgt>-<task>-<method>-s<seed>-<hash>]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out, or start it if there is none.")
@click.option(
    "--resident",
    "residency",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    help="Keep all windows on the device; auto: if they fit easily.",
)
@click.option(
    "--select",
    type=click.Choice(
        ["last", "source-accuracy", "entropy", "information-maximisation", "snd", "pseudo-label-agreement"]
    ),
    default="last",
    help="Model to keep: the last, or the best by a label-free criterion.",
)
@click.option(
    "--oracle-analysis",
    is_flag=True,
    help="Also score model snapshots with the target's labels, in oracle.json only.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of the training or method; repeatable."
)
@click.option("--list-methods", is_flag=True, help="List the methods with their references, and exit.")
@config_option
@common_options
def fit(
    sources: tuple[str, ...],
    target: str | None,
    add: str | None,
    device: str,
    cache: Path,
    feature_set: str | None,
    settings: tuple[str, ...],
    list_methods: bool,
    as_json: bool,
    **fields: Any,  # of FitRequest
) -> None:
    """Train a model on labelled source corpora and an unlabelled target corpus.

    The scores on the target are printed beside those of constant predictors. docs/METHODS.md explains methods and
    settings, docs/RUNS.md the files of a run.
    """
    if list_methods:
        _print_methods(as_json=as_json)
        return
    if not sources or target is None:
        raise click.UsageError(f"Missing option '{'--tgt' if sources else '--src'}'.")
    if target in sources:
        raise EmodnaError("the same corpus as --src", field="target", value=target, remedy="choose another target")
    parsed = parse_settings(settings)
    if add:
        if parsed.get("add", add) != add:
            raise EmodnaError(f"conflicts with --set add={parsed['add']}", field="add", value=add, remedy="give one")
        parsed["add"] = add
    # Checks without torch come first: its import takes seconds.
    from emodna.cli.fit_progress import show_progress
    from emodna.model.config import apply_shared_settings
    from emodna.model.methods import check_method_name
    from emodna.model.run_folder import JOIN, RunFolder, read_json
    from emodna.pipeline.catalogue import find_store
    from emodna.pipeline.store import FeatureStore

    check_method_name(fields["method"])
    apply_shared_settings(parsed)
    stores = [FeatureStore(find_store(cache, corpus, feature_set)) for corpus in (*sources, target)]
    if fields["out"] is not None:
        RunFolder(fields["out"]).check_free(resume=fields["resume"])
    from emodna.model.fit import execute_plan
    from emodna.model.request import FitRequest, resolve_request

    request = FitRequest(stores[:-1], stores[-1], device=common.resolve_device(device), settings=parsed, **fields)
    for store in stores:
        common.detail(f"store {common.escape(store.path)}")
    common.detail(f"device {request.device}")
    plan = resolve_request(request)
    title = f"{JOIN.join(sorted(sources))} -> {target}, {request.task}, {plan.label}"
    with show_progress(title, request.steps, utterances=plan.utterances) as display:
        result = execute_plan(plan, display, common.stop_on_interrupt)
    oracle = read_json(RunFolder(Path(result["run"])).oracle) if request.oracle_analysis else {}
    if as_json:
        common.print_json({**result, **oracle})
    else:
        _print_result(
            result, labelled=int((request.target.labels(request.task) >= 0).sum()), utterances=len(request.target)
        )
        if oracle:
            _print_oracle(oracle["oracle"])


def _print_result(result: dict[str, Any], *, labelled: int, utterances: int) -> None:
    predictions = Path(result["run"]) / "predictions.parquet"
    if result["select"] != "last":
        common.out.print(f"selected by {result['select']}: step {result['selected_step']} of {result['steps']}")
    if labelled == 0:
        common.out.print(
            f"{common.escape(result['tgt'])} has no {result['task']} labels: nothing to score\n"
            f"{utterances} predictions (id, probability, label): {common.escape(predictions)}"
        )
        return
    from emodna.cli.scores import make_score_table

    title = f"{result['src']} -> {result['tgt']}, {result['task']}, {result['steps']} steps, seed {result['seed']}"
    scored = f"{labelled} utterances" if labelled == utterances else f"{labelled} labelled of {utterances} utterances"
    common.out.print(f"{common.escape(title)}; {scored}\n")
    common.out.print(make_score_table(result))
    common.out.print()
    if (remark := _ORACLES.get(result.get("supervision", ""))) is not None:
        common.out.print(remark)
    common.out.print(common.escape(result["run"]))


def _print_oracle(oracle: dict[str, Any]) -> None:
    """Print the scores of the best and the last model snapshot, marked as an oracle's."""
    if oracle["best"] is None:
        common.out.print("oracle (uses the target's labels, for analysis only): the target has no labels")
        return
    from emodna.cli.scores import format_scores
    from emodna.model.metrics import SCORE_NAMES

    common.out.print("oracle (uses the target's labels, for analysis only; the result above does not depend on it)")
    for which in ("best", "last"):
        row = oracle[which]
        scores = "  ".join(
            f"{name} {cell}" for name, cell in zip(SCORE_NAMES.values(), format_scores(row), strict=True)
        )
        common.out.print(f"oracle {which}: step {row['step']}  {scores}")


def _print_methods(*, as_json: bool) -> None:
    """Print each method with its summary and reference, or with the reason why it cannot be used."""
    from emodna.model.methods.catalog import describe_methods

    found = describe_methods()
    if as_json:
        common.print_json(
            [
                {"method": name, "error": str(each)} if isinstance(each, PluginError) else dataclasses.asdict(each)
                for name, each in found.items()
            ]
        )
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
    yield " ".join([each.summary, *marks])
    yield each.reference
    for package, version in each.package.items():
        yield f"of the package {package} {version}"


def main() -> None:
    """Run `emodna-fit`."""
    common.run(fit, resumable="run the same command with --resume to continue from the last checkpoint")
