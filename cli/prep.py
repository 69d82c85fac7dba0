"""Define `emodna-prep`, which prepares corpora as feature stores."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click
from click.core import ParameterSource
from rich.progress import MofNCompleteColumn, TextColumn

from emodna.cli import common, sources
from emodna.cli.options import (
    FILE,
    PATH,
    TEXT_PATH,
    Command,
    Decibels,
    FeatureSetOption,
    Seconds,
    cache_option,
    common_options,
    config_option,
    ffmpeg_option,
    resolve_workers,
)
from emodna.cli.progress import ProgressCounter, count_progress
from emodna.cli.wording import in_cache, word_reason
from emodna.pipeline.errors import EmodnaError, WorkerError, format_count
from emodna.pipeline.left_out import make_left_out_error

if TYPE_CHECKING:
    from emodna.pipeline.prepare import PrepareReport
    from emodna.pipeline.prepare.embeddings import EmbeddingFile
    from emodna.pipeline.prepare.executors import ExecutorFactory
    from emodna.pipeline.prepare.extract import ExtractionResult

#: Option that selects corpora -> options that it allows.
_COMPANIONS: Final = {
    "--corpus": ("--root", "--subset", "--download", "--accept-licence"),
    "--manifest": ("--root", "--name", "--segment"),
    "--folder": ("--name", "--segment"),
}
#: Options that imported features exclude.
_EXTRACTION: Final = ("feature_set", "encoder", "layer", "fixed_samples", "trim", "bandwidth", "segment")
_KEYS: Final = (
    *("corpus", "store", "utterances", "reused", "extracted", "rejected"),
    *("audio_seconds", "silence_seconds", "wall_seconds"),
)


@click.command(
    cls=Command,
    environment="EMODNA_PREP",
    groups={
        "Data": "names root subset download accept_licence manifest folder name segment channel bandwidth ffmpeg "
        "max_seconds rehash cache",
        "Feature": "feature_set encoder layer list_encoders trim fixed_samples features_from",
        "Worker": "workers scheduler no_wait",
        "Output": "strict",
    },
    examples=("emodna-prep --corpus ravdess --download", "emodna-prep --folder ~/calls --segment energy"),
)
@click.option("--corpus", "names", multiple=True, metavar="NAME", help="Corpus of emodna-corpora, or all; repeatable.")
@click.option(
    "--root", type=PATH, help="Folder, ZIP or tar of the corpus.  [default: $EMODNA_DATA/<corpus>, else data/<corpus>]"
)
@click.option("--subset", metavar="NAME", help="Subset of the corpus; it gets its own store.")
@click.option("--download", is_flag=True, help="Download the corpus first, if it is public.")
@click.option("--accept-licence", is_flag=True, help="Accept the licence of the corpus to download.")
@click.option("--manifest", type=PATH, help="Own recordings: a CSV or Parquet table.")
@click.option("--folder", type=PATH, help="Own unlabelled recordings: a folder, ZIP or tar.")
@click.option("--name", metavar="NAME", help="Corpus name of own recordings.  [default: from the path]")
@click.option("--segment", default="none", metavar="none|energy", help="energy: split own recordings at pauses.")
@cache_option
@click.option("--feature-set", cls=FeatureSetOption, default="mfcc40", metavar="NAME", help="One of {names}.")
@click.option("--encoder", metavar="NAME|PATH", help="For encoder: a name, ONNX file, folder or REPOSITORY@COMMIT.")
@click.option("--layer", metavar="L[,L...]", help="Its hidden states.  [default: as measured, else 2/3 of its depth]")
@click.option("--list-encoders", is_flag=True, help="List known encoders and the corpora they have seen, and exit.")
@click.option("--channel", type=click.IntRange(min=0), default=0, help="Channel of the audio, from 0.")
@click.option("--bandwidth", type=int, metavar="HZ", help="Remove higher frequencies (phone: 4000).")
@ffmpeg_option
@click.option(
    "--trim", type=Decibels(), metavar="DB|none", help="Cut silence at both ends (encoder: 30, others: none)."
)
@click.option("--fixed-samples", type=click.IntRange(min=2048), help="Crop or pad waveforms (authors: 96000, mfcc39).")
@click.option("--features-from", type=FILE, help="Import embeddings by utterance id: .npz or .parquet.")
@click.option("--max-seconds", type=Seconds(), default=3600.0, help="Reject recordings longer than this, in s.")
@click.option("--workers", type=click.IntRange(min=1), show_default="all cores", help="Number of local processes.")
@click.option("--scheduler", type=TEXT_PATH, metavar="ADDRESS|FILE", help="Use the Dask cluster of this scheduler.")
@click.option("--rehash", is_flag=True, help="Read all files again, also unchanged ones.")
@click.option("--no-wait", is_flag=True, help="Fail if another process is writing the store.")
@click.option("--strict", is_flag=True, help="The exit code is 1 if a recording is rejected. The store is written.")
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
    encoder: str | None,
    layer: str | None,
    list_encoders: bool,
    channel: int,
    bandwidth: int | None,
    ffmpeg: bool,
    trim: float | str | None,
    fixed_samples: int | None,
    features_from: Path | None,
    max_seconds: float,
    workers: int | None,
    scheduler: str | None,
    rehash: bool,
    no_wait: bool,
    strict: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Prepare corpora: read labels, extract features and write feature stores.

    --corpus all prepares every corpus whose default root exists. If the store exists, only new and changed recordings
    are extracted, and deleted ones are dropped. Unusable files are rejected with a reason; the others are prepared.
    """
    if list_encoders:
        from emodna.cli.encoders import print_encoders

        print_encoders(as_json=as_json)
        return 0
    if workers and scheduler:
        workers, scheduler = resolve_workers(workers, scheduler)
    selectors = {"--corpus": names, "--manifest": manifest, "--folder": folder}
    companions = {
        "--root": root,
        "--subset": subset,
        "--download": download,
        "--accept-licence": accept_licence,
        "--name": name,
        "--segment": segment != "none",
    }
    _check_usage(*([option for option, value in each.items() if value] for each in (selectors, companions)))
    for field, path in () if download else (("root", root), ("folder", folder)):
        if path is not None and not path.exists():
            raise EmodnaError("not found", field=field, value=path, remedy="give a folder, a ZIP or a tar file")
    from emodna.pipeline import features
    from emodna.pipeline.audio.segment import find_segmenter
    from emodna.pipeline.catalogue import resolve_folder_name
    from emodna.pipeline.prepare import prepare
    from emodna.pipeline.prepare.extract import ExtractionConfig

    embeddings = None if features_from is None else _open_embeddings(features_from)
    if embeddings is None:
        trim_db: float | Literal["default"] | None = (
            "default" if trim is None else None if isinstance(trim, str) else trim
        )
        chosen = features.make_feature_set(
            feature_set, fixed_samples=fixed_samples, trim_db=trim_db, encoder=encoder, layer=layer
        )
    else:
        chosen = embeddings.features
    if chosen.licence is not None:
        common.note(f"licence of {common.escape(chosen.title)}: {common.escape(chosen.licence)}")
    if isinstance(chosen, features.EncoderSet) and (warning := features.describe_assumptions(chosen)) is not None:
        common.print_warning(warning)
    extraction = ExtractionConfig(chosen, max_seconds, find_segmenter(segment), channel, bandwidth, ffmpeg=ffmpeg)
    suffix = extraction.provenance.suffix
    selected = sources.find_own(manifest, folder, name, root, suffix)
    selected = selected or sources.find_registered(names, subset, root, suffix, must_exist=not download)
    if click.get_current_context().get_parameter_source("channel") is not ParameterSource.DEFAULT:
        for corpus, _root in selected:
            if corpus.info.channels:
                common.note(f"{corpus.name}: channels of the files: {common.escape(corpus.info.channels)}")
    reports, failed = [], False
    with _open_executor(workers, scheduler) as start:
        for corpus, path in selected:
            try:
                if download:
                    from emodna.cli.download import download_corpus

                    path = download_corpus(corpus, path, accept_licence=accept_licence)
                with count_progress(corpus.name, MofNCompleteColumn(), TextColumn("{task.fields[tally]}")) as counter:
                    display = PrepareDisplay(counter)
                    report = prepare(
                        corpus,
                        path,
                        cache,
                        extraction,
                        display,
                        workers=start,
                        rehash=rehash,
                        wait=not no_wait,
                        embeddings=embeddings,
                    )
            except EmodnaError as error:  # continue with the other corpora
                common.print_error(error)
                failed = True
                if isinstance(error, WorkerError):
                    break
                continue
            _print_notes(report, is_table=manifest is not None, verbose=verbose)
            reports.append(report)
            if not as_json:
                _print_summary(report)
    if as_json and reports:
        common.print_json([{key: getattr(report, key) for key in _KEYS} for report in reports])
    refused = [report for report in reports if strict and report.rejected]
    for report in refused:
        default = report.store.name == resolve_folder_name(None)
        store = f"{report.corpus}{'' if default else f'/{report.store.name}'}{in_cache(cache)}"
        problem = f"{format_count(report.rejected, 'file')} of {report.corpus} rejected"
        common.print_error(EmodnaError(problem, field="strict", remedy=f"list them: emodna-cache show {store}"))
    return int(failed or bool(refused))


class PrepareDisplay:
    """A progress display of recordings, hours of audio and rejections."""

    def __init__(self, counter: ProgressCounter) -> None:
        self._counter, self._began = counter, time.monotonic()
        self._done, self._rejected, self._seconds = 0, 0, 0.0

    def on_wait(self, store: Path) -> None:
        """Print that another process writes the store."""
        common.note(f"waiting: another emodna-prep is writing {common.escape(store)}")

    def on_plan(self, recordings: int) -> None:
        """Set the number of recordings."""
        self._counter.begin(recordings)

    def on_batch(self, results: "Sequence[ExtractionResult]") -> None:
        """Add the results of a batch of recordings."""
        self._done += len(results)
        self._rejected += sum(len(result.rejections) for result in results)
        self._seconds += sum(info.duration for result in results for info in result.utterances)
        rate = self._seconds / max(time.monotonic() - self._began, 1e-3)
        audio = f"{self._seconds / 3600:.2f} h of audio, {rate:.0f} x real time"
        self._counter.reach(self._done, f"{audio}, {self._rejected} rejected")


def _open_embeddings(path: Path) -> "EmbeddingFile":
    """Read a file of embeddings. Raise a UsageError if an option is given that would compute features."""
    context = click.get_current_context()
    for name in _EXTRACTION:
        if context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT):
            raise click.UsageError(f"--features-from and --{name.replace('_', '-')} exclude each other")
    from emodna.pipeline.prepare.embeddings import EmbeddingFile

    return EmbeddingFile(path)


def _open_executor(workers: int | None, scheduler: str | None) -> "AbstractContextManager[ExecutorFactory]":
    if scheduler is None:
        from emodna.pipeline.prepare.executors import make_local_factory

        return nullcontext(make_local_factory(workers or common.count_cores()))
    from emodna.pipeline.prepare.cluster import connect_cluster

    return connect_cluster(scheduler, notify=lambda line: common.note(common.escape(line)))


def _check_usage(selectors: list[str], companions: list[str]) -> None:
    if len(selectors) > 1:
        raise click.UsageError(f"{' and '.join(selectors)} exclude each other")
    if not selectors:
        from emodna.pipeline import corpora

        valid = ", ".join(corpora.list_corpus_names())
        raise click.UsageError(f"choose --corpus, --manifest or --folder; valid corpora: {valid}, all")
    for companion in companions:
        if companion not in _COMPANIONS[selectors[0]]:
            valid = " or ".join(selector for selector, allowed in _COMPANIONS.items() if companion in allowed)
            raise click.UsageError(f"{companion} needs {valid}, not {selectors[0]}")
    if "--accept-licence" in companions and "--download" not in companions:
        raise click.UsageError("--accept-licence needs --download")


def _print_notes(report: "PrepareReport", *, is_table: bool, verbose: bool) -> None:
    for warning in report.warnings:
        common.note(f"[yellow]warning:[/yellow] {report.corpus}: {common.escape(warning)}")
    for reason, count in report.skipped.items():
        # A table has rows, and its archive may have links.
        number = count if is_table else format_count(count, "file")
        common.note(f"{report.corpus}: {number} skipped: {common.escape(reason)}")
    if report.left_out:
        common.print_warning(make_left_out_error(report.left_out, report.corpus))
    for name, lines in (("warning", report.remarks), ("rejected", report.rejections)):
        for path, reason in lines[: None if verbose else 5]:
            common.note(f"[yellow]{name}:[/yellow] {common.escape(path)}: {common.escape(word_reason(reason))}")
        if not verbose and len(lines) > 5:
            common.note(f"... and {len(lines) - 5} more (-v lists all)")


def _print_summary(report: "PrepareReport") -> None:
    size = f"{format_count(report.utterances, 'utterance')} ({report.audio_seconds / 3600:.2f} h)"
    audio = f"[bold]{report.corpus}[/bold]: {size}"
    if report.silence_seconds is not None:
        audio += f", {100 * report.silence_seconds / report.audio_seconds:.0f} % of it silence that was cut"
    counts = f"{report.extracted} extracted, {report.reused} reused, {report.rejected} rejected"
    common.out.print(f"{audio}; {counts}; {report.wall_seconds:.1f} s\n{common.escape(report.store)}")


def main() -> None:
    """Entry point of `emodna-prep`."""
    common.run(prep, resumable="run the same command again to continue")
