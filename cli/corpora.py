"""emodna-corpora: which corpora there are, how to get them, and which are prepared."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus, CorpusFacts


class _ListsByDefault(click.Group):
    """Without a subcommand, it is `ls`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `ls` before options that are not the group's own."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListsByDefault, context_settings=common.CONTEXT)
@click.version_option(package_name="emodna")
def corpora() -> None:
    """Look at the corpora: what they are, how to get them, which are here. Without a command: ls."""


@corpora.command("ls")
@common.cache_option
@common.common_options
def list_corpora(cache: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the corpora, each with the next step."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.pipeline.archives import data_root
    from emodna.pipeline.corpora import registered
    from emodna.pipeline.errors import PluginError

    common.detail(f"data {common.safe(data_root())}, cache {common.safe(cache)}")
    rows = [
        _broken(name, kind) if isinstance(kind, PluginError) else _row(name, kind, cache)
        for name, kind in registered().items()
    ]
    _name_targets(rows, cache)
    if as_json:
        common.print_json(rows)
    else:
        _print_rows(rows)


@corpora.command()
@click.argument("name")
@common.cache_option
@common.common_options
def show(name: str, cache: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show what is published about a corpus, how to get it, and what is here of it."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.pipeline.archives import data_root
    from emodna.pipeline.corpora import corpus

    common.detail(f"data {common.safe(data_root())}, cache {common.safe(cache)}")
    chosen = corpus(name)
    facts, download = chosen.facts, chosen.facts.download
    row = _row(name, type(chosen), cache)
    document = {
        "corpus": name,
        "title": facts.title,
        "language": facts.language,
        "utterances": facts.utterances,
        "emotions": dict(facts.counts),
        "speakers": facts.speakers,
        "sample_rate": facts.sample_rate,
        "layout": facts.layout,
        "subsets": dict(chosen.subsets),
        "licence": facts.licence,
        "citation": facts.citation,
        "homepage": facts.homepage or None,
        "obtain": facts.obtain or None,
        "download": download
        and {
            "url": download.url,
            "file": download.file,
            "bytes": download.bytes,
            "checksum": download.checksum,
            "confirmed": download.confirmed,
        },
        **{key: row[key] for key in ("root", "found", "stores", "next")},
    }
    if not row["found"] and download is None:  # `ls` sends its readers here
        document["next"] = f"put it at {row['root']}, as a folder, ZIP or tar; then emodna-prep --corpus {name}"
    if as_json:
        common.print_json(document)
        return
    lines = {key: _text(key, value) for key, value in document.items()}
    width = max(map(len, lines))
    for key, value in lines.items():
        common.out.print(f"[bold]{common.safe(key):{width}}[/bold]  {common.safe(value)}")


def _row(name: str, kind: "type[Corpus]", cache: Path) -> dict[str, Any]:
    """A row of `ls`: what is published, and what is here."""
    from emodna.pipeline.archives import contents, default_root
    from emodna.pipeline.store.catalogue import stores

    root = default_root(name)
    found = bool(contents(root))
    facts = kind.facts
    named = {name, *(f"{name}-{subset}" for subset in kind.subsets)}
    prepared = [_store(path) for path in stores(cache) if path.parent.name in named]
    return {
        "corpus": name,
        "language": facts.language,
        "speakers": facts.speakers,
        "utterances": facts.utterances,
        "download_bytes": facts.download.bytes if facts.download else None,
        "licence": facts.licence,
        "root": str(root.absolute()),
        "found": found,
        "stores": prepared,
        "next": _next(name, facts, cache, found=found, prepared=_is_prepared(name, prepared)),
        "error": None,
    }


def _broken(name: str, reason: Exception) -> dict[str, Any]:
    """A row of `ls` for a plug-in that cannot be used: all unknown but the reason."""
    keys = ("language", "speakers", "utterances", "download_bytes", "licence", "root")
    return {
        "corpus": name,
        **dict.fromkeys(keys),
        "found": False,
        "stores": [],
        "next": None,
        "error": str(reason),
    }


def _store(path: Path) -> dict[str, Any]:
    """A prepared store; how many utterances a damaged one holds is not known."""
    from emodna.pipeline.errors import StoreError
    from emodna.pipeline.store.snapshot import read_snapshot

    utterances = error = None
    try:
        utterances = read_snapshot(path).counts.get("utterances")
    except StoreError as damage:
        error = str(damage)
    return {
        "corpus": path.parent.name,
        "feature_set": path.name,
        "store": str(path.absolute()),
        "utterances": utterances,
        "error": error,
    }


def _is_prepared(name: str, stores: list[dict[str, Any]]) -> bool:
    """Whether there is a sound store of the corpus itself, not of a subset only."""
    return any(store["corpus"] == name and store["error"] is None for store in stores)


def _next(name: str, facts: "CorpusFacts", cache: Path, *, found: bool, prepared: bool) -> str:
    """The command that brings a user further with a corpus."""
    from emodna.pipeline.store.catalogue import in_cache

    if prepared:
        return f"emodna-fit --src {name} --tgt CORPUS{in_cache(cache)}"
    if found:
        return f"emodna-prep --corpus {name}{in_cache(cache)}"
    if facts.download is not None:
        return f"emodna-prep --corpus {name} --download{in_cache(cache)}"
    return f"emodna-corpora show {name}"


def _name_targets(rows: list[dict[str, Any]], cache: Path) -> None:
    """Let each `emodna-fit` name another prepared corpus, if there is one."""
    from emodna.pipeline.store.catalogue import in_cache

    prepared = [row["corpus"] for row in rows if _is_prepared(row["corpus"], row["stores"])]
    for row in rows:
        others = [name for name in prepared if name != row["corpus"]]
        if row["corpus"] in prepared and others:
            row["next"] = f"emodna-fit --src {row['corpus']} --tgt {others[0]}{in_cache(cache)}"


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Two tables: one of all columns would leave no line whole on a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    published = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    published.add_column("corpus", overflow="fold")
    published.add_column("language")
    for heading in ("speakers", "utterances", "MB"):
        published.add_column(heading, justify="right")
    published.add_column("licence", overflow="fold")
    here = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    here.add_column("corpus", overflow="fold")
    here.add_column("where", overflow="fold")
    here.add_column("prepared", no_wrap=True)
    here.add_column("next", overflow="fold")
    for row in rows:
        name = common.safe(row["corpus"])
        if row["error"]:
            here.add_row(name, "[red]broken[/red]", "", common.safe(row["error"]))
            continue
        size = row["download_bytes"]
        cells = [row["language"], row["speakers"], row["utterances"], size and f"{size / 1e6:.0f}", row["licence"]]
        published.add_row(name, *(common.safe("-" if cell is None else cell) for cell in cells))
        here.add_row(
            name,
            common.safe(_relative(row["root"])) if row["found"] else "not here",
            _prepared(row["stores"]),
            common.safe(row["next"]),
        )
    common.out.print(published)
    common.out.print(here)


def _prepared(stores: list[dict[str, Any]]) -> str:
    """Utterances of each store, and what of them."""
    lines = []
    for store in stores:
        size = "[red]damaged[/red]" if store["error"] else f"{store['utterances']}"
        lines.append(f"{size} {common.safe(store['feature_set'].partition('-')[0])}")
    return "\n".join(lines) or "-"


def _relative(path: str) -> str:
    """A path as a user would type it here."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _text(key: str, value: Any) -> str:
    """A fact as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict() if key == "download":
            sources = "" if value["confirmed"] else ", confirmed by one source only"
            return f"{value['url']} ({value['bytes'] / 1e6:.0f} MB, {value['checksum']}{sources})"
        case dict() if key == "subsets":
            return "; ".join(f"{name}: {what}" for name, what in value.items()) or "-"
        case dict():
            return ", ".join(f"{count} {name}" for name, count in value.items()) or "-"
        case list():
            return "; ".join(f"{each['store']} ({each['error'] or each['utterances']})" for each in value) or "-"
        case int() if key == "sample_rate":
            return f"{value} Hz"
    return str(value)


def main() -> None:
    """Entry point of `emodna-corpora`."""
    common.run(corpora)
