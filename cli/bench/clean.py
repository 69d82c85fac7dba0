"""emodna-bench clean: remove what no cell of the benchmark names any more."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from emodna.cli import common
from emodna.cli.bench.options import out_option

if TYPE_CHECKING:
    from emodna.model.bench.running.leftovers import Kind, Leftover

_KINDS: "Final[dict[Kind, str]]" = {
    "old": "of other stores, methods or seeds than the benchmark has",
    "failed": "of cells that failed",
    "temporary": "half written",
}


@click.command()
@out_option
@click.option("--delete", is_flag=True, help="Remove it; without this, it is only listed.")
@common.common_options
@click.pass_context
def clean(context: click.Context, out: Path, delete: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List what no cell of the benchmark needs, and with --delete remove it.

    That is: runs that none of its cells names, say of a store that has changed since, what cells that failed have left
    (why they failed stays known), and half-written files. What is at work stays, and so does what emodna-bench did not
    name. Exit 1 if something could not be removed.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from contextlib import nullcontext

    from emodna.model.bench.running.execute import only_run
    from emodna.model.bench.running.leftovers import leftovers
    from emodna.model.bench.spec import Experiment
    from emodna.pipeline.errors import explained

    bench = Experiment.read(out)
    failed = False
    with only_run(out) if delete else nullcontext():
        found = leftovers(bench)
        gone = [each for each in found if each.kept is None]
        for each in gone if delete else ():
            try:
                each.remove()
            except OSError as error:
                common.print_error(f"{error.filename or each.path}: {explained(error)}")
                failed = True
    if as_json:
        common.print_json({"out": str(out.absolute()), "deleted": delete, "leftovers": [_json(each) for each in found]})
    else:
        _print(found, delete=delete, verbose=verbose)
    context.exit(int(failed))


def _json(leftover: "Leftover") -> dict[str, object]:
    return {
        "path": str(leftover.path.absolute()),
        "bytes": leftover.bytes,
        "kind": leftover.kind,
        "kept": leftover.kept,
    }


def _print(found: "list[Leftover]", *, delete: bool, verbose: bool) -> None:
    for kind, words in _KINDS.items():
        these = [each for each in found if each.kind == kind and each.kept is None]
        if these:
            common.out.print(f"{_size(these)} {words}")
        for each in these if verbose else ():
            common.out.print(f"  {common.safe(each.path)}: {each.bytes / 1e6:.1f} MB")
    for each in found:
        if each.kept is not None:
            common.out.print(f"kept {common.safe(each.path)}: {common.safe(each.kept)}")
    gone = [each for each in found if each.kept is None]
    if not gone:
        common.out.print("nothing to remove")
    else:
        common.out.print(
            f"removed {_size(gone)}" if delete else f"{_size(gone)} can be removed by --delete; nothing was changed"
        )


def _size(these: "list[Leftover]") -> str:
    runs = sum(each.kind != "temporary" and each.path.suffix != ".json" for each in these)
    counts = [(runs, "run"), (len(these) - runs, "file")]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    return f"{' and '.join(words)}, {sum(each.bytes for each in these) / 1e6:.1f} MB"
