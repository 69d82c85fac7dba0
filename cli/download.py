"""What emodna-prep --download shows, asks and does."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from emodna.cli import common
from emodna.pipeline.archives import contents
from emodna.pipeline.download import Download, fetch
from emodna.pipeline.download.transfer import progress as so_far
from emodna.pipeline.errors import DownloadError

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus
    from emodna.pipeline.download.transfer import Watcher

#: Between two lines of a run without a terminal.
_PLAIN_SECONDS: Final = 10.0


def downloaded(corpus: "Corpus", root: Path, *, accepted: bool, quiet: bool) -> Path:
    """Get a corpus into a folder, unless it is there.

    Parameters
    ----------
    root
        Where the corpus is to lie.
    accepted
        The user accepts the licence. If not, a question on the terminal asks.

    Returns
    -------
    root
        What to prepare: the file that was got, or what was there before.

    Raises
    ------
    DownloadError
        It cannot be got; says how else.
    """
    facts = corpus.facts
    download = facts.download
    if _is_there(root, download):
        common.note(f"{corpus.name}: {common.safe(root)} is there already; nothing to download")
        return root
    if download is None:
        how = re.split(r"(?<=\.)\s", facts.obtain)[0].rstrip(".") or f"see {facts.homepage or facts.citation}"
        raise DownloadError(
            f"{corpus.name}: not freely downloadable: {how}; emodna-corpora show {corpus.name} tells more"
        )
    if not (root / download.file).exists():
        _show(corpus, download, root)
        _ask(corpus, download, accepted=accepted)
    with _watching(corpus.name, download.bytes, quiet=quiet) as watcher:
        file = fetch(download, root, watcher, homepage=facts.homepage)
    common.note(f"{corpus.name}: {common.safe(file)} is the published file ({download.checksum.partition(':')[0]})")
    return file


def _is_there(root: Path, download: Download | None) -> bool:
    """Whether a root holds anything but what an earlier download put there."""
    ours = root / download.file if download else None
    return any(root / name != ours for name in contents(root)) if root.is_dir() else root.exists()


def _show(corpus: "Corpus", download: Download, root: Path) -> None:
    """What is about to come, from where, under which terms."""
    facts = corpus.facts
    algorithm = download.checksum.partition(":")[0]
    lines = {
        "size": f"{download.bytes / 1e6:.0f} MB",
        "licence": facts.licence,
        "citation": facts.citation,
        "from": download.url,
        "to": root / download.file,
        "checksum": algorithm
        if download.confirmed
        else f"{algorithm}, confirmed by one source only; the number of utterances will be checked, too",
    }
    common.note(f"[bold]{corpus.name}[/bold]: {common.safe(facts.title)}")
    for name, value in lines.items():
        common.note(f"  {name:8}  {common.safe(value)}")


def _ask(corpus: "Corpus", download: Download, *, accepted: bool) -> None:
    """Have the licence accepted."""
    licence = corpus.facts.licence
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


class _Notes:
    """What is told with and without a bar."""

    def __init__(self, corpus: str) -> None:
        self.corpus = corpus

    def waiting(self, file: Path) -> None:
        """Another process is getting this file."""
        common.note(f"waiting for another emodna-prep that downloads {common.safe(file)}")

    def retrying(self, reason: str, pause: float) -> None:
        """A try has failed; the next one follows in so many seconds."""
        common.note(f"{self.corpus}: {common.safe(reason)}; trying again in {pause:.0f} s")


class _LiveWatcher(_Notes):
    """A bar."""

    def __init__(self, corpus: str, size: int, bar: Progress) -> None:
        super().__init__(corpus)
        self._bar = bar
        self._task = bar.add_task(corpus, total=size)

    def received(self, position: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=position)


class _PlainWatcher(_Notes):
    """A line every few seconds."""

    def __init__(self, corpus: str, size: int) -> None:
        super().__init__(corpus)
        self._size = size
        self._next = time.monotonic() + _PLAIN_SECONDS

    def received(self, position: int) -> None:
        """Print a line, if the last one is long enough ago."""
        if time.monotonic() >= self._next:
            common.note(f"{self.corpus}: {so_far(position, self._size)}")
            self._next = time.monotonic() + _PLAIN_SECONDS


@contextmanager
def _watching(corpus: str, size: int, *, quiet: bool) -> "Iterator[Watcher]":
    """Show the progress of one download on standard error."""
    if quiet or not common.err.is_terminal:
        yield _PlainWatcher(corpus, size)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=common.err, transient=True) as bar:
        yield _LiveWatcher(corpus, size, bar)
