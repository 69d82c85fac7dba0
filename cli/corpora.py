"""Define `emodna-corpora`, which lists the corpora, how to get them, and their stores."""

from collections.abc import Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Group, cache_option, common_options
from emodna.pipeline.errors import PluginError

if TYPE_CHECKING:
    from emodna.pipeline.corpora.base import Corpus

#: Keys of a row of `ls`.
_ROW_KEYS: Final = ("corpus", "language", "speakers", "utterances", "download_bytes", "licence", "root", "found",
                    "stores", "next", "error")  # fmt: skip


class _ListByDefaultGroup(Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `ls` before options that the group does not have."""
        group_options = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if not args or (args[0].startswith("-") and args[0] not in group_options):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefaultGroup, examples=("emodna-corpora", "emodna-corpora show ravdess"))
@click.version_option(package_name="emodna")
def corpora() -> None:
    """List corpora, how to get them, and their stores. The default command is ls."""


@corpora.command(
    "ls", groups={"Data": "cache"}, examples=("emodna-corpora ls", "emodna-corpora ls --cache /data/cache --json")
)
@cache_option
@common_options
def list_corpora(cache: Path, as_json: bool) -> None:
    """List the corpora, each with the command to run next."""
    from emodna.pipeline.archives import get_data_root
    from emodna.pipeline.corpora import load_corpora

    common.detail(f"data {common.escape(get_data_root())}, cache {common.escape(cache)}")
    rows = [_make_row(name, kind, cache) for name, kind in load_corpora().items()]
    _add_next(rows, cache)
    if as_json:
        common.print_json(rows)
    else:
        _print_rows(rows)


@corpora.command(
    groups={"Data": "cache"}, examples=("emodna-corpora show ravdess", "emodna-corpora show iemocap --json")
)
@click.argument("name")
@cache_option
@common_options
def show(name: str, cache: Path, as_json: bool) -> None:
    """Show a corpus. This includes published information, how to get it, and its stores."""
    from emodna.pipeline.archives import get_data_root
    from emodna.pipeline.corpora import load_corpus

    common.detail(f"data {common.escape(get_data_root())}, cache {common.escape(cache)}")
    corpus = load_corpus(name)
    info, download = corpus.info, corpus.info.download
    row = _make_row(name, type(corpus), cache)
    _add_next([row], cache)
    document = {
        "corpus": name,
        **{key: getattr(info, key) for key in ("title", "language", "utterances")},
        "emotions": dict(info.counts),
        **{key: getattr(info, key) for key in ("speakers", "sample_rate", "layout")},
        "channels": info.channels or None,
        "subsets": dict(corpus.subsets),
        "licence": info.licence,
        "citation": info.citation,
        "homepage": info.homepage or None,
        "obtain": info.obtain or None,
        "download": download and asdict(download),
        **{key: row[key] for key in ("root", "found", "stores", "next")},
    }
    if not row["found"] and download is None:  # `ls` refers to this command
        document["next"] = f"put it at {row['root']} as a folder, ZIP or tar, then run emodna-prep --corpus {name}"
    if as_json:
        common.print_json(document)
        return
    texts: dict[str, object] = {
        "sample_rate": f"{info.sample_rate} Hz",
        "subsets": [f"{subset}: {description}" for subset, description in corpus.subsets.items()],
        "found": "yes" if row["found"] else "no",
        "stores": [f"{each['store']} ({each['error'] or each['utterances']})" for each in row["stores"]],
    }
    if download is not None:
        doubt = "" if download.confirmed else ", confirmed by only one source"
        texts["download"] = f"{download.url} ({download.bytes / 1e6:.0f} MB, {download.checksum}{doubt})"
    common.print_fields({**document, **texts})


def _make_row(name: str, kind: "type[Corpus] | PluginError", cache: Path) -> dict[str, Any]:
    """Return a row of `ls`; for a broken plug-in, only its name and error."""
    from emodna.pipeline.archives import find_default_root, list_contents
    from emodna.pipeline.audio.provenance import split_store_name
    from emodna.pipeline.catalogue import list_stores

    row = dict.fromkeys(_ROW_KEYS) | {"corpus": name, "found": False, "stores": []}
    if isinstance(kind, PluginError):
        return row | {"error": str(kind)}
    root, info = find_default_root(name), kind.info
    names = {name, *(f"{name}-{subset}" for subset in kind.subsets)}
    return row | {
        **{key: getattr(info, key) for key in ("language", "speakers", "utterances", "licence")},
        "download_bytes": info.download and info.download.bytes,
        "root": str(root.absolute()),
        "found": bool(list_contents(root)),
        "stores": [
            _describe_store(path) for path in list_stores(cache) if split_store_name(path.parent.name)[0] in names
        ],
    }


def _describe_store(path: Path) -> dict[str, Any]:
    store = common.describe_store(path)
    return {key: store[key] for key in ("corpus", "feature_set", "store", "utterances", "error")}


def _add_next(rows: list[dict[str, Any]], cache: Path) -> None:
    from emodna.cli.wording import in_cache

    stores = [store for row in rows for store in row["stores"] if store["error"] is None]
    prepared = [row["corpus"] for row in rows if any(each["corpus"] == row["corpus"] for each in stores)]
    folders = {name: {each["feature_set"] for each in stores if each["corpus"] == name} for name in prepared}
    for row in rows:
        name = row["corpus"]
        if name in prepared:
            # A subset has stores of its own name, which do not count.
            target, option = _choose_target(name, folders)
            row["next"] = f"emodna-fit --src {name} --tgt {target}{option}{in_cache(cache)}"
        elif row["found"]:
            row["next"] = f"emodna-prep --corpus {name}{in_cache(cache)}"
        elif row["download_bytes"] is not None:
            row["next"] = f"emodna-prep --corpus {name} --download{in_cache(cache)}"
        elif row["error"] is None:
            row["next"] = f"emodna-corpora show {name}"


def _choose_target(name: str, folders: Mapping[str, Set[str]]) -> tuple[str, str]:
    """Return a corpus with features of a source, and the option for them; `folders` has those of each corpus."""
    from emodna.pipeline.catalogue import resolve_folder_name

    default = resolve_folder_name(None)
    others = {other: folders[name] & found for other, found in folders.items() if other != name}
    shared = [(default not in common, other, common) for other, common in others.items() if common]
    if not shared:
        return next(iter(others), "CORPUS") if default in folders[name] else "CORPUS", ""
    is_other, target, common = min(shared, key=lambda each: each[0])
    return target, f" --feature-set {min(common)}" if is_other else ""


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Print two tables, since one with all columns would wrap on a terminal of 80 columns."""
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
            common.escape(_shorten_path(row["root"])) if row["found"] else "not found",
            "\n".join(map(_format_store, row["stores"])) or "-",
            common.escape(row["next"]),
        )
    common.out.print(published)
    common.out.print(here)


def _shorten_path(path: str) -> str:
    """Return a path below the current folder as a relative one."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _format_store(store: dict[str, Any]) -> str:
    from emodna.pipeline.audio.provenance import split_store_name

    size = "[red]damaged[/red]" if store["error"] else f"{store['utterances']}"
    suffix = split_store_name(store["corpus"])[1].suffix.replace("-", " ")
    return f"{size} {common.escape(store['feature_set'].partition('-')[0])}{suffix}"


def main() -> None:
    """Entry point of `emodna-corpora`."""
    common.run(corpora)
