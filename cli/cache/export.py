"""emodna-cache export: a store in the format of another tool."""

import time
from pathlib import Path

import click

from emodna.cli import common
from emodna.pipeline.export import FORMATS


@click.command()
@click.argument("store")
@click.option("--to", "name", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File (parquet, npz) or folder (webdataset, hf) to write.  [default: named by corpus and features, here]",
)
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@common.cache_option
@common.common_options
def export(
    store: str, name: str, out: Path | None, force: bool, cache: Path, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Write a store as Parquet, as NumPy arrays, for WebDataset or for Hugging Face datasets.

    Features and all that the index says of each utterance go along, with licence and citation. The export appears
    whole or not at all. docs/EXPORT.md says what each format holds.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.cli.cache.progress import counting
    from emodna.cli.common import open_store
    from emodna.pipeline import export as exports

    began = time.perf_counter()
    opened = open_store(cache, store)
    place = out or exports.default_place(opened, name)
    with counting("exporting", quiet=quiet) as begin:
        exported = exports.export(opened, name, place, force=force, told=begin(len(opened)))
    if as_json:
        common.print_json(
            {
                "store": str(opened.path),
                "to": name,
                "out": str(place.absolute()),
                "utterances": len(opened),
                "frames": int(opened.frames.sum(dtype="int64")),
                "files": exported.files,
                "bytes": exported.bytes,
                "fingerprint": opened.fingerprint,
                "wall_seconds": time.perf_counter() - began,
            }
        )
    else:
        plural = "" if exported.files == 1 else "s"
        size = f"{exported.files} file{plural}, {exported.bytes / 1e6:.1f} MB"
        common.out.print(f"{common.safe(place)}: {len(opened)} utterances, {size}")
        common.out.print(f"open it by: {common.safe(exports.export_format(name).load.format(place=str(place)))}")
    common.note(f"the corpus's licence holds for the copy: {common.safe(opened.snapshot.licence or 'not known')}")
