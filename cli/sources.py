"""Find the corpora that emodna-prep is asked to prepare, and where each lies."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common
from emodna.pipeline.errors import EmodnaError, PluginError

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus

    Source = tuple[Corpus, Path]


def registered(names: tuple[str, ...], subset: str | None, root: Path | None, *, there: bool) -> "list[Source]":
    """Return the corpora of --corpus, each with its root; with `there`, a default root has to exist already."""
    from emodna.pipeline import corpora
    from emodna.pipeline.archives import find_default_root

    every = "all" in names
    if every and not there:
        raise click.UsageError("--download goes with a --corpus by name")
    if every and (len(names) > 1 or root is not None or subset is not None):
        raise click.UsageError("--corpus all goes with no other --corpus, no --root and no --subset")
    for option, value in {"--root": root, "--subset": subset}.items():
        if value is not None and len(names) > 1:
            raise click.UsageError(f"{option} goes with one --corpus only")
    sources = []
    for name in _that_are_there() if every else dict.fromkeys(names):
        try:
            corpus = corpora.load_corpus(name, subset)
        except PluginError as error:
            if not every:
                raise
            common.note(f"[yellow]warning:[/yellow] left out: {common.escape(error)}")
            continue
        where = find_default_root(name) if root is None else root
        if there and root is None and not where.exists():
            free = corpus.info.download is not None
            hint = " (or let --download get it)" if free else f" (how to get it: emodna-corpora show {name})"
            raise EmodnaError(f"{name}: nothing at {where}; say where the corpus lies by --root or $EMODNA_DATA{hint}")
        sources.append((corpus, where))
    return sources


def own(manifest: Path | None, folder: Path | None, name: str | None, root: Path | None) -> "list[Source]":
    """Return the recordings of --manifest or --folder, and where they lie; none without either."""
    place = manifest or folder
    if place is None:
        return []
    from emodna.pipeline import corpora
    from emodna.pipeline.corpora.own import Manifest, Recordings, derive_name

    name = derive_name(place) if name is None else name
    if corpora.find_selection(name) is not None:
        raise EmodnaError(f"--name {name}: taken by a registered corpus; choose another")
    if manifest is not None:
        return [(Manifest(place, name), root or place.parent)]
    return [(Recordings(place, name), place)]


def _that_are_there() -> list[str]:
    """Return the names of all corpora whose default root exists; tell the others."""
    from emodna.pipeline import corpora
    from emodna.pipeline.archives import find_default_root, get_data_root, list_contents

    roots = {name: find_default_root(name) for name in corpora.list_corpus_names()}
    absent = [f"{name} ({where})" for name, where in roots.items() if not list_contents(where)]
    if absent:
        common.note(f"not found: {common.escape(', '.join(absent))}")
    if len(absent) == len(roots):
        raise EmodnaError(f"--corpus all: no corpus has its default root below {get_data_root()}")
    return [name for name, where in roots.items() if list_contents(where)]
