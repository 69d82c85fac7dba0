"""Compare the speed of other feature extractors on the same recordings, per core.

Each row names the features that the extractor computes. Numbers of frames, bands and coefficients are equal if the
package allows it. Needs the packages of `pip install -c constraints.txt -e '.[benchmarks]'`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import librosa
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from emodna.pipeline import corpora
from emodna.pipeline.features import MfccSet
from tests.benchmarks.inputs import corpus_option, read_at, root_option
from tests.benchmarks.profile import prepare_once
from tests.benchmarks.timing import Rounds, measure_cpu_time

try:
    import kaldi_native_fbank
    import opensmile
    import python_speech_features
except ImportError as error:
    raise SystemExit(
        f"{error.name} is not installed; this benchmark needs: pip install -c constraints.txt -e '.[benchmarks]'"
    ) from None

RATE, N_FFT, HOP, MELS, COEFFICIENTS = 22050, 2048, 512, 128, 40
EMODNA, LIBROSA = "emodna", "librosa.feature.mfcc"


@dataclass(frozen=True)
class Peer:
    """A feature extractor."""

    name: str
    computes: str
    extract: Callable[[Any], Any]
    """Function from samples (n,) to features."""


def make_kaldi() -> Callable[[Any], Any]:
    """Return the extractor of kaldi-native-fbank, which returns frame by frame."""
    options = kaldi_native_fbank.MfccOptions()
    frames, mels = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.frame_length_ms, frames.frame_shift_ms = RATE, 1000 * N_FFT / RATE, 1000 * HOP / RATE
    frames.dither, frames.preemph_coeff, frames.remove_dc_offset, frames.window_type = 0, 0, False, "hanning"
    mels.num_bins, mels.low_freq, mels.high_freq = MELS, 0, 0
    options.num_ceps, options.use_energy, options.cepstral_lifter = COEFFICIENTS, False, 0

    def extract(samples: Any) -> Any:
        mfcc = kaldi_native_fbank.OnlineMfcc(options)
        mfcc.accept_waveform(RATE, samples)
        mfcc.input_finished()
        return np.stack([mfcc.get_frame(number) for number in range(mfcc.num_frames_ready)])

    return extract


def make_smile(features: Any, level: Any) -> Callable[[Any], Any]:
    """Return openSMILE's extractor, without the data frame of its Python package."""
    return partial(opensmile.Smile(features, level), sampling_rate=RATE)


def list_peers() -> list[Peer]:
    """Return all extractors; emodna is the first."""
    return [
        Peer(EMODNA, "40 MFCCs, librosa's", MfccSet().extract),
        Peer(LIBROSA, "40 MFCCs", lambda samples: librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=COEFFICIENTS)),
        Peer("kaldi-native-fbank", "40 MFCCs, Kaldi's mel scale, no top_db", make_kaldi()),
        Peer(
            "python_speech_features",
            "40 MFCCs, HTK mel scale, no top_db",
            partial(
                python_speech_features.mfcc,
                samplerate=RATE,
                winlen=N_FFT / RATE,
                winstep=HOP / RATE,
                numcep=COEFFICIENTS,
                nfilt=MELS,
                nfft=N_FFT,
                preemph=0,
                ceplifter=0,
                winfunc=np.hanning,
                appendEnergy=False,
            ),
        ),
        Peer(
            "opensmile, mfcc40.conf",
            "40 MFCCs, HTK mel scale, no top_db",
            make_smile(str(Path(__file__).with_name("mfcc40.conf")), "lld"),
        ),
        Peer(
            "opensmile, eGeMAPSv02",
            "25 descriptors (pitch, formants, ...) every 10 ms",
            make_smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors),
        ),
    ]


def extract_all(peer: Peer, paths: Sequence[Path]) -> None:
    """Load, extract and save in a plain loop."""
    with tempfile.TemporaryDirectory() as dest:
        for path in paths:
            samples, _ = librosa.load(path, sr=RATE)
            np.save(Path(dest, f"{path.stem}.npy"), peer.extract(samples))


def prepare_all(corpus: str, root: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        prepare_once(corpora.load_corpus(corpus), root, Path(cache), workers=1)


def print_table(title: str, works: dict[str, tuple[str, Callable[[], object]]], duration: float, rounds: int) -> None:
    """Time several works in turn, and print a line for each."""
    taken = Rounds({name: partial(measure_cpu_time, work) for name, (_, work) in works.items()}, rounds, warm_up=True)
    click.echo(f"\n{title:24} {'x real time':>11} {'of librosa':>11}   computes")
    for name, (computes, _) in works.items():
        click.echo(f"{name:24} {duration / taken.median(name):11.0f} {taken.ratio(LIBROSA, name):11.2f}   {computes}")


@click.command()
@root_option
@corpus_option
@click.option("--files", default=120, show_default=True, help="Number of files.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of all, in turn.")
def main(root: Path, corpus: str, files: int, rounds: int) -> None:
    """Print the speed of each extractor on decoded audio, and from files to files."""
    paths = sorted(root.rglob("*.wav"))
    paths = paths[:: max(1, len(paths) // files)][:files]
    audio = [read_at(path, RATE) for path in paths]
    duration = sum(map(len, audio)) / RATE
    torch.set_num_threads(1)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as chosen:
        for path in paths:
            Path(chosen, path.name).symlink_to(path.resolve())
        click.echo(f"{len(audio)} files of {root}, {duration:.0f} s of audio, CPU time, median of {rounds} rounds")
        in_memory: dict[str, tuple[str, Callable[[], object]]] = {
            peer.name: (peer.computes, lambda peer=peer: [peer.extract(samples) for samples in audio])
            for peer in list_peers()
        }
        print_table("decoded audio", in_memory, duration, rounds)
        from_files: dict[str, tuple[str, Callable[[], object]]] = {
            EMODNA: ("emodna-prep: hashes, store, index", lambda: prepare_all(corpus, Path(chosen)))
        } | {
            peer.name: (f"librosa.load, {peer.computes}, np.save", lambda peer=peer: extract_all(peer, paths))
            for peer in list_peers()[1:]
        }
        print_table("files to files", from_files, duration, rounds)


if __name__ == "__main__":
    main()
