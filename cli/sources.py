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
    names: tuple[str, ...], subset: str | None, root: Path | None, suffix: str, *, must_exist: bool
) -> "list[Source]":
    """Return the corpora of --corpus with their roots; `suffix` is that of their audio's provenance.

    Raise an EmodnaError if a root that `must_exist` is missing.
    """
    from emodna.pipeline import corpora
    from emodna.pipeline.archives import find_default_root

    is_all = "all" in names
    if is_all and not must_exist:
        raise click.UsageError("--download needs --corpus with a name, not all")
    if is_all and (len(names) > 1 or root is not None or subset is not None):
        raise click.UsageError("--corpus all excludes --root, --subset and other corpora")
    for option, value in {"--root": root, "--subset": subset}.items():
        if value is not None and len(names) > 1:
            raise click.UsageError(f"{option} needs a single --corpus")
    sources = []
    for name in _list_found() if is_all else dict.fromkeys(names):
        try:
            corpus = corpora.load_corpus(name, subset)
        except PluginError as error:
            if not is_all:
                raise
            common.note(f"[yellow]warning:[/yellow] {common.escape(error)}")
            continue
        corpus.name += suffix
        path = find_default_root(name) if root is None else root
        if must_exist and root is None and not path.exists():
            hint = "download it with --download" if corpus.info.download else f"see emodna-corpora show {name}"
            remedy = f"set --root or $EMODNA_DATA, or {hint}"
            raise EmodnaError(f"corpus {name} not found", where=path, remedy=remedy)
        sources.append((corpus, path))
    return sources


def find_own(
    manifest: Path | None, folder: Path | None, name: str | None, root: Path | None, suffix: str
) -> "list[Source]":
    """Return the recordings of --manifest or --folder and their root; an empty list without either.

    A name from the path ends with the `suffix` of the audio's provenance.
    """
    path = manifest or folder
    if path is None:
        return []
    from emodna.pipeline import corpora
    from emodna.pipeline.corpora.own import Manifest, Recordings, derive_name

    name = derive_name(path) + suffix if name is None else name
    if corpora.find_selection(name) is not None:
        problem = "already the name of a registered corpus"
        raise EmodnaError(problem, field="name", value=name, remedy="choose another name")
    if manifest is not None:
        return [(Manifest(path, name), root or path.parent)]
    return [(Recordings(path, name), path)]


def _list_found() -> list[str]:
    """Return the names of the corpora with files in their default root; print the others."""
    from emodna.pipeline import corpora
    from emodna.pipeline.archives import find_default_root, get_data_root, list_contents

    roots = {name: find_default_root(name) for name in corpora.list_corpus_names()}
    found = [name for name, root in roots.items() if list_contents(root)]
    if missing := [f"{name} ({root})" for name, root in roots.items() if name not in found]:
        common.note(f"not found: {common.escape(', '.join(missing))}")
    if not found:
        remedy = "set $EMODNA_DATA to the folder of the corpora"
        raise EmodnaError(f"no corpus found in {get_data_root()}", field="names", value="all", remedy=remedy)
    return found
