"""The command emodna-export: write the model of a run as ONNX, or its model card."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from emodna.cli import common
from emodna.cli.options import Command, common_options, config_option


@click.command(
    cls=Command,
    environment="EMODNA_EXPORT",
    groups={"Output": "kind out force"},
    examples=("emodna-export runs/first --to onnx --out model.onnx", "emodna-export runs/first --to card"),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "kind", type=click.Choice(["onnx", "card"]), required=True, help="Format to write.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write.  [default: model.onnx or MODEL_CARD.md in the run's folder]",
)
@click.option("--force", is_flag=True, help="Replace the file at --out.")
@config_option
@common_options
def export(run: Path, kind: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Write the model of a RUN (a folder of emodna-fit) as ONNX, or rewrite its model card.

    The input of the ONNX file is the waveform: it computes features, framing and normalisation itself. It is kept only
    if its predictions agree with the original's. docs/ONNX.md lists inputs, outputs and metadata.
    """
    from emodna.model.run_folder import RunFolder

    folder, began = RunFolder(run), time.perf_counter()
    place, force = out or (folder.onnx if kind == "onnx" else folder.card), force or out is None
    document: dict[str, object]
    if kind == "onnx":
        from emodna.model.inference.onnx_export import export_onnx

        common.detail("writing the model as ONNX takes a few seconds")
        exported = export_onnx(folder, place, force=force)
        for name, value in exported.metadata.items():
            common.detail(f"{name}: {common.escape(value)}")
        document = asdict(exported)
        text = (
            f"{exported.bytes / 1e6:.2f} MB, within {exported.difference:.0e} of the original's probabilities"
            f" ({exported.compared} waveforms compared)"
        )
    else:
        from emodna.model.runs.card import export_card

        document = {"bytes": export_card(folder, place, force=force)}
        text = f"{document['bytes']} bytes"
    if as_json:
        head = {"run": str(run.absolute()), "to": kind, "out": str(place.absolute()), **document}
        common.print_json({**head, "wall_seconds": time.perf_counter() - began})
    else:
        common.out.print(f"{common.escape(place)}: {text}")


def main() -> None:
    """Run `emodna-export`."""
    common.run(export)
