"""Define `emodna-cache gc`, which deletes leftovers of earlier and interrupted preparations."""

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


@click.command(
    "gc",
    cls=Command,
    groups={"Data": "cache", "Output": "delete unfinished"},
    examples=("emodna-cache gc", "emodna-cache gc ravdess --delete"),
)
@click.argument("stores", nargs=-1, metavar="[STORE]...")
@click.option("--delete", is_flag=True, help="Delete the files instead of listing them.")
@click.option("--unfinished", is_flag=True, help="Include shards that an interrupted emodna-prep could reuse.")
@cache_option
@common_options
def gc_command(
    stores: tuple[str, ...], delete: bool, unfinished: bool, cache: Path, as_json: bool, verbose: bool
) -> int:
    """List files that no store needs, or delete them with --delete.

    Covers the given STOREs, or all stores in the cache. Leftovers are shards and tables of earlier versions, and
    partial files of interrupted runs. Skips stores that are being written, are damaged or have another format version,
    and keeps old files of stores that are being read. Never deletes files of other programs. Exits 1 if a file cannot
    be deleted.
    """
    from emodna.pipeline.store.gc import collect_garbage, list_store_folders

    chosen = [_find_folder(cache, store) for store in stores] or list_store_folders(cache)
    different = {folder.resolve(): folder.absolute() for folder in reversed(chosen)}  # resolves links
    results = [collect_garbage(folder, delete=delete, unfinished=unfinished) for folder in reversed(different.values())]
    if as_json:
        common.print_json(
            {
                "cache": str(cache.absolute()),
                "deleted": delete,
                "bytes": sum(_sum_bytes(result.removed) for result in results),
                "stores": [_to_json(result) for result in results],
            }
        )
    else:
        _print_report(results, delete=delete, verbose=verbose)
    for result in results:
        if result.skipped:
            common.note(f"skipped: {common.escape(result.store)}: {common.escape(result.skipped)}")
    return int(any(result.failed for result in results))


def _find_folder(cache: Path, store: str) -> Path:
    """Return the folder of a store, also if its first preparation was interrupted."""
    from emodna.pipeline.catalogue import resolve_store
    from emodna.pipeline.store.gc import is_store_folder

    return Path(store) if is_store_folder(Path(store)) else resolve_store(cache, store)


def _print_report(results: "Sequence[GarbageReport]", *, delete: bool, verbose: bool) -> None:
    for result in results:
        store = common.escape(result.store)
        if result.removed:
            kinds = Counter(leftover.kind.value for leftover in result.removed)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            common.out.print(f"{store}: {_format_size(result.removed)}: {counts}")
        if verbose:
            for leftover in result.removed:
                common.out.print(f"  {common.escape(_relative_name(result, leftover))}: {decimal(leftover.bytes)}")
        for reason in dict.fromkeys(kept.reason for kept in result.kept):
            kept = [each for each in result.kept if each.reason == reason]
            common.out.print(f"{store}: kept {_format_size(kept)}: {common.escape(reason)}")
    removed = [leftover for result in results for leftover in result.removed]
    if not removed:
        common.out.print("nothing to delete")
    elif delete:
        common.out.print(f"deleted {_format_size(removed)}")
    else:
        common.out.print(f"{_format_size(removed)} can be deleted; add --delete to do so")


def _format_size(leftovers: "Sequence[Leftover]") -> str:
    plural = "" if len(leftovers) == 1 else "s"
    return f"{len(leftovers)} file{plural}, {decimal(_sum_bytes(leftovers))}"


def _sum_bytes(leftovers: "Sequence[Leftover]") -> int:
    return sum(leftover.bytes for leftover in leftovers)


def _relative_name(result: "GarbageReport", leftover: "Leftover") -> str:
    return leftover.path.relative_to(result.store).as_posix()


def _to_json(result: "GarbageReport") -> dict[str, Any]:
    def entry(file: "Leftover") -> dict[str, Any]:
        return {"file": _relative_name(result, file), "bytes": file.bytes, "kind": file.kind.value}

    return {
        "store": str(result.store),
        "corpus": result.store.parent.name,
        "feature_set": result.store.name,
        "bytes": _sum_bytes(result.removed),
        "files": [entry(leftover) for leftover in result.removed],
        "kept": [{**entry(kept), "reason": kept.reason} for kept in result.kept],
        "skipped": result.skipped,
    }
