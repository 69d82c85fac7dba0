"""emodna-cache gc: remove what earlier and interrupted runs left in the stores' folders."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from emodna.cli import common
from emodna.cli.options import Command, cache_option, common_options

if TYPE_CHECKING:
    from emodna.pipeline.store.gc import GarbageReport, Leftover


@click.command("gc", cls=Command)
@click.argument("stores", nargs=-1, metavar="[STORE]...")
@click.option("--delete", is_flag=True, help="Remove the files; without this, they are only listed.")
@click.option(
    "--unfinished", is_flag=True, help="Include the finished work of interrupted runs, which the next run would use."
)
@cache_option
@common_options
def gc_command(
    stores: tuple[str, ...],
    delete: bool,
    unfinished: bool,
    cache: Path,
    as_json: bool,
    verbose: bool,
) -> int:
    """List what no store needs any more, and with --delete remove it.

    That is, in the folders of the STOREs, or of all below the cache: shards and tables of earlier commits, and files
    that a run had half written when it was killed. A store that is being written, is damaged or of another format
    version is left alone; so are old shards and tables while a process reads the store. Files that emodna did not
    name stay, wherever they lie. Exit 1 if something could not be removed.
    """
    from emodna.pipeline.store.gc import collect_garbage, list_store_folders

    chosen = [_folder(cache, store) for store in stores] or list_store_folders(cache)
    different = {folder.resolve(): folder.absolute() for folder in reversed(chosen)}  # a link and its goal are one
    results = [collect_garbage(folder, delete=delete, unfinished=unfinished) for folder in reversed(different.values())]
    if as_json:
        common.print_json(
            {
                "cache": str(cache.absolute()),
                "deleted": delete,
                "bytes": sum(_bytes(result.removed) for result in results),
                "stores": [_json(result) for result in results],
            }
        )
    else:
        _print(results, delete=delete, verbose=verbose)
    for result in results:
        if result.skipped:
            common.note(f"left alone: {common.escape(result.store)}: {common.escape(result.skipped)}")
    return int(any(result.failed for result in results))


def _folder(cache: Path, store: str) -> Path:
    """Return the folder of a store, also of one whose first run was interrupted."""
    from emodna.pipeline.catalogue import resolve_store
    from emodna.pipeline.store.gc import is_store_folder

    return Path(store) if is_store_folder(Path(store)) else resolve_store(cache, store)


def _print(results: "Sequence[GarbageReport]", *, delete: bool, verbose: bool) -> None:
    for result in results:
        store = common.escape(result.store)
        if result.removed:
            kinds = Counter(leftover.kind.value for leftover in result.removed)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            common.out.print(f"{store}: {_size(result.removed)}: {counts}")
        if verbose:
            for leftover in result.removed:
                common.out.print(f"  {common.escape(_name(result, leftover))}: {decimal(leftover.bytes)}")
        for reason in dict.fromkeys(kept.reason for kept in result.kept):
            kept = [each for each in result.kept if each.reason == reason]
            common.out.print(f"{store}: kept {_size(kept)}: {common.escape(reason)}")
    removed = [leftover for result in results for leftover in result.removed]
    if not removed:
        common.out.print("nothing to remove")
    elif delete:
        common.out.print(f"removed {_size(removed)}")
    else:
        common.out.print(f"{_size(removed)} can be removed by --delete; nothing was changed")


def _size(leftovers: "Sequence[Leftover]") -> str:
    plural = "" if len(leftovers) == 1 else "s"
    return f"{len(leftovers)} file{plural}, {decimal(_bytes(leftovers))}"


def _bytes(leftovers: "Sequence[Leftover]") -> int:
    return sum(leftover.bytes for leftover in leftovers)


def _name(result: "GarbageReport", leftover: "Leftover") -> str:
    return leftover.path.relative_to(result.store).as_posix()


def _json(result: "GarbageReport") -> dict[str, Any]:
    def entry(file: "Leftover") -> dict[str, Any]:
        return {"file": _name(result, file), "bytes": file.bytes, "kind": file.kind.value}

    return {
        "store": str(result.store),
        "corpus": result.store.parent.name,
        "feature_set": result.store.name,
        "bytes": _bytes(result.removed),
        "files": [entry(leftover) for leftover in result.removed],
        "kept": [{**entry(kept), "reason": kept.reason} for kept in result.kept],
        "skipped": result.skipped,
    }
