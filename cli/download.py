"""Download a corpus for `emodna-prep --download`, after its licence is accepted."""

import re
import sys
from pathlib import Path

import click
from rich.progress import DownloadColumn, TransferSpeedColumn

from emodna.cli import common
from emodna.cli.progress import count_progress
from emodna.pipeline.archives import list_contents
from emodna.pipeline.corpora.base import Corpus
from emodna.pipeline.download import Download, fetch
from emodna.pipeline.errors import DownloadError, Remedy


def download_corpus(corpus: Corpus, root: Path, *, accept_licence: bool) -> Path:
    """Download a corpus into a folder; return the file, or `root` if it already contains the corpus.

    Without `accept_licence`, prompts on the terminal. Raises `DownloadError` if the corpus cannot be downloaded or its
    licence is not accepted.
    """
    info, download = corpus.info, corpus.info.download

    def print_note(line: str) -> None:
        common.note(f"{corpus.name}: {common.escape(line)}")

    if _has_other_files(root, download):
        print_note(f"{root} exists; nothing to download")
        return root
    if download is None:
        steps = re.split(r"(?<=\.)\s", info.obtain)[0].rstrip(".") or f"see {info.homepage or info.citation}"
        remedy = f"for details: emodna-corpora show {type(corpus).name}"
        raise DownloadError(f"not freely downloadable: {steps}", where=corpus.name, remedy=remedy)
    if not (root / download.file).exists():
        _print_terms(corpus, download, root)
        if not accept_licence:
            _ask_for_licence(corpus, download)
    with count_progress(corpus.name, DownloadColumn(), TransferSpeedColumn()) as counter:
        counter.begin(download.bytes)
        file = fetch(download, root, counter.reach, print_note, homepage=info.homepage)
    print_note(f"{file} has the published checksum ({download.checksum.partition(':')[0]})")
    return file


def _has_other_files(root: Path, download: Download | None) -> bool:
    """Return True if a root contains files other than the download."""
    downloaded = root / download.file if download else None
    return any(root / name != downloaded for name in list_contents(root)) if root.is_dir() else root.exists()


def _print_terms(corpus: Corpus, download: Download, root: Path) -> None:
    doubt = "" if download.confirmed else ", confirmed by only one source; the number of utterances is checked, too"
    lines = {
        "size": f"{download.bytes / 1e6:.0f} MB",
        "licence": corpus.info.licence,
        "citation": corpus.info.citation,
        "from": download.url,
        "to": root / download.file,
        "checksum": download.checksum.partition(":")[0] + doubt,
    }
    common.note(f"[bold]{corpus.name}[/bold]: {common.escape(corpus.info.title)}")
    for name, value in lines.items():
        common.note(f"  {name:8}  {common.escape(value)}")


def _ask_for_licence(corpus: Corpus, download: Download) -> None:
    licence = corpus.info.licence
    if not sys.stdin.isatty():
        remedy = Remedy("set {accept_licence} to do so")
        raise DownloadError(f"licence must be accepted: {licence}", where=corpus.name, remedy=remedy)
    question = f"Accept the licence of {corpus.name} ({licence}), and download {download.bytes / 1e6:.0f} MB?"
    if not click.confirm(question, default=False, err=True):
        raise DownloadError("licence not accepted; nothing downloaded", where=corpus.name)
