"""Find the corpora to prepare, and their roots."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common
from emodna.pipeline.errors import EmodnaError, PluginError

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus

    Source = tuple[Corpus, Path]


def find_registered(
    names: tuple[str, ...], subset: str | None, root: Path | None, *, must_exist: bool
) -> "list[Source]":
    """Return the corpora of --corpus with their roots; `must_exist`: raise an error if a default root is missing."""
    from emodna.pipeline import corpora
    from emodna.pipeline.archives import find_default_root

    every = "all" in names
    if every and not must_exist:
        raise click.UsageError("--download needs --corpus with a name, not all")
    if every and (len(names) > 1 or root is not None or subset is not None):
        raise click.UsageError("--corpus all excludes --root, --subset and other corpora")
    for option, value in {"--root": root, "--subset": subset}.items():
        if value is not None and len(names) > 1:
            raise click.UsageError(f"{option} needs a single --corpus")
    sources = []
    for name in _list_found() if every else dict.fromkeys(names):
        try:
            corpus = corpora.load_corpus(name, subset)
        except PluginError as error:
            if not every:
                raise
            common.note(f"[yellow]warning:[/yellow] {common.escape(error)}")
            continue
        place = find_default_root(name) if root is None else root
        if must_exist and root is None and not place.exists():
            hint = f"see how to get it: emodna-corpora show {name}"
            if corpus.info.download is not None:
                hint = "download it with --download"
            remedy = f"set --root or $EMODNA_DATA, or {hint}"
            raise EmodnaError(f"corpus {name} not found", where=place, remedy=remedy)
        sources.append((corpus, place))
    return sources


def find_own(manifest: Path | None, folder: Path | None, name: str | None, root: Path | None) -> "list[Source]":
    """Return the recordings of --manifest or --folder and their root; an empty list without either."""
    place = manifest or folder
    if place is None:
        return []
    from emodna.pipeline import corpora
    from emodna.pipeline.corpora.own import Manifest, Recordings, derive_name

    name = derive_name(place) if name is None else name
    if corpora.find_selection(name) is not None:
        raise EmodnaError(
            "already the name of a registered corpus", field="name", value=name, remedy="choose another name"
        )
    if manifest is not None:
        return [(Manifest(place, name), root or place.parent)]
    return [(Recordings(place, name), place)]


def _list_found() -> list[str]:
    """Return the names of the corpora whose default root exists; print the others."""
    from emodna.pipeline import corpora
    from emodna.pipeline.archives import find_default_root, get_data_root, list_contents

    roots = {name: find_default_root(name) for name in corpora.list_corpus_names()}
    absent = [f"{name} ({where})" for name, where in roots.items() if not list_contents(where)]
    if absent:
        common.note(f"not found: {common.escape(', '.join(absent))}")
    if len(absent) == len(roots):
        remedy = "set $EMODNA_DATA to the folder of the corpora"
        raise EmodnaError(f"no corpus found in {get_data_root()}", field="names", value="all", remedy=remedy)
    return [name for name, where in roots.items() if list_contents(where)]
