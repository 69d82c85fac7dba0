"""The command emodna-runs show: show one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from emodna.cli import common
from emodna.cli.options import PATH, Command, common_options
from emodna.cli.runs import table
from emodna.cli.runs.table import Column, format_value, make_text, print_table
from emodna.model.config import DEFAULT_STEPS
from emodna.model.runs import listing
from emodna.model.runs.listing import Run, TrainingStore

#: Lines and columns of the chart, and columns of each term's curve.
_HEIGHT: Final = 6
_WIDTH: Final = 72
_TERM_WIDTH: Final = 30


_STATES: Final = {
    "same": "unchanged since the run",
    "changed": "has changed since the run",
    "gone": "not found",
    "not known": "not in the configuration",
}


@click.command(cls=Command, examples=("emodna-runs show runs/first", "emodna-runs show runs/first --json"))
@click.argument("run", type=PATH)
@common_options
def show(run: Path, as_json: bool) -> None:
    """Show one run in full.

    Prints settings, data, versions, scores next to those of constant predictors, learning curves, and files.
    """
    found = listing.open_run(run)
    data = [listing.find_training_store(found, corpus) for corpus in found.corpora]
    if as_json:
        common.print_json(_make_document(found, data))
    else:
        _print_run(found, data)


def _make_document(run: Run, data: Sequence[TrainingStore]) -> dict[str, Any]:
    return {
        **table.describe_run(run),
        "constant": run.constants,
        "not_default": {
            key: {"value": now, "default": default}
            for key, (now, default) in listing.find_changed_settings(run).items()
        },
        "config": run.config,
        "data": [
            {"corpus": each.corpus, "store": each.path, "fingerprint": each.fingerprint, "state": each.state}
            for each in data
        ],
        "curves": {
            name: {"step": [step for step, _ in points], "value": [height for _, height in points]}
            for name, points in listing.read_curves(run).items()
        },
        "files": [{"name": name, "bytes": status.st_size} for name, status in listing.list_files(run.folder).items()],
    }


def _print_run(run: Run, data: Sequence[TrainingStore]) -> None:
    common.out.print(f"[bold]{common.escape(run.folder.path)}[/bold]")
    values = {
        "state": table.format_state(run),
        **({} if run.problem is None else {"problem": run.problem}),
        **{key: format_value(each) for key, each in run.identity.items() if key != "steps"},
        **({} if run.classes is None else {"classes": ", ".join(run.classes)}),
        "label": format_value(run.marked_label),
        "supervision": format_value(run.supervision),
        **_describe_exposure(run),
        **_describe_settings(run),
        **{f"data: {each.corpus}": _describe_data(each) for each in data},
        "versions": ", ".join(f"{key} {each}" for key, each in run.config.get("versions", {}).items()) or "-",
        "last written": f"{table.format_age(run)} ago",
    }
    common.print_fields(values)
    if run.state == "done":
        _print_scores(run)
    _print_curves(listing.read_curves(run))
    for name, status in listing.list_files(run.folder).items():
        common.out.print(f"{status.st_size / 1e6:9.3f} MB  {common.escape(name)}")


def _describe_exposure(run: Run) -> dict[str, str]:
    """Return the exposure of each corpus in one text; nothing if the training of the features contained none."""
    texts = [f"{corpus} {exposure}" for corpus, exposure in run.exposure.items()]
    return {"exposure": ", ".join(texts)} if set(run.exposure.values()) - {"no"} else {}


def _describe_settings(run: Run) -> dict[str, str]:
    """Return a text for each changed setting, and one for all others."""
    changed = listing.find_changed_settings(run)
    usual = run.config.get("defaults", {}).get("steps", DEFAULT_STEPS)  # missing in earlier versions
    if (steps := run.identity["steps"]) not in (None, usual):
        changed["train.steps"] = (steps, usual)
    used = listing.flatten({part: run.decisive.get(part, {}) for part in ("train", "method_config")})
    machine = {key: run.decisive.get(key) for key in ("device", "threads")}
    unused = run.config.get("unused_settings", ())  # missing in earlier versions
    rest = [
        f"{name} {format_value(value)}"
        for key, value in used.items()
        if key not in changed and (name := key.partition(".")[2]) not in unused
    ]
    texts = {
        f"set: {key.partition('.')[2]}": f"{format_value(value)} (default {format_value(default)})"
        for key, (value, default) in changed.items()
    }
    texts["by default" if "defaults" in run.config else "settings"] = ", ".join(rest) or "-"
    shown = [f"{key} {format_value(value)}" for key, value in machine.items() if value is not None]
    return {**texts, "machine": ", ".join(shown) or "-"}


def _describe_data(data: TrainingStore) -> str:
    state = _STATES.get(data.state, data.state)
    if data.path is None or data.fingerprint is None:
        return state
    return f"{data.path}, fingerprint {data.fingerprint:.12}: {state}"


def _print_scores(run: Run) -> None:
    if run.scores["uar"] is None:
        common.out.print(f"{common.escape(run.identity['tgt'])} has no {run.identity['task']} labels: no scores")
        return
    from emodna.cli.scores import make_score_table

    names = {"label": run.label, "task": run.identity["task"], "classes": run.classes}
    result = {**names, **run.scores, "constant": run.constants}
    common.out.print(make_score_table(result, run.target_exposure))


def _print_curves(logged: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Print the total loss as a chart, and a line for each loss term and monitored quantity."""
    from emodna.cli.charts import draw_curve, draw_sparkline

    if not logged:
        common.out.print("metrics.jsonl has no line yet")
        return
    ascii_only = common.out.options.ascii_only
    main = "total" if "total" in logged else next(iter(logged))
    steps, values = zip(*logged[main], strict=True)
    labels = [f"{max(values):.3g}", *[""] * (_HEIGHT - 2), f"{min(values):.3g}"]
    margin = max(map(len, labels))
    room = min(max(common.out.width - margin - 2, 10), _WIDTH)
    wide = [each for each in values for _ in range(max(room // len(values), 1))]
    for label, line in zip(labels, draw_curve(wide, room, _HEIGHT, ascii_only=ascii_only), strict=True):
        common.out.print(Text(f"{label:>{margin}} ").append(line, style="cyan"))
    common.out.print(Text(f"{'':{margin}} {main}, steps {steps[0]} to {steps[-1]}"))
    heights = [[height for _, height in points] for points in logged.values()]
    curves = [Text(draw_sparkline(each, _TERM_WIDTH, ascii_only=ascii_only), "cyan") for each in heights]
    print_table(
        [
            Column("logged", [make_text(name) for name in logged]),
            Column("curve", curves, 2),
            Column("first", [Text(f"{each[0]:.4g}") for each in heights], 1, right=True),
            Column("last", [Text(f"{each[-1]:.4g}") for each in heights], right=True),
        ]
    )
