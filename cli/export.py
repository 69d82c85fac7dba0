"""The command emodna-export: write the model of a run as ONNX, or its model card."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from emodna.cli import common
from emodna.cli.options import PATH, Command, common_options, config_option


@click.command(
    cls=Command,
    environment="EMODNA_EXPORT",
    groups={"Output": "kind out force"},
    examples=("emodna-export runs/first --to onnx --out model.onnx", "emodna-export runs/first --to card"),
)
@click.argument("run", type=PATH)
@click.option("--to", "kind", type=click.Choice(["onnx", "card"]), required=True, help="Format to write.")
@click.option("--out", type=PATH, help="File to write.  [default: model.onnx or MODEL_CARD.md in RUN]")
@click.option("--force", is_flag=True, help="Replace the file of --out.")
@config_option
@common_options
def export(run: Path, kind: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Write the model of a RUN as ONNX, or its model card.

    RUN is a run folder of emodna-fit. The ONNX model takes the waveform and includes features, framing and
    normalisation. The file is written only if its predictions agree with those of the original model. docs/ONNX.md
    lists inputs, outputs and metadata.
    """
    from emodna.model.run_folder import RunFolder

    folder, began = RunFolder(run), time.perf_counter()
    place, force = out or (folder.onnx if kind == "onnx" else folder.card), force or out is None
    document: dict[str, object]
    if kind == "onnx":
        from emodna.model.inference.onnx_export import export_onnx

        common.detail("writing the ONNX model takes a few seconds")
        exported = export_onnx(folder, place, force=force)
        for name, value in exported.metadata.items():
            common.detail(f"{name}: {common.escape(value)}")
        document = asdict(exported)
        text = (
            f"{exported.bytes / 1e6:.2f} MB; probabilities of {exported.compared} waveforms differ from the original's"
        )
        text += f" by at most {exported.difference:.0e}"
    else:
        from emodna.model.runs.card import export_card

        document = {"bytes": export_card(folder, place, force=force)}
        text = f"{document['bytes']} bytes"
    if as_json:
        head = {"run": str(run.absolute()), "to": kind, "out": str(place.absolute())}
        common.print_json({**head, **document, "wall_seconds": time.perf_counter() - began})
    else:
        common.out.print(f"{common.escape(place)}: {text}")


def main() -> None:
    """Run `emodna-export`."""
    common.run(export)
