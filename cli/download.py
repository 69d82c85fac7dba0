"""Download a corpus for `emodna-prep --download`: show it, have its licence accepted, get it."""

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
from emodna.pipeline.errors import DownloadError


def downloaded(corpus: Corpus, root: Path, *, accepted: bool) -> Path:
    """Get a corpus into a folder, and return what to prepare: the file that was got, or what was there before.

    Unless the licence is `accepted`, a question on the terminal asks. A `DownloadError` says how else to get it.
    """
    info = corpus.info
    download = info.download
    if _is_there(root, download):
        common.note(f"{corpus.name}: {common.escape(root)} is there already; nothing to download")
        return root
    if download is None:
        how = re.split(r"(?<=\.)\s", info.obtain)[0].rstrip(".") or f"see {info.homepage or info.citation}"
        raise DownloadError(
            f"{corpus.name}: not freely downloadable: {how}; emodna-corpora show {corpus.name} tells more"
        )
    if not (root / download.file).exists():
        _show(corpus, download, root)
        _ask(corpus, download, accepted=accepted)

    def tell(line: str) -> None:
        common.note(f"{corpus.name}: {common.escape(line)}")

    with count_progress(corpus.name, DownloadColumn(), TransferSpeedColumn()) as counter:
        counter.begin(download.bytes)
        file = fetch(download, root, counter.reach, tell, homepage=info.homepage)
    common.note(f"{corpus.name}: {common.escape(file)} is the published file ({download.checksum.partition(':')[0]})")
    return file


def _is_there(root: Path, download: Download | None) -> bool:
    """Return True if a root holds anything but what an earlier download put there."""
    ours = root / download.file if download else None
    return any(root / name != ours for name in list_contents(root)) if root.is_dir() else root.exists()


def _show(corpus: Corpus, download: Download, root: Path) -> None:
    """Show what is about to come, from where, under which terms."""
    info = corpus.info
    algorithm = download.checksum.partition(":")[0]
    lines = {
        "size": f"{download.bytes / 1e6:.0f} MB",
        "licence": info.licence,
        "citation": info.citation,
        "from": download.url,
        "to": root / download.file,
        "checksum": algorithm
        if download.confirmed
        else f"{algorithm}, confirmed by one source only; the number of utterances will be checked, too",
    }
    common.note(f"[bold]{corpus.name}[/bold]: {common.escape(info.title)}")
    for name, value in lines.items():
        common.note(f"  {name:8}  {common.escape(value)}")


def _ask(corpus: Corpus, download: Download, *, accepted: bool) -> None:
    """Have the licence accepted."""
    licence = corpus.info.licence
    if accepted:
        return
    if not sys.stdin.isatty():
        raise DownloadError(
            f"{corpus.name}: its licence has to be accepted before the download: {licence}; "
            "do so by --accept-licence (see --help)"
        )
    question = f"Accept the licence of {corpus.name} ({licence}), and download {download.bytes / 1e6:.0f} MB?"
    if not click.confirm(question, default=False, err=True):
        raise DownloadError(f"{corpus.name}: licence not accepted: nothing was downloaded")
