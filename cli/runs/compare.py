"""emodna-runs compare: runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import click

from emodna.cli import common
from emodna.model.metrics import SCORE_NAMES

if TYPE_CHECKING:
    from emodna.model.runs.compare import OverSeeds, Paired
    from emodna.model.runs.listing import Run


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@common.common_options
def compare(runs: tuple[Path, ...], as_json: bool, quiet: bool, verbose: bool) -> None:
    """Compare runs: scores, settings that differ, means over seeds, and each pair's predictions.

    Two runs on the same utterances are compared by an exact McNemar test of those that only one of them calls right.
    It takes utterances as independent, and is not corrected for the number of pairs.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if len(runs) < 2:
        raise click.UsageError("give two runs at least")
    from emodna.model.runs.compare import differing, over_seeds, paired
    from emodna.model.runs.listing import open_run

    found = [open_run(run) for run in runs]
    differs, seeds, pairs = differing(found), over_seeds(found), paired(found)
    if as_json:
        common.print_json(_json(found, differs, seeds, pairs))
        return
    _print_scores(found)
    _print_differences(found, differs)
    _print_seeds(seeds)
    _print_pairs(pairs)


def _json(
    runs: "Sequence[Run]",
    differs: Mapping[str, list[Any]],
    seeds: "Sequence[OverSeeds]",
    pairs: "Mapping[tuple[int, int], Paired | str]",
) -> dict[str, Any]:
    from emodna.cli.runs.words import as_json

    rows = [as_json(run) for run in runs]
    paths = [row["run"] for row in rows]
    return {
        "runs": rows,
        "differs": differs,
        "seeds": [
            {"runs": [paths[place] for place in each.runs], "mean": each.mean, "std": each.std} for each in seeds
        ],
        "pairs": [{"a": paths[a], "b": paths[b], **_pair_json(each)} for (a, b), each in pairs.items()],
    }


def _pair_json(pair: "Paired | str") -> dict[str, Any]:
    keys = {
        "utterances": "utterances",
        "agreement": "agreement",
        "labelled": "labelled",
        "only_a": "only_first",
        "only_b": "only_second",
        "p": "p",
    }
    known = not isinstance(pair, str)
    values = {key: getattr(pair, name) if known else None for key, name in keys.items()}
    return {**values, "problem": None if known else pair}


def _name(place: int) -> str:
    """A, B, ..., Z, A1, B1, ..."""
    turn, letter = divmod(place, len(ascii_uppercase))
    return f"{ascii_uppercase[letter]}{turn or ''}"


def _print_scores(runs: "Sequence[Run]") -> None:
    from rich.text import Text

    from emodna.cli.runs import words
    from emodna.cli.runs.table import Column, print_table

    for place, run in enumerate(runs):
        common.out.print(f"[bold]{_name(place)}[/bold]  {common.safe(run.folder.path)}")
        if run.problem is not None:
            common.out.print(f"   [red]damaged:[/red] {common.safe(run.problem)}")
    scores = [
        Column(heading, [words.score(run.scores[key], run.best_constant[key]) for run in runs], right=True)
        for key, heading in SCORE_NAMES.items()
    ]
    print_table(
        [
            Column("", [Text(_name(place), "bold") for place in range(len(runs))]),
            Column("src -> tgt", [words.pair(run) for run in runs], 2),
            Column("method", [words.method(run) for run in runs]),
            Column("state", [words.state(run) for run in runs], 1),
            *scores,
            Column("best constants", [Text(words.scores(run.best_constant)) for run in runs], 3, right=True),
        ]
    )


def _print_differences(runs: "Sequence[Run]", differs: Mapping[str, list[Any]]) -> None:
    from emodna.cli.runs import words
    from emodna.cli.runs.table import Column, print_table

    if not differs:
        common.out.print("the same configuration\n")
        return
    columns = [
        Column(_name(place), [words.safe_text(words.value(values[place])) for values in differs.values()], folds=True)
        for place in range(len(runs))
    ]
    print_table([Column("differs", [words.safe_text(key) for key in differs], folds=True), *columns])


def _print_seeds(seeds: "Sequence[OverSeeds]") -> None:
    from rich.text import Text

    from emodna.cli.runs.table import Column, print_table

    if not seeds:
        return
    scores = [
        Column(heading, [Text(f"{each.mean[key]:.1f} \u00b1 {each.std[key]:.1f}") for each in seeds], right=True)
        for key, heading in SCORE_NAMES.items()
    ]
    print_table([Column("over seeds", [Text(", ".join(map(_name, each.runs))) for each in seeds], folds=True), *scores])


def _print_pairs(pairs: "Mapping[tuple[int, int], Paired | str]") -> None:
    from rich.text import Text

    from emodna.cli.runs.table import Column, print_table

    known = {places: each for places, each in pairs.items() if not isinstance(each, str)}
    if known:
        rows = known.values()
        print_table(
            [
                Column("pair", [Text(" ".join(map(_name, places))) for places in known]),
                Column("utterances", [Text(str(each.utterances)) for each in rows], 1, right=True),
                Column("agree %", [Text(f"{each.agreement:.1f}") for each in rows], right=True),
                Column("only 1st right", [_count(each.only_first) for each in rows], right=True),
                Column("only 2nd right", [_count(each.only_second) for each in rows], right=True),
                Column("McNemar p", [Text("-" if each.p is None else f"{each.p:.3g}") for each in rows], right=True),
            ]
        )
    if any(each.p is None for each in known.values()):
        common.note("no test where the target's store is gone or has changed: it has the labels")
    for places, each in pairs.items():
        if isinstance(each, str):
            common.out.print(f"{' '.join(map(_name, places))}  {common.safe(each)}")


def _count(value: int | None) -> "Any":
    from rich.text import Text

    return Text("-" if value is None else str(value))
