"""emodna-corpora: which corpora there are, how to get them, and which are prepared."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, Group, cache_option, common_options
from emodna.pipeline.errors import PluginError

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus

#: What `ls` says of a corpus.
_KEYS: Final = ("corpus", "language", "speakers", "utterances", "download_bytes", "licence", "root", "found", "stores",
                "next", "error")  # fmt: skip


class _ListsByDefault(Group):
    """Without a subcommand, it is `ls`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `ls` before options that are not the group's own."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListsByDefault)
@click.version_option(package_name="emodna")
def corpora() -> None:
    """Look at the corpora: what they are, how to get them, which are here. Without a command: ls."""


@corpora.command("ls", cls=Command)
@cache_option
@common_options
def list_corpora(cache: Path, as_json: bool) -> None:
    """List the corpora, each with the next step."""
    from emodna.pipeline.archives import get_data_root
    from emodna.pipeline.corpora import load_corpora

    common.detail(f"data {common.escape(get_data_root())}, cache {common.escape(cache)}")
    rows = [_row(name, kind, cache) for name, kind in load_corpora().items()]
    _add_next(rows, cache)
    if as_json:
        common.print_json(rows)
    else:
        _print_rows(rows)


@corpora.command(cls=Command)
@click.argument("name")
@cache_option
@common_options
def show(name: str, cache: Path, as_json: bool) -> None:
    """Show what is published about a corpus, how to get it, and what is here of it."""
    from emodna.pipeline.archives import get_data_root
    from emodna.pipeline.corpora import load_corpus

    common.detail(f"data {common.escape(get_data_root())}, cache {common.escape(cache)}")
    chosen = load_corpus(name)
    info, download = chosen.info, chosen.info.download
    row = _row(name, type(chosen), cache)
    _add_next([row], cache)
    document = {
        "corpus": name,
        "title": info.title,
        "language": info.language,
        "utterances": info.utterances,
        "emotions": dict(info.counts),
        "speakers": info.speakers,
        "sample_rate": info.sample_rate,
        "layout": info.layout,
        "subsets": dict(chosen.subsets),
        "licence": info.licence,
        "citation": info.citation,
        "homepage": info.homepage or None,
        "obtain": info.obtain or None,
        "download": download and asdict(download),
        **{key: row[key] for key in ("root", "found", "stores", "next")},
    }
    if not row["found"] and download is None:  # `ls` sends its readers here
        document["next"] = f"put it at {row['root']}, as a folder, ZIP or tar; then emodna-prep --corpus {name}"
    if as_json:
        common.print_json(document)
        return
    words: dict[str, object] = {
        "sample_rate": f"{info.sample_rate} Hz",
        "subsets": [f"{subset}: {what}" for subset, what in chosen.subsets.items()],
        "found": "yes" if row["found"] else "no",
        "stores": [f"{each['store']} ({each['error'] or each['utterances']})" for each in row["stores"]],
    }
    if download is not None:
        sources = "" if download.confirmed else ", confirmed by one source only"
        words["download"] = f"{download.url} ({download.bytes / 1e6:.0f} MB, {download.checksum}{sources})"
    common.print_fields({**document, **words})


def _row(name: str, kind: "type[Corpus] | PluginError", cache: Path) -> dict[str, Any]:
    """Return a row of `ls`: what is published, and what is here; of a broken plug-in, nothing but the reason."""
    from emodna.pipeline.archives import find_default_root, list_contents
    from emodna.pipeline.catalogue import list_stores

    row = dict.fromkeys(_KEYS) | {"corpus": name, "found": False, "stores": []}
    if isinstance(kind, PluginError):
        return row | {"error": str(kind)}
    root, info = find_default_root(name), kind.info
    named = {name, *(f"{name}-{subset}" for subset in kind.subsets)}
    return row | {
        **{key: getattr(info, key) for key in ("language", "speakers", "utterances", "licence")},
        "download_bytes": info.download and info.download.bytes,
        "root": str(root.absolute()),
        "found": bool(list_contents(root)),
        "stores": [_store(path) for path in list_stores(cache) if path.parent.name in named],
    }


def _store(path: Path) -> dict[str, Any]:
    """Describe a prepared store in short."""
    info = common.describe_store(path)
    return {key: info[key] for key in ("corpus", "feature_set", "store", "utterances", "error")}


def _add_next(rows: list[dict[str, Any]], cache: Path) -> None:
    """Add the command that brings a user further with each corpus."""
    from emodna.cli.wording import in_cache

    def is_prepared(name: str, stores: list[dict[str, Any]]) -> bool:  # not a subset of it only
        return any(store["corpus"] == name and store["error"] is None for store in stores)

    prepared = [row["corpus"] for row in rows if is_prepared(row["corpus"], row["stores"])]
    for row in rows:
        name = row["corpus"]
        if name in prepared:
            target = next((other for other in prepared if other != name), "CORPUS")
            row["next"] = f"emodna-fit --src {name} --tgt {target}{in_cache(cache)}"
        elif row["found"]:
            row["next"] = f"emodna-prep --corpus {name}{in_cache(cache)}"
        elif row["download_bytes"] is not None:
            row["next"] = f"emodna-prep --corpus {name} --download{in_cache(cache)}"
        elif row["error"] is None:
            row["next"] = f"emodna-corpora show {name}"


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Two tables: one of all columns would leave no line whole on a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    published, here = (Table(box=box.SIMPLE_HEAD, pad_edge=False) for _ in range(2))
    for heading in ("corpus", "language", "speakers", "utterances", "MB", "licence"):
        is_number = heading in ("speakers", "utterances", "MB")
        published.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for heading in ("corpus", "where", "prepared", "next"):
        here.add_column(heading, no_wrap=heading == "prepared", overflow="fold")
    for row in rows:
        name = common.escape(row["corpus"])
        if row["error"]:
            here.add_row(name, "[red]broken[/red]", "", common.escape(row["error"]))
            continue
        size = row["download_bytes"]
        cells = [row["language"], row["speakers"], row["utterances"], size and f"{size / 1e6:.0f}", row["licence"]]
        published.add_row(name, *(common.escape("-" if cell is None else cell) for cell in cells))
        here.add_row(
            name,
            common.escape(_relative(row["root"])) if row["found"] else "not here",
            "\n".join(map(_prepared, row["stores"])) or "-",
            common.escape(row["next"]),
        )
    common.out.print(published)
    common.out.print(here)


def _relative(path: str) -> str:
    """Return a path as a user would type it here."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _prepared(store: dict[str, Any]) -> str:
    """Return the utterances of a store, and what of them."""
    size = "[red]damaged[/red]" if store["error"] else f"{store['utterances']}"
    return f"{size} {common.escape(store['feature_set'].partition('-')[0])}"


def main() -> None:
    """Entry point of `emodna-corpora`."""
    common.run(corpora)
