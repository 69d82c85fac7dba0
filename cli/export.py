"""emodna-export: a run's model for other programs, and its card for people."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.model.run_folder import RunFolder


@common.environment("EMODNA_EXPORT")
@click.command(context_settings=common.CONTEXT)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "kind", type=click.Choice(["onnx", "card"]), required=True, help="What to write.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write.  [default: model.onnx or MODEL_CARD.md in the run's folder, written anew]",
)
@click.option("--force", is_flag=True, help="Replace a file that is at --out.")
@common.config_option
@common.common_options
def export(run: Path, kind: str, out: Path | None, force: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write the model of a RUN (a folder of emodna-fit) as ONNX, or its model card anew.

    The ONNX file begins at the waveform: features, framing and normalisation are inside. It is compared with the
    original, and only left behind if their answers agree. docs/ONNX.md has its inputs, outputs and metadata.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.model.run_folder import RunFolder

    folder = RunFolder(run)
    place = out or (folder.onnx if kind == "onnx" else folder.card)
    write = _write_onnx if kind == "onnx" else _write_card
    began = time.perf_counter()
    said, document = write(folder, place, force=force or out is None)
    if as_json:
        described = {"run": str(run.absolute()), "to": kind, "out": str(place.absolute()), **document}
        common.print_json({**described, "wall_seconds": time.perf_counter() - began})
    else:
        common.out.print(f"{common.safe(place)}: {said}")


def _write_onnx(run: "RunFolder", place: Path, *, force: bool) -> tuple[str, dict[str, object]]:
    """Write the model; return what to say of it, for people and for scripts."""
    from emodna.model.inference.onnx_export import export_onnx

    common.detail("writing the model as ONNX; some seconds")
    exported = export_onnx(run, place, force=force)
    for name, value in exported.metadata.items():
        common.detail(f"{name}: {common.safe(value)}")
    said = (
        f"{exported.bytes / 1e6:.2f} MB, within {exported.difference:.0e} of the original's probabilities"
        f" ({exported.compared} waveforms compared)"
    )
    document: dict[str, object] = {
        "bytes": exported.bytes,
        "difference": exported.difference,
        "compared": exported.compared,
        "metadata": dict(exported.metadata),
    }
    return said, document


def _write_card(run: "RunFolder", place: Path, *, force: bool) -> tuple[str, dict[str, object]]:
    """The same for the card."""
    from emodna.model.runs.card import export_card

    size = export_card(run, place, force=force)
    return f"{size} bytes", {"bytes": size}


def main() -> None:
    """Entry point of `emodna-export`."""
    common.run(export)
