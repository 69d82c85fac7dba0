"""Define `emodna-cache gc`, which deletes the leftovers of earlier and interrupted preparations."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from emodna.cli import common
from emodna.cli.options import TEXT_PATH, Command, cache_option, common_options
from emodna.pipeline.errors import format_count

if TYPE_CHECKING:
    from emodna.pipeline.store.gc import GarbageReport, Leftover


@click.command(
    "gc",
    cls=Command,
    groups={"Data": "cache", "Output": "delete unfinished"},
    examples=("emodna-cache gc", "emodna-cache gc ravdess --delete"),
)
@click.argument("stores", nargs=-1, type=TEXT_PATH, metavar="[STORE]...")
@click.option("--delete", is_flag=True, help="Delete the leftovers instead of listing them.")
@click.option("--unfinished", is_flag=True, help="Include finished shards of an interrupted emodna-prep.")
@cache_option
@common_options
def gc_command(
    stores: tuple[str, ...], delete: bool, unfinished: bool, cache: Path, as_json: bool, verbose: bool
) -> int:
    """List or delete leftovers of stores.

    Leftovers are shards and tables of earlier versions, and partial files of interrupted preparations. Without a STORE,
    the command processes all stores in the cache. It skips stores that are damaged, have another format version, or are
    being written. It keeps old files of stores that are being read, and all files of other programs. The exit code is 1
    if a file cannot be deleted or a given STORE is damaged.
    """
    from emodna.pipeline.store.gc import collect_garbage, list_store_folders

    folders = [_find_folder(cache, store) for store in stores] or list_store_folders(cache)
    unique = {folder.resolve(): folder.absolute() for folder in reversed(folders)}  # a link is its store
    reports = [collect_garbage(folder, delete=delete, unfinished=unfinished) for folder in reversed(unique.values())]
    if as_json:
        size = sum(_sum_bytes(report.removed) for report in reports)
        stores_json = [_to_json(report) for report in reports]
        common.print_json({"cache": str(cache.absolute()), "deleted": delete, "bytes": size, "stores": stores_json})
    else:
        _print_reports(reports, delete=delete, verbose=verbose)
    for report in reports:
        if report.skipped:
            place = "" if report.skipped.startswith(str(report.store)) else f"{report.store}: "
            common.note(f"skipped: {common.escape(place + report.skipped)}")
    return int(any(report.failed or (stores and report.is_unreadable) for report in reports))


def _find_folder(cache: Path, store: str) -> Path:
    """Return the folder of a store, also if its first preparation was interrupted."""
    from emodna.pipeline.catalogue import resolve_store
    from emodna.pipeline.store.gc import is_store_folder

    return Path(store) if is_store_folder(Path(store)) else resolve_store(cache, store)


def _print_reports(reports: "Sequence[GarbageReport]", *, delete: bool, verbose: bool) -> None:
    for report in reports:
        store = common.escape(report.store)
        if report.removed:
            kinds = Counter(leftover.kind.value for leftover in report.removed)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            common.out.print(f"{store}: {_format_size(report.removed)}: {counts}")
        if verbose:
            for leftover in report.removed:
                common.out.print(f"  {common.escape(_relative_name(report, leftover))}: {decimal(leftover.bytes)}")
        for reason in dict.fromkeys(kept.reason for kept in report.kept):
            kept = [each for each in report.kept if each.reason == reason]
            common.out.print(f"{store}: kept {_format_size(kept)}: {common.escape(reason)}")
    removed = [leftover for report in reports for leftover in report.removed]
    if reports and all(report.skipped for report in reports):
        return
    if not removed:
        common.out.print("nothing to delete")
    elif delete:
        common.out.print(f"deleted {_format_size(removed)}")
    else:
        common.out.print(f"{_format_size(removed)} can be deleted; add --delete to do so")


def _format_size(leftovers: "Sequence[Leftover]") -> str:
    return f"{format_count(len(leftovers), 'file')}, {decimal(_sum_bytes(leftovers))}"


def _sum_bytes(leftovers: "Sequence[Leftover]") -> int:
    return sum(leftover.bytes for leftover in leftovers)


def _relative_name(report: "GarbageReport", leftover: "Leftover") -> str:
    return leftover.path.relative_to(report.store).as_posix()


def _to_json(report: "GarbageReport") -> dict[str, Any]:
    def to_entry(file: "Leftover") -> dict[str, Any]:
        return {"file": _relative_name(report, file), "bytes": file.bytes, "kind": file.kind.value}

    return {
        "store": str(report.store),
        "corpus": report.store.parent.name,
        "feature_set": report.store.name,
        "bytes": _sum_bytes(report.removed),
        "files": [to_entry(leftover) for leftover in report.removed],
        "kept": [to_entry(kept) | {"reason": kept.reason} for kept in report.kept],
        "skipped": report.skipped,
    }
