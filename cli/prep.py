"""emodna-prep: decode, label and transform corpora into feature stores."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus
    from emodna.pipeline.prepare import Report


@common.environment("EMODNA_PREP")
@click.command(context_settings=common.CONTEXT)
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
@click.option("--download", is_flag=True, help="First get the corpus from its authors, if it is free to get.")
@click.option("--accept-licence", is_flag=True, help="With --download: accept the corpus's licence without a question.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Your own recordings: a CSV or Parquet table.")
@click.option("--name", help="Name of the manifest's corpus.  [default: the table's file name]")
@common.cache_option
@click.option("--feature-set", default="mfcc40", help="What to extract.")
@click.option("--channel", type=click.IntRange(min=0), default=0, help="Channel of each file to use, from 0.")
@click.option(
    "--fixed-samples",
    type=click.IntRange(min=2048),
    help="Crop or zero-pad each waveform to this length first, as the paper's authors do (96000).",
)
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), default=3600.0, help="Reject longer files.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads that extract.  [default: the processor's cores]")
@click.option("--rehash", is_flag=True, help="Trust neither times nor sizes: hash all audio and all shards again.")
@click.option("--no-wait", is_flag=True, help="Fail instead of waiting for another run on the same store.")
@click.option("--strict", is_flag=True, help="Exit 1 if any file was rejected.")
@common.config_option
@common.common_options
def prep(
    names: tuple[str, ...],
    root: Path | None,
    download: bool,
    accept_licence: bool,
    manifest: Path | None,
    name: str | None,
    cache: Path,
    feature_set: str,
    channel: int,
    fixed_samples: int | None,
    max_seconds: float,
    workers: int | None,
    rehash: bool,
    no_wait: bool,
    strict: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Prepare corpora: read their labels, extract features, write feature stores.

    A second run extracts only what is new, and drops what is gone. A file that cannot be used is rejected with its
    reason, and the rest goes on.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if download and (not names or "all" in names):
        raise click.UsageError("--download goes with a --corpus by name")
    sources = _sources(names, root, manifest, name, there=not download)
    from emodna.cli.prep_progress import watching
    from emodna.pipeline import features
    from emodna.pipeline.errors import EmodnaError
    from emodna.pipeline.prepare import prepare

    chosen = features.feature_set(feature_set, channel=channel, fixed_samples=fixed_samples)
    reports, failed = [], False
    for corpus, where in sources:
        try:
            if download:
                from emodna.cli.download import downloaded

                where = downloaded(corpus, where, accepted=accept_licence, quiet=quiet)
            with watching(corpus.name, quiet=quiet) as watcher:
                report = prepare(
                    corpus,
                    where,
                    cache,
                    chosen,
                    watcher,
                    workers=workers or common.cores(),
                    max_seconds=max_seconds,
                    rehash=rehash,
                    wait=not no_wait,
                )
        except EmodnaError as error:  # of one corpus; the others go on
            common.print_error(error)
            failed = True
            continue
        _tell(report, verbose=verbose)
        reports.append(report)
        if not as_json:
            common.out.print(_summary(report))
    if as_json and reports:
        common.print_json([_json(report) for report in reports])
    return int(failed or (strict and any(report.rejected for report in reports)))


def _sources(
    names: tuple[str, ...], root: Path | None, manifest: Path | None, name: str | None, *, there: bool
) -> "list[tuple[Corpus, Path]]":
    """The corpora to prepare, each with its root; `there`: which has to exist, if it is the default one."""
    from emodna.pipeline import corpora
    from emodna.pipeline.corpora.manifest import Manifest, default_name
    from emodna.pipeline.errors import EmodnaError, PluginError
    from emodna.pipeline.roots import data_root, default_root

    if manifest is not None:
        if names:
            raise click.UsageError("--manifest and --corpus exclude each other")
        name = default_name(manifest) if name is None else name
        if name in corpora.names():
            raise EmodnaError(f"--name {name}: taken by a registered corpus; choose another")
        return [(Manifest(manifest, name), manifest.parent if root is None else root)]
    if name is not None:
        raise click.UsageError("--name goes with --manifest")
    if not names:
        raise click.UsageError(f"--corpus is missing; valid: {', '.join(corpora.names())}, all; or --manifest")
    every = "all" in names
    if every:
        if len(names) > 1 or root is not None:
            raise click.UsageError("--corpus all goes with no other --corpus and no --root")
        roots = {each: default_root(each) for each in corpora.names()}
        absent = [f"{each} ({where})" for each, where in roots.items() if not where.exists()]
        if absent:
            common.note(f"not found: {common.safe(', '.join(absent))}")
        names = tuple(each for each, where in roots.items() if where.exists())
        if not names:
            raise EmodnaError(f"--corpus all: no corpus has its default root below {data_root()}")
    if root is not None and len(names) > 1:
        raise click.UsageError("--root goes with one --corpus only")
    sources = []
    for each in dict.fromkeys(names):
        try:
            corpus = corpora.corpus(each)
        except PluginError as error:
            if not every:
                raise
            common.note(f"[yellow]warning:[/yellow] left out: {common.safe(error)}")
            continue
        where = default_root(each) if root is None else root
        if there and root is None and not where.exists():
            hint = " (or let --download get it)" if corpus.facts.download is not None else ""
            raise EmodnaError(f"{each}: no folder {where}; say where the corpus lies by --root or $EMODNA_DATA{hint}")
        sources.append((corpus, where))
    return sources


def _tell(report: "Report", *, verbose: bool) -> None:
    """What a user should know but a script should not have to parse."""
    for warning in report.warnings:
        common.note(f"[yellow]warning:[/yellow] {report.corpus}: {common.safe(warning)}")
    for reason, count in report.skipped.items():
        common.note(f"{report.corpus}: {count} files left out: {common.safe(reason)}")
    shown = report.rejections if verbose else report.rejections[:5]
    for path, reason in shown:
        common.note(f"[yellow]rejected:[/yellow] {common.safe(path)}: {common.safe(reason)}")
    if len(shown) < len(report.rejections):
        common.note(f"... and {len(report.rejections) - len(shown)} more (-v names them all)")


def _summary(report: "Report") -> str:
    hours = report.audio_seconds / 3600
    parts = [
        f"[bold]{report.corpus}[/bold]: {report.utterances} utterances ({hours:.2f} h)",
        f"{report.extracted} extracted, {report.reused} reused, {report.rejected} rejected",
        f"{report.wall_seconds:.1f} s",
    ]
    return "; ".join(parts) + f"\n{common.safe(report.store)}"


def _json(report: "Report") -> dict[str, object]:
    return {
        "corpus": report.corpus,
        "store": str(report.store),
        "utterances": report.utterances,
        "reused": report.reused,
        "extracted": report.extracted,
        "rejected": report.rejected,
        "audio_seconds": report.audio_seconds,
        "wall_seconds": report.wall_seconds,
    }


def main() -> None:
    """Entry point of `emodna-prep`."""
    common.run(prep, interrupted="the same command goes on from here")
