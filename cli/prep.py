"""emodna-prep: decode, label and transform corpora into feature stores."""

import os
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
@click.option("--subset", help="Another selection of the corpus than the usual one; it gets a store of its own.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Your own recordings: a CSV or Parquet table.")
@click.option("--folder", type=click.Path(path_type=Path), help="Your own recordings, unlabelled: all that lie here.")
@click.option("--name", help="Name of your own recordings.  [default: that of the table or folder]")
@click.option(
    "--segment",
    default="none",
    metavar="none|energy",
    help="energy: cut your own recordings into utterances where the voice pauses.",
)
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
    subset: str | None,
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
    if segment != "none" and names:
        raise click.UsageError("--segment goes with --manifest or --folder: a corpus's utterances are its files")
    sources = _sources(names, root, subset, manifest, folder, name)
    from emodna.cli.prep_progress import watching
    from emodna.pipeline import features
    from emodna.pipeline.errors import EmodnaError
    from emodna.pipeline.extract import Extraction
    from emodna.pipeline.prepare import prepare
    from emodna.pipeline.segment import segmenter

    extraction = Extraction(
        features.feature_set(feature_set, channel=channel, fixed_samples=fixed_samples),
        max_seconds,
        segmenter(segment),
    )
    reports, failed = [], False
    for corpus, where in sources:
        try:
            with watching(corpus.name, quiet=quiet) as watcher:
                report = prepare(
                    corpus,
                    where,
                    cache,
                    extraction,
                    watcher,
                    workers=workers or common.cores(),
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
    names: tuple[str, ...],
    root: Path | None,
    subset: str | None,
    manifest: Path | None,
    folder: Path | None,
    name: str | None,
) -> "list[tuple[Corpus, Path]]":
    """The corpora to prepare, each with its root."""
    from emodna.pipeline.corpora import CORPORA, corpus
    from emodna.pipeline.errors import EmodnaError

    own = [each for each in (manifest, folder) if each is not None]
    if own:
        if names or subset is not None or len(own) > 1:
            raise click.UsageError("--corpus (with --subset), --manifest and --folder exclude each other")
        return [_listed(own[0], name, root) if manifest is not None else _lying_in(own[0], name, root)]
    if name is not None:
        raise click.UsageError("--name goes with --manifest or --folder")
    if not names:
        raise click.UsageError(
            f"--corpus is missing; valid: {', '.join(sorted(CORPORA))}, all; or --manifest, --folder"
        )
    if "all" in names:
        if len(names) > 1 or root is not None:
            raise click.UsageError("--corpus all goes with no other --corpus and no --root")
        absent = [each for each in sorted(CORPORA) if not _default_root(each).is_dir()]
        if absent:
            common.note(f"not found: {', '.join(f'{each} ({_default_root(each)})' for each in absent)}")
        names = tuple(each for each in sorted(CORPORA) if each not in absent)
        if not names:
            raise EmodnaError(f"--corpus all: no corpus has its default root below {_data_root()}")
    if root is not None and len(names) > 1:
        raise click.UsageError("--root goes with one --corpus only")
    if subset is not None and len(names) > 1:
        raise click.UsageError("--subset goes with one --corpus only")
    sources = [(corpus(each, subset), _default_root(each) if root is None else root) for each in dict.fromkeys(names)]
    for each, where in sources:
        if root is None and not where.is_dir():
            raise EmodnaError(f"{each.name}: no folder {where}; say where the corpus lies by --root or $EMODNA_DATA")
    return sources


def _listed(table: Path, name: str | None, root: Path | None) -> "tuple[Corpus, Path]":
    """The recordings of a manifest, and where they lie."""
    from emodna.pipeline.corpora.manifest import Manifest

    return Manifest(table, _own_name(name, table)), table.parent if root is None else root


def _lying_in(folder: Path, name: str | None, root: Path | None) -> "tuple[Corpus, Path]":
    """The recordings of a folder, and the folder."""
    from emodna.pipeline.corpora.own import Recordings

    if root is not None:
        raise click.UsageError("--root goes with --corpus or --manifest: --folder says where its recordings lie")
    return Recordings(folder, _own_name(name, folder)), folder


def _own_name(name: str | None, place: Path) -> str:
    from emodna.pipeline.corpora import CORPORA
    from emodna.pipeline.corpora.own import default_name
    from emodna.pipeline.errors import EmodnaError

    name = default_name(place) if name is None else name
    if name in {*CORPORA, *(f"{each}-{subset}" for each, kind in CORPORA.items() for subset in kind.subsets)}:
        raise EmodnaError(f"--name {name}: taken by a registered corpus; choose another")
    return name


def _data_root() -> Path:
    return Path(os.environ.get("EMODNA_DATA", "data"))


def _default_root(corpus: str) -> Path:
    return _data_root() / corpus


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
