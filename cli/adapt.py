"""The command emodna-adapt: adapt a trained run to an unlabelled corpus without its source data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common, options
from emodna.cli.options import FOLDER, Command, FeatureSetOption

if TYPE_CHECKING:
    from emodna.model.adaptation.run import AdaptPlan

#: Criteria that need no source; their module is slow to import.
_SELECTIONS: Final = ("last", "entropy", "information-maximisation", "snd", "pseudo-label-agreement")


@click.command(
    cls=Command,
    environment="EMODNA_ADAPT",
    groups={
        "Data": "target feature_set cache",
        "Training": "method settings steps seed select threads device list_methods",
        "Output": "out resume",
    },
    examples=(
        "emodna-adapt runs/first --tgt savee --method prior",
        "emodna-adapt runs/first --tgt savee --method shot --select information-maximisation --out runs/adapted",
    ),
)
@click.argument("run", type=FOLDER, required=False)
@click.option("--tgt", "target", metavar="CORPUS", help="Target corpus; its labels are read for scores only.")
@click.option("--method", default="shot", metavar="NAME", help="Method; see --list-methods.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps.  [default: 300; only for shot]")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of all random numbers.")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="CPU threads.")
@options.device_option
@options.cache_option
@click.option(
    "--feature-set", cls=FeatureSetOption, metavar="NAME", help="{names}, or a store's folder.  [default: the run's]"
)
@click.option("--out", type=FOLDER, help="Run folder.  [default: in runs, named after run, target and method]")
@click.option("--resume", is_flag=True, help="Continue the run in --out, or start it if there is none.")
@click.option("--select", type=click.Choice(_SELECTIONS), default="last", help="Model to keep, chosen without labels.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting; see docs/ADAPT.md. Repeatable.")
@click.option("--list-methods", is_flag=True, help="List the methods with their references, and exit.")
@options.config_option
@options.common_options
def adapt(
    run: Path | None,
    target: str | None,
    device: str,
    cache: Path,
    feature_set: str | None,
    settings: tuple[str, ...],
    list_methods: bool,
    as_json: bool,
    **fields: Any,  # of AdaptRequest
) -> None:
    """Adapt the model of a RUN to an unlabelled corpus, without the data of its source.

    RUN is a run folder. Reads the run and the store of the target only, and writes a new run folder, which predicts,
    evaluates and exports like any other. Prints the scores on the target, next to those of the run before and of
    constant predictors. docs/ADAPT.md describes the methods and what they did on real corpora.
    """
    if list_methods:
        _print_methods(as_json=as_json)
        return
    if run is None or target is None:
        raise click.UsageError("Missing argument 'RUN'." if run is None else "Missing option '--tgt'.")
    parsed = options.parse_settings(settings)
    from emodna.model.adaptation import get_adaptation
    from emodna.model.run_folder import RunFolder, read_json
    from emodna.pipeline.catalogue import find_stores
    from emodna.pipeline.store import FeatureStore

    kind = get_adaptation(fields["method"])
    if fields["out"] is not None:
        RunFolder(fields["out"]).check_free(resume=fields["resume"])
    from emodna.cli.fit_progress import show_progress
    from emodna.model.adaptation.run import AdaptRequest, execute_adaptation, resolve_adaptation
    from emodna.model.inference.trained_model import TrainedModel

    torch_device = common.resolve_device(device)
    chosen = feature_set or TrainedModel.load(run, torch_device).features.name
    (path,) = find_stores(cache, (target,), chosen)
    store = FeatureStore(path)
    common.detail(f"store {common.escape(store.path)}")
    request = AdaptRequest(run, store, device=torch_device, settings=parsed, **fields)
    plan = resolve_adaptation(request)
    title = f"{target}, {plan.base.model.task.name}, {plan.label}"
    steps = plan.steps if kind.default_steps else None
    with show_progress(title, steps, utterances=getattr(plan.adaptation_config, "batch_size", len(store))) as display:
        result = execute_adaptation(plan, display, common.stop_on_interrupt)
    if as_json:
        common.print_json(result)
    else:
        _print_result(result, plan, read_json(RunFolder(run).result))


def _print_result(result: dict[str, Any], plan: "AdaptPlan", earlier: dict[str, Any]) -> None:
    from emodna.cli.scores import count_scored, make_score_table
    from emodna.model.label import note_exposure, read_exposure
    from emodna.pipeline.encoders.exposure import name_trained_model

    values = {key: value for key, value in result["adaptation"].items() if isinstance(value, dict)}
    for name, shares in values.items():
        text = ", ".join(f"{each} {value:.3g}" for each, value in shares.items())
        common.out.print(common.escape(f"{name.replace('_', ' ')}: {text}"))
    if not result["scored"]:
        problem = f"{result['tgt']} has no {result['task']} labels: nothing to score"
        common.out.print(common.escape(problem))
    else:
        scored = count_scored(result["scored"], result["utterances"])
        common.out.print(common.escape(f"scores of {scored} of {result['tgt']}"))
        exposure = read_exposure(result, result["tgt"])
        common.out.print(make_score_table(result, exposure))
        if earlier.get("tgt") == result["tgt"] and earlier.get("uar") is not None:
            common.out.print(f"UAR of the run before: {earlier['uar']:.1f}")
        for line in note_exposure({result["tgt"]: exposure}, name_trained_model(plan.base.model.features)):
            common.out.print(common.escape(line))
    common.out.print(common.escape(result["run"]))


def _print_methods(*, as_json: bool) -> None:
    from emodna.model.adaptation import ADAPTATIONS, get_adaptation
    from emodna.model.config import as_settings

    kinds = [get_adaptation(name) for name in ADAPTATIONS]
    if as_json:
        common.print_json(
            [
                {
                    "method": each.name,
                    "summary": each.summary,
                    "reference": each.reference,
                    "settings": as_settings(each.defaults),
                }
                for each in kinds
            ]
        )
        return
    for each in kinds:
        common.out.print(common.escape(f"{each.name}: {each.summary}"))
        common.out.print(common.escape(f"  {each.reference}"))


def main() -> None:
    """Run `emodna-adapt`."""
    common.run(adapt, resumable="run the same command with --resume to continue from the last checkpoint")
