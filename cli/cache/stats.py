"""Define `emodna-cache stats`, which prints statistics and anomalies of a store."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from emodna.cli import common
from emodna.cli.options import PATH, Command, Seconds, cache_option, common_options
from emodna.cli.progress import count_progress
from emodna.pipeline.audio.provenance import AudioProvenance
from emodna.pipeline.errors import format_count
from emodna.pipeline.tasks import CLASS_NAMES

#: Number of ids to print on a line; the JSON lists all.
_MAX_EXAMPLES: Final = 3
#: Largest number of values of a frame whose means are listed.
_MAX_VALUES: Final = 128
#: Least range of the peaks of a corpus, in dB, that is printed.
_MIN_RANGE_DB: Final = 0.1
#: Least share of one class, and least difference of the share between women and men, to report as an anomaly.
_LOPSIDED_SHARE: Final = 0.75
_UNEVEN_DIFFERENCE: Final = 0.2


@click.command(
    cls=Command,
    groups={"Data": "audio root window cache"},
    examples=("emodna-cache stats ravdess", "emodna-cache stats calls --audio"),
)
@click.argument("store")
@click.option("--window", type=Seconds(), default=4.4, help="Length of a training window in s.")
@click.option("--audio", is_flag=True, help="Also search the audio for clipping, DC offset and silence.")
@click.option("--root", type=PATH, help="Folder, ZIP or tar of the audio.  [default: the root in the store]")
@cache_option
@common_options
def stats(store: str, window: float, audio: bool, root: Path | None, cache: Path, as_json: bool) -> None:
    """Print label balance, durations, levels and anomalies of a store.

    Anomalies are silent and flat recordings, missing frequency bands, rare sample rates, outliers, and duplicates
    (equal recordings, or copies altered in level, format or length). docs/STATISTICS.md lists the rules.
    """
    if root is not None and not audio:
        raise click.UsageError("--root needs --audio")
    from emodna.pipeline.inspect.report import compute_statistics

    opened = common.open_store(cache, store)
    if audio:
        from emodna.pipeline.inspect.anomalies import measure_waveforms

        with count_progress("reading audio") as counter:
            advance = counter.begin(len(opened.columns(["path"])["path"].unique()))
            waveforms = measure_waveforms(opened, root, lambda: advance(1))
            document = compute_statistics(opened, window=window, waveforms=waveforms)
    else:
        document = compute_statistics(opened, window=window)
    if as_json:
        common.print_json(document)
        return
    from emodna.model.feature_defaults import find_feature_defaults

    reads_windows = find_feature_defaults(document["feature_set"]).window_seconds is None
    source = click.get_current_context().get_parameter_source("window")
    _print_report(document, has_window=reads_windows or source is not ParameterSource.DEFAULT)


def _print_report(document: Mapping[str, Any], *, has_window: bool) -> None:
    """Print the document; the row of the window only if it is asked for, or the default network reads windows."""
    speakers, durations = document["speakers"], document["durations"]
    without = f", {format_count(speakers['without'], 'utterance')} without speaker" * bool(speakers["without"])
    provenance = AudioProvenance.read(document)
    audio = f"{provenance}, " if provenance != AudioProvenance() else ""
    common.out.print(
        f"[bold]{common.escape(document['corpus'])}[/bold]  {common.escape(document['feature_set'])}  {audio}"
        f"{format_count(document['utterances'], 'utterance')}, {document['rejected']} rejected, "
        f"{durations['total'] / 3600:.2f} h, {format_count(speakers['known'], 'speaker')}{without}"
    )
    findings = list(_list_findings(document))
    common.out.print("\n[bold]Anomalies[/bold]" if findings else "\nNo anomalies.")
    for finding in findings:
        common.out.print(f"  {finding}")
    if document["flat"] is None:
        needed = "which these features do not have: prepare mfcc40, logmel or wave16k, too"
        common.out.print(f"  [dim](flat recordings and altered copies are found by the spectrum, {needed})[/dim]")
    if document["audio"] is None:
        common.out.print("  [dim](--audio reads the audio for clipping, DC offset and silence at the ends)[/dim]")
    _print_labels(document["labels"])
    longer = format_count(durations["longer"], "utterance")
    cut = f"{100 * durations['cut_share']:.1f} % of the audio is cut off"
    padding = f"{100 * durations['padding_share']:.1f} % of the windows is padding"
    silence = durations["silence_share"]
    without = "" if silence is None else f"; {100 * silence:.0f} % is silence at the ends, which was cut"
    rows = {
        "emotions": _format_counts(document["emotions"]),
        "gender": _format_counts(document["gender"]),
        "languages": _format_counts(document["language"]),
        "per speaker": _format_quartiles(speakers["utterances"], "utterances", digits=0),
        "durations": f"{_format_quartiles(durations, 's')}; mean {durations['mean']:.2f} s{without}",
        "window": f"{longer} longer than {durations['window']:g} s; {cut}, {padding}",
        "sample rates": _format_counts(document["sample_rate"], " Hz"),
        "channels": _format_counts(document["channels"]),
        "peaks": _format_quartiles(document["peak_db"], "dB", digits=1),
        "levels": _format_quartiles(document["quality"]["level_db"], "dB relative to full scale", digits=1),
        "bandwidths": _format_quartiles(document["quality"]["bandwidth"], "Hz", digits=0),
        "silence": _format_quartiles(document["silent_share"], "of the frames"),
        "features": _format_features(document["features"]),
    }
    peaks = document["peak_db"]
    if not has_window:
        del rows["window"]
    if peaks is not None and peaks["max"] - peaks["min"] < _MIN_RANGE_DB:  # recordings were scaled to one peak
        del rows["peaks"]
    common.print_fields(rows)


def _list_findings(document: Mapping[str, Any]) -> Iterator[str]:
    copies, audio = document["duplicates"], document["audio"] or {}

    def format_all(entries: Sequence[Mapping[str, Any]], text: str) -> list[str]:
        return [text.format_map(entry) for entry in entries]

    limited = [{**entry, "khz": entry["hz"] / 1000} for entry in document["band_limited"]]
    offset = [{**entry, "percent": 100 * entry["mean"]} for entry in audio.get("offset", [])]
    shares = [{**entry, "percent": 100 * entry["clipped"]} for entry in document["clipped"]]
    clipped = format_all(audio.get("clipped", []), "{id} ({samples} samples)")
    clipped = clipped or format_all(shares, "{id} ({percent:.2g} % of the samples)")
    zeros, outliers = audio.get("zeros", []), document["outliers"]
    for kind, found in (
        ("duplicates: equal files", [*map(_format_duplicates, copies["audio"])]),
        ("duplicates: equal features of different files", [*map(_format_duplicates, copies["features"])]),
        ("duplicates: altered copies", [*map(_format_duplicates, copies["altered"] or [])]),
        ("silent (all samples are zero)", document["silent"]),
        ("flat (constant level: a tone, a hum)", document["flat"] or []),
        ("band-limited (resampled or compressed)", format_all(limited, "{id} (nothing above {khz:g} kHz)")),
        ("far beyond full scale", format_all(document["overloaded"], "{id} (peak {peak:.6g}, full scale 1)")),
        ("below -70 dB", format_all(document["quiet"], "{id} ({level_db:.0f} dB)")),
        ("clipped", clipped),
        ("DC offset (mean in % of full scale)", format_all(offset, "{id} ({percent:+.1f} %)")),
        ("digital silence at the beginning or end", format_all(zeros, "{id} ({before:.2f} s, {behind:.2f} s)")),
        ("audio not readable", format_all(audio.get("unusable", []), "{id} ({reason})")),
        ("outliers (robust z-score of at least 6)", format_all(outliers, "{id} ({figure} {value:.4g}, z {z:+.1f})")),
        ("rare sample rates", document["other_sample_rate"]),
        ("rare numbers of channels", document["other_channels"]),
    ):
        if count := len(found):
            more = f" ... and {count - _MAX_EXAMPLES} more" if count > _MAX_EXAMPLES else ""
            yield f"[yellow]{count:5}[/yellow]  {kind}: {common.escape('; '.join(found[:_MAX_EXAMPLES]))}{more}"
    for task, balance in document["labels"].items():
        yield from _describe_imbalance(task, balance)


def _format_duplicates(group: Mapping[str, Any]) -> str:
    ids = group["ids"]
    text = " = ".join(ids[:_MAX_EXAMPLES]) + f" = {len(ids) - _MAX_EXAMPLES} more" * (len(ids) > _MAX_EXAMPLES)
    notes = [f"{group['similarity']:.3f}"] * (group["similarity"] < 1)
    notes += [f"they differ in {', '.join(group['differ'])}"] * bool(group["differ"])
    return f"{text} ({', '.join(notes)})" if notes else text


def _describe_imbalance(task: str, balance: Mapping[str, Any]) -> Iterator[str]:
    share = balance["share"]
    if share is None:
        return
    if max(share, 1 - share) >= _LOPSIDED_SHARE:
        yield f"[yellow]{100 * max(share, 1 - share):4.0f}%[/yellow]  {task}: in one class"
    f, m = (balance["by_gender"].get(gender, {}).get("share") for gender in "fm")
    if f is not None and m is not None and abs(f - m) >= _UNEVEN_DIFFERENCE:
        yield (
            f"[yellow]{100 * abs(f - m):4.0f}%[/yellow]  {task}: difference between genders in the share of "
            f"{CLASS_NAMES[task][1]} (f {100 * f:.0f} %, m {100 * m:.0f} %)"
        )


def _print_labels(labels: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("task", no_wrap=True)
    for heading in ("low, neg.", "high, pos.", "none", "% high", "of f", "of m", "of a speaker"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, balance in labels.items():
        counts = (str(balance[key]) for key in ("0", "1", "unlabelled"))
        shares = (balance["share"], *(balance["by_gender"].get(gender, {}).get("share") for gender in "fm"))
        spread = balance["share_over_speakers"]
        span = f"{_format_percent(spread['min'])} to {_format_percent(spread['max'])}" if spread else "-"
        table.add_row(task, *counts, *map(_format_percent, shares), span)
    common.out.print()
    common.out.print(table)
    common.out.print()


def _format_percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _format_counts(counts: Mapping[str, int], unit: str = "") -> str:
    texts = [f"{count} {value}{unit}" for value, count in list(counts.items())[:12]]
    return ", ".join([*texts, *[f"{len(counts) - 12} other values"] * (len(counts) > 12)])


def _format_quartiles(quartiles: Mapping[str, float] | None, unit: str, *, digits: int = 2) -> str:
    if quartiles is None:
        return "-"
    low, q1, median, q3, high = (f"{quartiles[key]:.{digits}f}" for key in ("min", "q1", "median", "q3", "max"))
    return f"{low} to {high} {unit}, quartiles {q1} to {q3}, median {median}"


def _format_features(features: Mapping[str, Any]) -> str:
    pairs = list(zip(features["mean"], features["std"], strict=True))
    if len(pairs) > _MAX_VALUES:
        low, high = min(features["mean"]), max(features["mean"])
        least, largest = min(features["std"]), max(features["std"])
        constant = features["std"].count(0.0)
        summary = f"{len(pairs)} values, means {low:.4g} to {high:.4g}, deviations {least:.4g} to {largest:.4g}"
        return summary + f", {constant} constant" * bool(constant) + " (all: --json)"
    names = [f"{name} " for name in features["names"]] or [""] * len(pairs)
    values = ", ".join(
        f"{name}{mean:.4g} \u00b1 {std:.4g}" for name, (mean, std) in zip(names[:5], pairs, strict=False)
    )
    rest = f" ... ({len(pairs)} in total: see --json or emodna-cache plot)" if len(pairs) > 5 else ""
    name = features["value"] if len(pairs) == 1 else f"{features['value']} 0 to {min(len(pairs), 5) - 1}"
    return f"{name}: {values}{' ' + features['unit'] if features['unit'] else ''}{rest}"
