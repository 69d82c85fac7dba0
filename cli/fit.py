"""emodna-fit: adapt an emotion model from a labelled corpus to an unlabelled one."""

from pathlib import Path
from typing import Any

import click

from emodna.cli import common


def _list_methods(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the methods and stop."""
    if not wanted:
        return
    from emodna.model.methods import METHODS

    for kind in METHODS.values():
        common.out.print(f"{kind.name:14} {kind.reference}")
    context.exit()


@common.environment("EMODNA_FIT")
@click.command(context_settings=common.CONTEXT)
@click.option("--src", "sources", required=True, multiple=True, metavar="CORPUS", help="Labelled source corpus.")
@click.option(
    "--tgt", "target", required=True, metavar="CORPUS", help="Target corpus; its labels only score the result."
)
@click.option("--task", type=click.Choice(["arousal", "valence"]), default="arousal", help="What to recognise.")
@click.option("--method", default="emo-dna", metavar="NAME", help="See --list-methods.")
@click.option("--steps", type=click.IntRange(min=1), default=1000, help="Training steps.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Decides everything that is random.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.  [default: torch's own]")
@click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N.")
@common.cache_option
@click.option("--feature-set", help="Registered name, or the full folder name of a store.  [default: mfcc40]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder.  [default: runs/<src>-<tgt>-<task>-<method>-s<seed>-<hash>]",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; starts one where there is none.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A constant of the training; repeatable.")
@click.option(
    "--list-methods",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods, with their references.",
)
@common.config_option
@common.common_options
def fit(
    sources: tuple[str, ...],
    target: str,
    task: str,
    method: str,
    steps: int,
    seed: int,
    threads: int | None,
    device: str,
    cache: Path,
    feature_set: str | None,
    out: Path | None,
    resume: bool,
    settings: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train on a labelled corpus and an unlabelled one, and print the result beside the constant answers."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    parsed = _parse_settings(settings)
    from emodna.cli.fit_progress import watching
    from emodna.model.errors import ConfigError
    from emodna.model.fit import FitRequest
    from emodna.model.fit import fit as run_fit
    from emodna.pipeline.catalogue import find_store
    from emodna.pipeline.store import FeatureStore

    if len(sources) > 1:
        raise ConfigError(f"--src {' --src '.join(sources)}: one source corpus at a time for now")
    (source,) = sources
    if source == target:
        raise ConfigError(f"--tgt {target}: the same corpus as --src; give another")
    paths = [find_store(cache, corpus, feature_set) for corpus in (source, target)]
    request = FitRequest(
        source=FeatureStore(paths[0]),
        target=FeatureStore(paths[1]),
        task=task,  # type: ignore[arg-type]
        method=method,
        steps=steps,
        seed=seed,
        device=common.torch_device(device),
        threads=threads,
        settings=parsed,
        out=out,
        resume=resume,
    )
    with watching(f"{source} -> {target}, {task}, {method}", steps, quiet=quiet) as watcher:
        result = run_fit(request, watcher)
    if as_json:
        common.print_json(result)
    else:
        _print(result)


def _parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """Key -> value as text; those of the command line win over those of --config."""
    parsed: dict[str, str] = dict(click.get_current_context().meta.get(common.CONFIG_SETTINGS, {}))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.BadParameter(f"{setting!r} is not of the form key=value", param_hint="--set")
        parsed[key.strip()] = value.strip()
    return parsed


def _print(result: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    title = f"{result['src']} -> {result['tgt']}, {result['task']}, {result['steps']} steps, seed {result['seed']}"
    table = Table(title=common.safe(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("percent")
    names = {"uar": "UAR", "war": "WAR", "f1": "F1", "macro_f1": "macro-F1"}
    for name in names.values():
        table.add_column(name, justify="right")
    rows = {result["method"]: result} | {name.replace("_", " "): row for name, row in result["constant"].items()}
    for name, row in rows.items():
        cells = ["-" if row[key] is None else f"{row[key]:.1f}" for key in names]
        table.add_row(common.safe(name), *cells, style="bold" if row is result else "")
    common.out.print(table)
    if result["uar"] is None:
        common.out.print("the target has no labels: nothing to score; the predictions are in the run's folder")
    common.out.print(common.safe(result["run"]))


def main() -> None:
    """Entry point of `emodna-fit`."""
    common.run(fit, interrupted="the same command with --resume goes on from the last checkpoint")
