"""emodna-runs show: one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.model.metrics import SCORE_NAMES

if TYPE_CHECKING:
    from emodna.model.runs.data import RunData
    from emodna.model.runs.listing import Run

#: Lines and columns of the learning curve, and columns of each term's.
_HEIGHT: Final = 6
_WIDTH: Final = 72
_TERM: Final = 30


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@common.common_options
def show(run: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show a run: its settings, data, versions, scores beside the constants', learning curves, and files."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.model.runs.data import corpora, trained_on
    from emodna.model.runs.listing import open_run

    found = open_run(run)
    data = [trained_on(found, corpus) for corpus in corpora(found)]
    if as_json:
        common.print_json(_json(found, data))
    else:
        _print(found, data)


def _json(run: "Run", data: "list[RunData]") -> dict[str, Any]:
    from emodna.cli.runs.words import as_json
    from emodna.model.runs.listing import curves, files, not_default

    return {
        **as_json(run),
        "constant": run.constants,
        "not_default": {
            key: {"value": value, "default": default} for key, (value, default) in not_default(run).items()
        },
        "config": run.config,
        "data": [
            {"corpus": each.corpus, "store": each.path, "fingerprint": each.fingerprint, "state": each.state}
            for each in data
        ],
        "curves": {
            name: {"step": [step for step, _ in points], "value": [value for _, value in points]}
            for name, points in curves(run).items()
        },
        "files": [{"name": name, "bytes": status.st_size} for name, status in files(run.folder).items()],
    }


def _print(run: "Run", data: "list[RunData]") -> None:
    from emodna.cli.runs import words
    from emodna.model.runs.listing import files

    common.out.print(f"[bold]{common.safe(run.folder.path)}[/bold]")
    facts = {
        "state": str(words.state(run)) + (f": {run.problem}" if run.problem else ""),
        **{key: words.value(value) for key, value in run.asked.items() if key != "steps"},
        "supervision": words.value(run.supervision),
        **_settings(run),
        **{f"data: {each.corpus}": _data(each) for each in data},
        "versions": _joined(run.config.get("versions")),
        "last written": f"{words.age(run)} ago",
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        common.out.print(f"{common.safe(name):{width}}  {common.safe(fact)}")
    if run.state == "done":
        _print_scores(run)
    _print_curves(run)
    for name, status in files(run.folder).items():
        common.out.print(f"{status.st_size / 1e6:9.3f} MB  {common.safe(name)}")


def _settings(run: "Run") -> dict[str, str]:
    """Those that are not the defaults first, one by one; the others in a line."""
    from emodna.cli.runs.words import value
    from emodna.model.runs.listing import flat, not_default

    changed = not_default(run)
    mine = {
        key: found
        for part in ("train", "method_config")
        if isinstance(run.decisive.get(part), dict)
        for key, found in flat(run.decisive[part], f"{part}.").items()
    }
    machine = {key: run.decisive.get(key) for key in ("device", "threads")}
    settings = {_short(key): f"{value(now)} (default {value(default)})" for key, (now, default) in changed.items()}
    rest = [f"{_short(key)} {value(found)}" for key, found in mine.items() if key not in changed]
    return {
        **{f"set: {key}": said for key, said in settings.items()},
        "by default" if "defaults" in run.config else "settings": ", ".join(rest) or "-",
        "machine": ", ".join(f"{key} {value(found)}" for key, found in machine.items() if found is not None) or "-",
    }


def _short(key: str) -> str:
    """A setting as `--set` calls it."""
    return key.partition(".")[2]


def _joined(found: object) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items()) if isinstance(found, dict) else "-"


def _data(data: "RunData") -> str:
    said = {
        "same": "as the run found it",
        "changed": "has changed since the run",
        "gone": "no longer there",
        "damaged": "damaged",
        "not known": "the configuration does not say which",
    }[data.state]
    if data.path is None or data.fingerprint is None:
        return said
    return f"{data.path}, fingerprint {data.fingerprint:.12}: {said}"


def _print_scores(run: "Run") -> None:
    from emodna.cli.runs import words
    from emodna.cli.runs.table import Column, print_table

    if run.scores["uar"] is None:
        common.out.print(f"{common.safe(run.asked['tgt'])} has no labels of {run.asked['task']}: no scores")
        return
    rows = {str(run.label): run.scores}
    rows |= {name.replace("_", " "): scores for name, scores in run.constants.items()}
    names = [words.safe_text(name) for name in rows]
    columns = [
        Column(heading, [words.score(scores[key]) for scores in rows.values()], right=True)
        for key, heading in SCORE_NAMES.items()
    ]
    print_table([Column("percent", names), *columns])


def _print_curves(run: "Run") -> None:
    """The whole objective as a chart, and a line for each term and for what the method monitors."""
    from rich.text import Text

    from emodna.cli.charts import curve, sparkline
    from emodna.cli.runs import words
    from emodna.cli.runs.table import Column, print_table
    from emodna.model.runs.listing import curves

    found = curves(run)
    if not found:
        common.out.print("no line of metrics.jsonl yet")
        return
    poor = common.out.options.ascii_only
    main = "total" if "total" in found else next(iter(found))
    values = [value for _, value in found[main]]
    labels = [f"{max(values):.3g}", *[""] * (_HEIGHT - 2), f"{min(values):.3g}"]
    margin = max(map(len, labels))
    room = min(max(common.out.width - margin - 2, 10), _WIDTH)
    wide = [value for value in values for _ in range(max(room // len(values), 1))]
    for label, line in zip(labels, curve(wide, room, _HEIGHT, ascii_only=poor), strict=True):
        common.out.print(Text(f"{label:>{margin}} ").append(line, style="cyan"))
    steps = [step for step, _ in found[main]]
    common.out.print(Text(f"{'':{margin}} {main}, steps {steps[0]} to {steps[-1]}"))
    points = list(found.values())
    print_table(
        [
            Column("logged", [words.safe_text(name) for name in found]),
            Column("curve", [Text(sparkline([v for _, v in p], _TERM, ascii_only=poor), "cyan") for p in points], 2),
            Column("first", [Text(f"{p[0][1]:.4g}") for p in points], 1, right=True),
            Column("last", [Text(f"{p[-1][1]:.4g}") for p in points], right=True),
        ]
    )
