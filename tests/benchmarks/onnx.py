"""Compare a run exported to ONNX with emodna on real recordings: largest difference, size and rate.

Both predict each recording in turn with one thread. Decoding and resampling are not timed.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch

from emodna.model.inference.onnx_export import export_onnx
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.run_folder import RunFolder
from tests.benchmarks.inputs import read_at


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--every", default=1, show_default=True, help="Use every n-th WAV of each folder.")
@click.option("--rounds", default=3, show_default=True, help="Predictions of each recording.")
def main(run: Path, folders: tuple[Path, ...], every: int, rounds: int) -> None:
    """Export RUN, and compare it with the original on all WAVs in FOLDERS."""
    import onnxruntime

    torch.set_num_threads(1)
    model = TrainedModel.load(RunFolder(run).model, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "model.onnx")
        began = time.perf_counter()
        exported = export_onnx(RunFolder(run), file, force=False)
        click.echo(f"exported in {time.perf_counter() - began:.1f} s: {exported.bytes / 1e6:.2f} MB")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        output = session.get_outputs()[0].name
    rate = model.features.sample_rate
    for folder in folders:
        paths = sorted(folder.rglob("*.wav"))[::every]
        largest, largest_in, audio, spent = 0.0, "", 0.0, {"emodna": 0.0, "onnxruntime": 0.0}
        for path in paths:
            waveform = read_at(path, rate)
            audio += rounds * len(waveform) / rate
            for _ in range(rounds):
                began = time.perf_counter()
                features, peak_db = model.features.extract(waveform)
                expected = model.probabilities([(features, peak_db)])[0]
                between = time.perf_counter()
                found = np.atleast_1d(session.run([output], {"waveform": waveform[None]})[0][0])
                spent["emodna"] += between - began
                spent["onnxruntime"] += time.perf_counter() - between
            difference = float(abs(found - expected[-len(found) :]).max())  # NaN if one is NaN
            if not difference <= largest:
                largest, largest_in = difference, path.name
        rates = ", ".join(f"{name} {audio / seconds:.0f} x real time" for name, seconds in spent.items())
        click.echo(
            f"{folder}: {len(paths)} recordings, largest difference in probability {largest:.1e} ({largest_in}); "
            f"{rates}; onnxruntime {spent['emodna'] / spent['onnxruntime']:.2f} x emodna"
        )


if __name__ == "__main__":
    main()
