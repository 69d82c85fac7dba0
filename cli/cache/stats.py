"""emodna-cache stats: what a careful researcher looks at before training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.common import open_store

if TYPE_CHECKING:
    from emodna.pipeline.inspect.waveforms import Waveform
    from emodna.pipeline.store import FeatureStore

#: Ids that a line names; all of them are in the JSON.
_EXAMPLES: Final = 3
#: Share of one class from which on a balance is to be looked at, and of its shares for women and men.
_LOPSIDED: Final = 0.75
_UNEVEN: Final = 0.2


@click.command()
@click.argument("store")
@click.option("--window", type=common.Seconds(), default=4.4, help="Length in s of the training window.")
@click.option("--audio", is_flag=True, help="Also read the audio again: clipping, offset, digital silence at the ends.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Where the audio lies now: a folder, a ZIP or a tar.  [default: where it was prepared]",
)
@common.cache_option
@common.common_options
def stats(
    store: str, window: float, audio: bool, root: Path | None, cache: Path, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Balance, speakers, durations, levels, and what should be looked at.

    Named are silent and flat recordings, what was cut off in frequency, sample rates that are the exception, outliers,
    and recordings that are there twice: equal, or altered in level, format or length. The store alone cannot tell
    whether samples were clipped: --audio does. docs/STATISTICS.md has the rules.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if root is not None and not audio:
        raise click.UsageError("--root goes with --audio")
    from emodna.pipeline.inspect import statistics

    opened = open_store(cache, store)
    with _reading(opened, root, quiet=quiet, wanted=audio) as waveforms:
        document = statistics(opened, window=window, waveforms=waveforms)
    if as_json:
        common.print_json(document)
    else:
        _print(document)


@contextmanager
def _reading(
    store: "FeatureStore", root: Path | None, *, quiet: bool, wanted: bool
) -> "Iterator[Iterable[Waveform] | None]":
    """Waveforms, if they are wanted, and how many have been read."""
    if not wanted:
        yield None
        return
    from emodna.cli.cache.progress import counting
    from emodna.pipeline.inspect.waveforms import waveforms

    with counting("reading audio", quiet=quiet) as begin:
        told = begin(len(store.columns(["path"])["path"].unique()))
        yield waveforms(store, root, lambda: told(1))


def _print(document: Mapping[str, Any]) -> None:
    """What should be looked at first, then the figures."""
    speakers, durations = document["speakers"], document["durations"]
    common.out.print(
        f"[bold]{common.safe(document['corpus'])}[/bold]  {common.safe(document['feature_set'])}  "
        f"{document['utterances']} utterances, {document['rejected']} rejected, {durations['total'] / 3600:.2f} h, "
        f"{_speakers(speakers)}"
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
    width = max(map(len, facts))
    for name, value in facts.items():
        common.out.print(f"[bold]{name:{width}}[/bold]  {common.safe(value)}")


def _findings(document: Mapping[str, Any]) -> Iterator[str]:
    """A line for each kind of thing that should be looked at, as markup."""
    copies, audio = document["duplicates"], document["audio"] or {}
    for kind, says in (
        ("audio", "byte for byte the same"),
        ("features", "the same features from other files"),
        ("altered", "the same recording, altered"),
    ):
        groups = [_group(group) for group in copies[kind]]
        yield from _line(len(groups), f"recordings that are there more than once: {says}", groups)
    yield from _line(len(document["silent"]), "all samples zero", document["silent"])
    yield from _line(len(document["flat"]), "one level from beginning to end (a tone, a hum)", document["flat"])
    limited = [f"{each['id']} (nothing above {each['hz'] / 1000:g} kHz)" for each in document["band_limited"]]
    yield from _line(len(limited), "hold less than their sample rate promises (resampled or compressed)", limited)
    clipped = [f"{each['id']} ({each['samples']} samples)" for each in audio.get("clipped", [])]
    yield from _line(len(clipped), "clipped", clipped)
    offset = [f"{each['id']} ({100 * each['mean']:+.1f} %)" for each in audio.get("offset", [])]
    yield from _line(len(offset), "not about zero (offset of full scale)", offset)
    zeros = [f"{each['id']} ({each['before']:.2f} s, {each['behind']:.2f} s)" for each in audio.get("zeros", [])]
    yield from _line(len(zeros), "begin or end in digital silence", zeros)
    unusable = [f"{each['id']} ({each['reason']})" for each in audio.get("unusable", [])]
    yield from _line(len(unusable), "whose audio could not be judged", unusable)
    far = [f"{each['id']} ({each['figure']} {each['value']:.4g}, z {each['z']:+.1f})" for each in document["outliers"]]
    yield from _line(len(far), "outliers (robust z-score of 6 and more)", far)
    yield from _line(
        len(document["other_sample_rate"]), "sample rates that are the exception", document["other_sample_rate"]
    )
    yield from _line(
        len(document["other_channels"]), "numbers of channels that are the exception", document["other_channels"]
    )
    for task, balance in document["labels"].items():
        yield from _imbalance(task, balance)


def _line(count: int, says: str, examples: Sequence[str]) -> Iterator[str]:
    if count:
        more = f" ... and {count - _EXAMPLES} more" if count > _EXAMPLES else ""
        yield f"[yellow]{count:5}[/yellow]  {says}: {common.safe('; '.join(examples[:_EXAMPLES]))}{more}"


def _group(group: Mapping[str, Any]) -> str:
    """Ids of one recording, with what should not differ."""
    ids = group["ids"]
    text = " = ".join(ids[:_EXAMPLES]) + (f" = {len(ids) - _EXAMPLES} more" if len(ids) > _EXAMPLES else "")
    notes = [f"{group['similarity']:.3f}"] * (group["similarity"] < 1)
    notes += [f"they differ in {', '.join(group['differ'])}"] * bool(group["differ"])
    return f"{text} ({', '.join(notes)})" if notes else text


def _imbalance(task: str, balance: Mapping[str, Any]) -> Iterator[str]:
    """Labels that an answer can be guessed from."""
    share = balance["share"]
    if share is None:
        return
    if max(share, 1 - share) >= _LOPSIDED:
        yield f"[yellow]{100 * max(share, 1 - share):4.0f}%[/yellow]  {task}: of one class"
    known = {name: each["share"] for name, each in balance["by_gender"].items() if each["share"] is not None}
    if {"f", "m"} <= set(known) and abs(known["f"] - known["m"]) >= _UNEVEN:
        yield (
            f"[yellow]{100 * abs(known['f'] - known['m']):4.0f}%[/yellow]  {task}: difference between women and men in "
            f"the share of {_class(task)}: {100 * known['f']:.0f} % and {100 * known['m']:.0f} %"
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


def _class(task: str) -> str:
    """Name of a task's class 1."""
    from emodna.pipeline.emotions import CLASS_NAMES

    return CLASS_NAMES[task][1]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _speakers(speakers: Mapping[str, Any]) -> str:
    without = f", {speakers['without']} utterances of nobody known" if speakers["without"] else ""
    return f"{speakers['known']} speakers{without}"


def _counted(counts: Mapping[str, int], unit: str = "") -> str:
    """How often each value occurs, the most frequent first; of many only these."""
    shown = [f"{count} {value}{unit}" for value, count in list(counts.items())[:12]]
    return ", ".join([*shown, *[f"{len(counts) - 12} more kinds"] * (len(counts) > 12)])


def _spread(quartiles: Mapping[str, float] | None, unit: str, *, digits: int = 2) -> str:
    if quartiles is None:
        return "-"
    low, q1, median, q3, high = (f"{quartiles[key]:.{digits}f}" for key in ("min", "q1", "median", "q3", "max"))
    return f"{low} to {high} {unit}, half of them {q1} to {q3}, median {median}"


def _values(features: Mapping[str, Any]) -> str:
    """Mean and deviation of the first values of a frame."""
    pairs = list(zip(features["mean"], features["std"], strict=True))
    shown = ", ".join(f"{mean:.4g} \u00b1 {std:.4g}" for mean, std in pairs[:5])
    rest = f" ... ({len(pairs)} in all: --json, or emodna-cache plot)" if len(pairs) > 5 else ""
    name = features["value"] if len(pairs) == 1 else f"{features['value']} 0 to {min(len(pairs), 5) - 1}"
    return f"{name}: {shown}{' ' + features['unit'] if features['unit'] else ''}{rest}"
