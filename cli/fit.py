"""emodna-fit: adapt an emotion model from a labelled corpus to an unlabelled one."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, FeatureSetOption, cache_option, common_options, config_option, parse_settings
from emodna.model.config import DEFAULT_STEPS
from emodna.pipeline.emotions import TASKS
from emodna.pipeline.errors import EmodnaError, PluginError

if TYPE_CHECKING:
    from emodna.model.methods.catalog import MethodInfo

#: What is to be known of the scores of a run that learnt from the target's labels.
_ORACLES: Final = {
    "oracle-labels": "oracle: trained with the labels of the utterances that are scored; a bound, not a method",
    "oracle-folds": "oracle: trained with the target's labels, cross-validated over speakers; a bound, not a method",
}
#: Columns of a list; wider lines are hard to read.
_WIDEST: Final = 100
_MARKS: Final = """
(our reading): the paper leaves the sizes of its layers open.
(oracle): learns from the target's labels, to show what is within reach.
[scl]: takes `--add scl`, Emo-DNA's contrastive loss on pseudo-labels."""


@click.command(cls=Command, environment="EMODNA_FIT")
@click.option(
    "--src",
    "sources",
    multiple=True,
    metavar="CORPUS",
    help="Labelled source corpus; several give equal parts of each batch.",
)
@click.option(
    "--tgt", "target", metavar="CORPUS", help="Target corpus; its labels only score the result, but for an oracle's."
)
@click.option("--task", type=click.Choice(TASKS), default="arousal", help="What to recognise.")
@click.option("--method", default="emo-dna", metavar="NAME", help="See --list-methods.")
@click.option("--add", type=click.Choice(["scl"]), help="Emo-DNA's L_SCL, for methods that --list-methods marks [scl].")
@click.option("--steps", type=click.IntRange(min=1), default=DEFAULT_STEPS, help="Training steps.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Decides everything that is random.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: torch's own]")
@click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N.")
@click.option("--compile", is_flag=True, help="Put the losses through torch.compile; on a CPU, needs a C++ compiler.")
@click.option("--cuda-graph", is_flag=True, help="Capture each step as a CUDA graph.")
@cache_option
@click.option(
    "--feature-set",
    cls=FeatureSetOption,
    help="{names}, or the full folder name of a store.  [default: mfcc40]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder.  [default: runs/<src>-<tgt>-<task>-<method>-s<seed>-<hash>]",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; starts one where there is none.")
@click.option(
    "--resident",
    "residency",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    help="Make all windows once and keep them on the device; auto: where they take little of its memory.",
)
@click.option(
    "--select",
    type=click.Choice(
        ["last", "source-accuracy", "entropy", "information-maximisation", "snd", "pseudo-label-agreement"]
    ),
    default="last",
    help="Which step's model to keep: the last, or the best by a criterion that needs no label of the target.",
)
@click.option(
    "--oracle-analysis",
    is_flag=True,
    help="Also score snapshots by the target's labels, in a file of its own (oracle.json); changes no result.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A constant of the training; repeatable.")
@click.option("--list-methods", is_flag=True, help="List the methods, with their references, and stop.")
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
    **asked: Any,  # fields of FitRequest, by their names
) -> None:
    """Train on a labelled corpus and an unlabelled one, and print the result beside the constant answers."""
    if list_methods:
        _print_methods(as_json=as_json)
        return
    if not sources or target is None:
        raise click.UsageError(f"Missing option '{'--tgt' if sources else '--src'}'.")
    if target in sources:
        raise EmodnaError(f"--tgt {target}: the same corpus as --src; give another")
    parsed = parse_settings(settings)
    if add:
        if parsed.get("add", add) != add:
            raise EmodnaError(f"--add {add} and --set add={parsed['add']}: give one")
        parsed["add"] = add
    # What needs no torch comes first: a mistake should not wait seconds for its answer.
    from emodna.cli.fit_progress import show_progress
    from emodna.model.config import apply_shared_settings
    from emodna.model.methods import check_method_name
    from emodna.model.run_folder import JOIN, RunFolder, read_json
    from emodna.pipeline.catalogue import find_store
    from emodna.pipeline.store import FeatureStore

    check_method_name(asked["method"])
    apply_shared_settings(parsed)
    stores = [FeatureStore(find_store(cache, corpus, feature_set)) for corpus in (*sources, target)]
    if asked["out"] is not None:
        RunFolder(asked["out"]).check_free(resume=asked["resume"])
    from emodna.model.fit import execute_plan
    from emodna.model.request import FitRequest, resolve_request

    request = FitRequest(stores[:-1], stores[-1], device=common.resolve_device(device), settings=parsed, **asked)
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
        _print(result, labelled=int((request.target.labels(request.task) >= 0).sum()), utterances=len(request.target))
        if oracle:
            _print_oracle(oracle["oracle"])


def _print(result: dict[str, Any], *, labelled: int, utterances: int) -> None:
    predictions = Path(result["run"]) / "predictions.parquet"
    if result["select"] != "last":
        common.out.print(f"chosen by {result['select']}: step {result['selected_step']} of {result['steps']}")
    if labelled == 0:
        common.out.print(
            f"{common.escape(result['tgt'])} has no labels of {result['task']}: nothing to score\n"
            f"{utterances} predictions (id, probability, label): {common.escape(predictions)}"
        )
        return
    from emodna.cli.scores import make_score_table

    title = f"{result['src']} -> {result['tgt']}, {result['task']}, {result['steps']} steps, seed {result['seed']}"
    scored = f"{labelled} utterances" if labelled == utterances else f"{labelled} labelled of {utterances} utterances"
    common.out.print(f"{common.escape(title)}; {scored}\n")
    common.out.print(make_score_table(result))
    common.out.print()
    if (said := _ORACLES.get(result.get("supervision", ""))) is not None:
        common.out.print(said)
    common.out.print(common.escape(result["run"]))


def _print_oracle(oracle: dict[str, Any]) -> None:
    """What the target's labels say of the snapshots, and that they had no say in the result."""
    if oracle["best"] is None:
        common.out.print("oracle (with the target's labels, for analysis only): the target has none")
        return
    from emodna.cli.scores import cells
    from emodna.model.metrics import SCORE_NAMES

    common.out.print("oracle (with the target's labels, for analysis only; the result above does not depend on it)")
    for which in ("best", "last"):
        row = oracle[which]
        scores = "  ".join(f"{name} {cell}" for name, cell in zip(SCORE_NAMES.values(), cells(row), strict=True))
        common.out.print(f"oracle {which}: step {row['step']}  {scores}")


def _print_methods(*, as_json: bool) -> None:
    """Print each method with its summary and reference; one that cannot be used, with the reason."""
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
    table.width = min(common.out.width, _WIDEST)
    for name, each in found.items():
        table.add_row(common.escape(name), "\n".join(map(common.escape, _paragraphs(each))))
    common.out.print(table)
    common.out.print(_MARKS, markup=False)


def _paragraphs(each: "MethodInfo | PluginError") -> Iterator[str]:
    if isinstance(each, PluginError):
        yield str(each).partition(": ")[2]
        return
    marks = ["(our reading)"] * each.our_reading + ["(oracle)"] * each.oracle + [f"[{word}]" for word in each.add]
    yield " ".join([each.summary, *marks])
    yield each.reference
    for package, version in each.package.items():
        yield f"of the package {package} {version}"


def main() -> None:
    """Entry point of `emodna-fit`."""
    common.run(fit, resumable="the same command with --resume goes on from the last checkpoint")
