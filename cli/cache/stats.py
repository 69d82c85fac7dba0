"""emodna-cache stats: what a careful researcher looks at before training."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, Seconds, cache_option, common_options
from emodna.cli.progress import count_progress
from emodna.pipeline.emotions import CLASS_NAMES

#: Ids that a line names; all of them are in the JSON.
_EXAMPLES: Final = 3
#: Share of one class from which on a balance is to be looked at, and of its shares for women and men.
_LOPSIDED: Final = 0.75
_UNEVEN: Final = 0.2


@click.command(cls=Command)
@click.argument("store")
@click.option("--window", type=Seconds(), default=4.4, help="Length in s of the training window.")
@click.option("--audio", is_flag=True, help="Also read the audio again: clipping, offset, digital silence at the ends.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Where the audio lies now: a folder, a ZIP or a tar.  [default: where it was prepared]",
)
@cache_option
@common_options
def stats(store: str, window: float, audio: bool, root: Path | None, cache: Path, as_json: bool) -> None:
    """Balance, speakers, durations, levels, and what should be looked at.

    Named are silent and flat recordings, what was cut off in frequency, sample rates that are the exception, outliers,
    and recordings that are there twice: equal, or altered in level, format or length. The store alone cannot tell
    whether samples were clipped: --audio does. docs/STATISTICS.md has the rules.
    """
    if root is not None and not audio:
        raise click.UsageError("--root goes with --audio")
    from emodna.pipeline.inspect.report import statistics

    opened = common.open_store(cache, store)
    if audio:
        from emodna.pipeline.inspect.anomalies import waveforms

        with count_progress("reading audio") as counter:
            told = counter.begin(len(opened.columns(["path"])["path"].unique()))
            document = statistics(opened, window=window, waveforms=waveforms(opened, root, lambda: told(1)))
    else:
        document = statistics(opened, window=window)
    if as_json:
        common.print_json(document)
    else:
        _print(document)


def _print(document: Mapping[str, Any]) -> None:
    """Print what should be looked at first, then the figures."""
    speakers, durations = document["speakers"], document["durations"]
    without = f", {speakers['without']} utterances of nobody known" if speakers["without"] else ""
    common.out.print(
        f"[bold]{common.escape(document['corpus'])}[/bold]  {common.escape(document['feature_set'])}  "
        f"{document['utterances']} utterances, {document['rejected']} rejected, {durations['total'] / 3600:.2f} h, "
        f"{speakers['known']} speakers{without}"
    )
    findings = list(_findings(document))
    common.out.print("\n[bold]Look at these[/bold]" if findings else "\nNothing stands out.")
    for finding in findings:
        common.out.print(f"  {finding}")
    if document["audio"] is None:
        common.out.print("  [dim](clipping, offset and silence at the ends: with --audio)[/dim]")
    _print_labels(document["labels"])
    facts = {
        "emotions": _counted(document["emotions"]),
        "gender": _counted(document["gender"]),
        "languages": _counted(document["language"]),
        "per speaker": _spread(speakers["utterances"], "utterances", digits=0),
        "durations": f"{_spread(durations, 's')}; mean {durations['mean']:.2f} s",
        "window": f"{durations['longer']} utterances are longer than {durations['window']:g} s: "
        f"{100 * durations['cut_share']:.1f} % of the audio is cut; {100 * durations['padding_share']:.1f} % of the "
        "windows is padding",
        "sample rates": _counted(document["sample_rate"], " Hz"),
        "channels": _counted(document["channels"]),
        "peaks": _spread(document["peak_db"], "dB", digits=1),
        "silence": _spread(document["silent_share"], "of the frames at the floor"),
        "features": _values(document["features"]),
    }
    common.print_fields(facts)


def _findings(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each kind of thing that should be looked at, as markup."""
    copies, audio = document["duplicates"], document["audio"] or {}

    def each(found: Sequence[Mapping[str, Any]], text: str) -> list[str]:
        return [text.format_map(entry) for entry in found]

    limited = [{**entry, "khz": entry["hz"] / 1000} for entry in document["band_limited"]]
    offset = [{**entry, "percent": 100 * entry["mean"]} for entry in audio.get("offset", [])]
    twice = "recordings that are there more than once"
    for says, found in (
        (f"{twice}: byte for byte the same", [_group(group) for group in copies["audio"]]),
        (f"{twice}: the same features from other files", [_group(group) for group in copies["features"]]),
        (f"{twice}: the same recording, altered", [_group(group) for group in copies["altered"]]),
        ("all samples zero", document["silent"]),
        ("one level from beginning to end (a tone, a hum)", document["flat"]),
        (
            "hold less than their sample rate promises (resampled or compressed)",
            each(limited, "{id} (nothing above {khz:g} kHz)"),
        ),
        ("clipped", each(audio.get("clipped", []), "{id} ({samples} samples)")),
        ("not about zero (offset of full scale)", each(offset, "{id} ({percent:+.1f} %)")),
        (
            "begin or end in digital silence",
            each(audio.get("zeros", []), "{id} ({before:.2f} s, {behind:.2f} s)"),
        ),
        ("whose audio could not be judged", each(audio.get("unusable", []), "{id} ({reason})")),
        (
            "outliers (robust z-score of 6 and more)",
            each(document["outliers"], "{id} ({figure} {value:.4g}, z {z:+.1f})"),
        ),
        ("sample rates that are the exception", document["other_sample_rate"]),
        ("numbers of channels that are the exception", document["other_channels"]),
    ):
        if count := len(found):
            more = f" ... and {count - _EXAMPLES} more" if count > _EXAMPLES else ""
            yield f"[yellow]{count:5}[/yellow]  {says}: {common.escape('; '.join(found[:_EXAMPLES]))}{more}"
    for task, balance in document["labels"].items():
        yield from _imbalance(task, balance)


def _group(group: Mapping[str, Any]) -> str:
    """Name the ids of one recording, with the columns that should not differ."""
    ids = group["ids"]
    text = " = ".join(ids[:_EXAMPLES]) + (f" = {len(ids) - _EXAMPLES} more" if len(ids) > _EXAMPLES else "")
    notes = [f"{group['similarity']:.3f}"] * (group["similarity"] < 1)
    notes += [f"they differ in {', '.join(group['differ'])}"] * bool(group["differ"])
    return f"{text} ({', '.join(notes)})" if notes else text


def _imbalance(task: str, balance: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for labels that an answer can be guessed from."""
    share = balance["share"]
    if share is None:
        return
    if max(share, 1 - share) >= _LOPSIDED:
        yield f"[yellow]{100 * max(share, 1 - share):4.0f}%[/yellow]  {task}: of one class"
    known = {name: each["share"] for name, each in balance["by_gender"].items() if each["share"] is not None}
    if {"f", "m"} <= set(known) and abs(known["f"] - known["m"]) >= _UNEVEN:
        yield (
            f"[yellow]{100 * abs(known['f'] - known['m']):4.0f}%[/yellow]  {task}: difference between women and men in "
            f"the share of {CLASS_NAMES[task][1]}: {100 * known['f']:.0f} % and {100 * known['m']:.0f} %"
        )


def _print_labels(labels: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("task", no_wrap=True)
    for heading in ("low, neg.", "high, pos.", "none", "% high", "of f", "of m", "of a speaker"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, balance in labels.items():
        gender, spread = balance["by_gender"], balance["share_over_speakers"]
        table.add_row(
            task,
            *(str(balance[key]) for key in ("0", "1", "unlabelled")),
            *(_percent(share) for share in (balance["share"], *(gender.get(each, {}).get("share") for each in "fm"))),
            f"{_percent(spread['min'])} to {_percent(spread['max'])}" if spread else "-",
        )
    common.out.print()
    common.out.print(table)
    common.out.print()


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _counted(counts: Mapping[str, int], unit: str = "") -> str:
    """Count each value, the most frequent first; of many only these."""
    shown = [f"{count} {value}{unit}" for value, count in list(counts.items())[:12]]
    return ", ".join([*shown, *[f"{len(counts) - 12} more kinds"] * (len(counts) > 12)])


def _spread(quartiles: Mapping[str, float] | None, unit: str, *, digits: int = 2) -> str:
    if quartiles is None:
        return "-"
    low, q1, median, q3, high = (f"{quartiles[key]:.{digits}f}" for key in ("min", "q1", "median", "q3", "max"))
    return f"{low} to {high} {unit}, half of them {q1} to {q3}, median {median}"


def _values(features: Mapping[str, Any]) -> str:
    """Show mean and deviation of the first values of a frame."""
    pairs = list(zip(features["mean"], features["std"], strict=True))
    shown = ", ".join(f"{mean:.4g} \u00b1 {std:.4g}" for mean, std in pairs[:5])
    rest = f" ... ({len(pairs)} in all: --json, or emodna-cache plot)" if len(pairs) > 5 else ""
    name = features["value"] if len(pairs) == 1 else f"{features['value']} 0 to {min(len(pairs), 5) - 1}"
    return f"{name}: {shown}{' ' + features['unit'] if features['unit'] else ''}{rest}"
