"""Measure `--segment energy` on real utterances joined by pauses, in noise.

python -m tests.benchmarks.segment --root data/emodb
"""

import statistics
import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import EnergySegmenter
from tests.benchmarks.inputs import read_at

_RATE = 22_050


def join_utterances(
    utterances: list[NDArray[np.float32]], snr: float, random: np.random.Generator
) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """Join utterances with pauses of 0.7 to 3 s, in pink noise at this signal-to-noise ratio in dB."""
    parts, places, at = [], [], 0
    for utterance in utterances:
        pause = round(random.uniform(0.7, 3.0) * _RATE)
        parts += [np.zeros(pause, np.float32), utterance]
        places.append((at + pause, at + pause + len(utterance)))
        at += pause + len(utterance)
    speech = np.concatenate(parts)
    spectrum = np.fft.rfft(random.standard_normal(len(speech)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20)), len(speech))
    level = np.sqrt(np.mean(np.concatenate(utterances) ** 2)) * 10 ** (-snr / 20)
    return (speech + pink / pink.std() * level).astype(np.float32), places


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="WAVs.")
@click.option("--recordings", default=20, show_default=True)
@click.option("--each", default=20, show_default=True, help="Utterances per recording.")
def main(root: Path, recordings: int, each: int) -> None:
    """Compare segments with utterances at several levels of noise."""
    random = np.random.default_rng(0)
    files = sorted(root.rglob("*.wav"))
    click.echo("SNR dB | speech kept % | pause in segments % | utterances in a segment of their own % | x real time")
    for snr in (60, 30, 20, 10, 5):
        kept, pause, alone, speeds = [], [], [], []
        for _ in range(recordings):
            chosen = random.choice(np.array(files, object), each, replace=False)
            utterances = [read_at(path, _RATE) for path in chosen]
            samples, places = join_utterances(utterances, snr, random)
            began = time.perf_counter()
            found_at = EnergySegmenter().find_segments(samples, _RATE)
            speeds.append(len(samples) / _RATE / (time.perf_counter() - began))
            pieces = [(round(start * _RATE), round(stop * _RATE)) for start, stop in found_at]
            truth, found = (np.zeros(len(samples), bool) for _ in range(2))
            for spans, mask in ((places, truth), (pieces, found)):
                for start, stop in spans:
                    mask[start:stop] = True
            kept.append((truth & found).sum() / truth.sum())
            pause.append((~truth & found).sum() / found.sum())
            touching = [[p for p in pieces if p[0] < stop and p[1] > start] for start, stop in places]
            owners = [sum(p[0] < stop and p[1] > start for start, stop in places) for p in pieces]
            count = dict(zip(pieces, owners, strict=True))
            alone.append(sum(len(t) == 1 and count[t[0]] == 1 for t in touching) / each)
        figures = [100 * statistics.mean(column) for column in (kept, pause, alone)]
        click.echo(
            f"{snr:6} | {figures[0]:5.1f} | {figures[1]:5.1f} | {figures[2]:5.1f} | {statistics.mean(speeds):.0f}"
        )


if __name__ == "__main__":
    main()
