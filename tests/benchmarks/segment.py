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
    """Join utterances with pauses of 0.7 to 3 s in pink noise at a signal-to-noise ratio in dB.

    Returns the samples, and the first and last sample of each utterance.
    """
    parts, spans, length = [], [], 0
    for utterance in utterances:
        pause = round(random.uniform(0.7, 3.0) * _RATE)
        parts += [np.zeros(pause, np.float32), utterance]
        spans.append((length + pause, length + pause + len(utterance)))
        length += pause + len(utterance)
    speech = np.concatenate(parts)
    spectrum = np.fft.rfft(random.standard_normal(len(speech)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20)), len(speech))
    level = np.sqrt(np.mean(np.concatenate(utterances) ** 2)) * 10 ** (-snr / 20)
    return (speech + pink / pink.std() * level).astype(np.float32), spans


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="WAVs.")
@click.option("--recordings", default=20, show_default=True)
@click.option("--each", default=20, show_default=True, help="Utterances per recording.")
def main(root: Path, recordings: int, each: int) -> None:
    """Compare segments with utterances at several signal-to-noise ratios."""
    random = np.random.default_rng(0)
    files = sorted(root.rglob("*.wav"))
    click.echo("SNR dB | speech kept % | pause in segments % | utterances in a segment of their own % | x real time")
    for snr in (60, 30, 20, 10, 5):
        speech_kept, pause_kept, alone, speeds = [], [], [], []
        for _ in range(recordings):
            chosen = random.choice(np.array(files, object), each, replace=False)
            utterances = [read_at(path, _RATE) for path in chosen]
            samples, utterance_spans = join_utterances(utterances, snr, random)
            began = time.perf_counter()
            segments = EnergySegmenter().find_segments(samples, _RATE)
            speeds.append(len(samples) / _RATE / (time.perf_counter() - began))
            segment_spans = [(round(start * _RATE), round(stop * _RATE)) for start, stop in segments]
            is_speech, is_kept = (np.zeros(len(samples), bool) for _ in range(2))
            for spans, mask in ((utterance_spans, is_speech), (segment_spans, is_kept)):
                for start, stop in spans:
                    mask[start:stop] = True
            speech_kept.append((is_speech & is_kept).sum() / is_speech.sum())
            pause_kept.append((~is_speech & is_kept).sum() / is_kept.sum())
            overlaps = np.array([[a < d and b > c for c, d in segment_spans] for a, b in utterance_spans])
            pairs = overlaps & (overlaps.sum(axis=0) == 1) & (overlaps.sum(axis=1, keepdims=True) == 1)
            alone.append(pairs.sum() / each)
        percents = " | ".join(f"{100 * statistics.mean(column):5.1f}" for column in (speech_kept, pause_kept, alone))
        click.echo(f"{snr:6} | {percents} | {statistics.mean(speeds):.0f}")


if __name__ == "__main__":
    main()
