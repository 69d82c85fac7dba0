"""emodna-prep: decode, label and transform corpora into feature stores."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource
from rich.progress import MofNCompleteColumn, TextColumn

from emodna.cli import common, sources
from emodna.cli.options import Command, FeatureSetOption, Seconds, cache_option, common_options, config_option
from emodna.cli.progress import Counter, count_progress
from emodna.pipeline.errors import EmodnaError, WorkerError

if TYPE_CHECKING:
    from emodna.pipeline.prepare import PrepareReport
    from emodna.pipeline.prepare.executors import ExecutorFactory
    from emodna.pipeline.prepare.extract import ExtractionResult

#: Option that names the corpora -> the options that go with it.
_GOES_WITH: Final = {
    "--corpus": ("--root", "--subset", "--download", "--accept-licence"),
    "--manifest": ("--root", "--name", "--segment"),
    "--folder": ("--name", "--segment"),
}
_JSON_KEYS: Final = (
    *("corpus", "store", "utterances", "reused", "extracted", "rejected"),
    *("audio_seconds", "wall_seconds"),
)


@click.command(cls=Command, environment="EMODNA_PREP")
@click.option(
    "--corpus",
    "names",
    multiple=True,
    metavar="NAME",
    help="A registered corpus, or `all` whose default root exists; repeatable.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Where the corpus lies, with one --corpus only.  [default: $EMODNA_DATA/<corpus>, else data/<corpus>]",
)
@click.option("--subset", help="Another selection of the corpus than the usual one; it gets a store of its own.")
@click.option("--download", is_flag=True, help="First get the corpus from its authors, if it is free to get.")
@click.option("--accept-licence", is_flag=True, help="With --download: accept the corpus's licence without a question.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Your own recordings: a CSV or Parquet table.")
@click.option("--folder", type=click.Path(path_type=Path), help="Your own recordings, unlabelled: all that lie here.")
@click.option("--name", help="Name of your own recordings.  [default: that of the table or folder]")
@click.option(
    "--segment",
    default="none",
    metavar="none|energy",
    help="energy: cut your own recordings into utterances where the voice pauses.",
)
@cache_option
@click.option("--feature-set", cls=FeatureSetOption, default="mfcc40", help="What to extract: {names}.")
@click.option("--channel", type=click.IntRange(min=0), default=0, help="Channel of each file to use, from 0.")
@click.option(
    "--fixed-samples",
    type=click.IntRange(min=2048),
    help="Crop or zero-pad each waveform to this length first, as the paper's authors do (96000).",
)
@click.option("--max-seconds", type=Seconds(), default=3600.0, help="Reject longer files.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that extract; where there is little to do, threads.  [default: the processor's cores]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE",
    help="Extract on a Dask cluster: the address of its scheduler, or the .json file that it wrote.",
)
@click.option("--rehash", is_flag=True, help="Trust neither times nor sizes: hash all audio and all shards again.")
@click.option("--no-wait", is_flag=True, help="Fail instead of waiting for another run on the same store.")
@click.option("--strict", is_flag=True, help="Exit 1 if any file was rejected.")
@config_option
@common_options
def prep(
    names: tuple[str, ...],
    root: Path | None,
    subset: str | None,
    download: bool,
    accept_licence: bool,
    manifest: Path | None,
    folder: Path | None,
    name: str | None,
    segment: str,
    cache: Path,
    feature_set: str,
    channel: int,
    fixed_samples: int | None,
    max_seconds: float,
    workers: int | None,
    scheduler: str | None,
    rehash: bool,
    no_wait: bool,
    strict: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Prepare corpora: read their labels, extract features, write feature stores.

    A second run extracts only what is new, and drops what is gone. A file that cannot be used is rejected with its
    reason, and the rest goes on.
    """
    if workers and scheduler:
        workers, scheduler = _nearer(workers, scheduler)
    one_of = {"--corpus": names, "--manifest": manifest, "--folder": folder}
    others = {
        "--root": root,
        "--subset": subset,
        "--download": download,
        "--accept-licence": accept_licence,
        "--name": name,
        "--segment": segment != "none",
    }
    _check_usage([option for option, value in one_of.items() if value], [key for key, value in others.items() if value])
    chosen = sources.own(manifest, folder, name, root) or sources.registered(names, subset, root, there=not download)
    from emodna.pipeline import features
    from emodna.pipeline.audio.segment import find_segmenter
    from emodna.pipeline.prepare import prepare
    from emodna.pipeline.prepare.extract import ExtractionConfig

    extraction = ExtractionConfig(
        features.make_feature_set(feature_set, channel=channel, fixed_samples=fixed_samples),
        max_seconds,
        find_segmenter(segment),
    )
    reports, failed = [], False
    with _executor_start(workers, scheduler) as start:
        for corpus, where in chosen:
            try:
                if download:
                    from emodna.cli.download import downloaded

                    where = downloaded(corpus, where, accepted=accept_licence)
                with count_progress(corpus.name, MofNCompleteColumn(), TextColumn("{task.fields[tally]}")) as counter:
                    watcher = _ProgressWatcher(counter)
                    report = prepare(
                        corpus, where, cache, extraction, watcher, workers=start, rehash=rehash, wait=not no_wait
                    )
            except EmodnaError as error:  # of one corpus; the others go on
                common.print_error(error)
                failed = True
                if isinstance(error, WorkerError):
                    break
                continue
            _print_notes(report, verbose=verbose)
            reports.append(report)
            if not as_json:
                _print_summary(report)
    if as_json and reports:
        common.print_json([{key: getattr(report, key) for key in _JSON_KEYS} for report in reports])
    refused = [f"{report.corpus} {report.rejected}" for report in reports if strict and report.rejected]
    if refused:
        common.print_error(EmodnaError(f"--strict: files rejected: {', '.join(refused)}; emodna-cache show names them"))
    return int(failed or bool(refused))


class _ProgressWatcher:
    """Count recordings, seconds of audio and rejections."""

    def __init__(self, counter: Counter) -> None:
        self._counter, self._began = counter, time.monotonic()
        self._done = self._rejected = 0
        self._seconds = 0.0

    def on_wait(self, store: Path) -> None:
        common.note(f"waiting for another emodna-prep on {common.escape(store)}")

    def on_plan(self, recordings: int) -> None:
        self._counter.begin(recordings)

    def on_batch(self, results: "Sequence[ExtractionResult]") -> None:
        self._done += len(results)
        self._rejected += sum(result.rejection is not None for result in results)
        self._seconds += sum(info.duration for result in results for info in result.utterances)
        rate = self._seconds / max(time.monotonic() - self._began, 1e-3)
        hours = f"{self._seconds / 3600:.2f} h of audio"
        self._counter.reach(self._done, f"{hours}, {rate:.0f} x real time, {self._rejected} rejected")


def _nearer(workers: int, scheduler: str) -> tuple[int | None, str | None]:
    """Return the one of two options that is set nearer to the user: command line, then environment, then file."""
    order = [ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP]
    source = click.get_current_context().get_parameter_source
    first, second = (order.index(each) for each in map(source, ("workers", "scheduler")) if each is not None)
    if first == second:
        raise click.UsageError("--workers and --scheduler exclude each other: a cluster's workers are started with it")
    return (workers, None) if first < second else (None, scheduler)


def _executor_start(workers: int | None, scheduler: str | None) -> "AbstractContextManager[ExecutorFactory]":
    """Return the start of workers on this machine, or connect to a cluster."""
    if scheduler is None:
        from emodna.pipeline.prepare.executors import make_local_factory

        return nullcontext(make_local_factory(workers or common.count_cores()))
    from emodna.pipeline.prepare.cluster import connect_cluster

    return connect_cluster(scheduler, notify=lambda line: common.note(common.escape(line)))


def _check_usage(meant: list[str], others: list[str]) -> None:
    """Refuse options that do not go together."""
    if len(meant) > 1:
        raise click.UsageError(f"{' and '.join(meant)} exclude each other")
    if not meant:
        from emodna.pipeline import corpora

        valid = ", ".join(corpora.list_corpus_names())
        raise click.UsageError(f"--corpus is missing; valid: {valid}, all; or --manifest, or --folder")
    for other in others:
        if other not in _GOES_WITH[meant[0]]:
            fitting = " or ".join(option for option, with_it in _GOES_WITH.items() if other in with_it)
            raise click.UsageError(f"{other} goes with {fitting}, not with {meant[0]}")
    if "--accept-licence" in others and "--download" not in others:
        raise click.UsageError("--accept-licence goes with --download only")


def _print_notes(report: "PrepareReport", *, verbose: bool) -> None:
    """Print on standard error what a user should know but a script should not have to parse."""
    for warning in report.warnings:
        common.note(f"[yellow]warning:[/yellow] {report.corpus}: {common.escape(warning)}")
    for reason, count in report.skipped.items():
        common.note(f"{report.corpus}: {count} files left out: {common.escape(reason)}")
    shown = report.rejections if verbose else report.rejections[:5]
    for path, reason in shown:
        common.note(f"[yellow]rejected:[/yellow] {common.escape(path)}: {common.escape(reason)}")
    if len(shown) < len(report.rejections):
        common.note(f"... and {len(report.rejections) - len(shown)} more (-v names them all)")


def _print_summary(report: "PrepareReport") -> None:
    parts = [
        f"[bold]{report.corpus}[/bold]: {report.utterances} utterances ({report.audio_seconds / 3600:.2f} h)",
        f"{report.extracted} extracted, {report.reused} reused, {report.rejected} rejected",
        f"{report.wall_seconds:.1f} s",
    ]
    common.out.print("; ".join(parts) + f"\n{common.escape(report.store)}")


def main() -> None:
    """Entry point of `emodna-prep`."""
    common.run(prep, resumable="the same command goes on from here")
