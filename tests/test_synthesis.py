"""Tests of the corpora of pseudo-speech: names, formats, acoustics, reproducibility."""

from __future__ import annotations

import re
import wave
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.synthesis import make_emodb, make_ravdess
from tests.synthesis.corpora import EMODB_CHANNEL, EMODB_COUNTS, EMODB_MEN, RAVDESS_CHANNEL
from tests.synthesis.expressions import EXPRESSIONS, Expression
from tests.synthesis.phones import parse_sentence
from tests.synthesis.speech import Voice, utter

RAVDESS_NAME = re.compile(
    r"03-01-(?P<emotion>0[1-8])-(?P<intensity>0[12])-0[12]-0[12]-(?P<speaker>0[1-9]|1\d|2[0-4])\.wav"
)
EMODB_NAME = re.compile(r"(?P<speaker>03|08|09|1[0-6])(?P<text>a0[12457]|b0[1239]|b10)(?P<emotion>[WLEAFTN])[a-f]\.wav")
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Sound:
    """Measurements of one file: f0 in Hz, level in dB re full scale, spectral centroid in Hz, peak."""

    f0_hz: float
    level_db: float
    centroid_hz: float
    peak: float


def read_audio(path: Path) -> tuple[Float64, int]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples / 32768, file.getframerate()


def select_loud_frames(audio: Float64, rate: int) -> Float64:
    """Return the louder frames of 40 ms, shape (frames, samples): within 15 dB of the loudest, so mostly vowels."""
    windows = np.lib.stride_tricks.sliding_window_view(audio, round(0.04 * rate))[:: round(0.01 * rate)]
    power = np.mean(windows**2, axis=1)
    return np.asarray(windows[power > power.max() * 10**-1.5])


def estimate_f0(windows: Float64, rate: int) -> Float64:
    """Return the f0 of each frame in Hz by autocorrelation, normalised by that of the window."""
    size = windows.shape[1]
    spectrum = np.fft.rfft(windows * np.hanning(size), 2 * size)
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)
    lags = np.arange(rate // 550, rate // 60)
    strength = np.fft.irfft(np.abs(spectrum) ** 2)[:, lags] / window[lags]
    # Choose the first peak that is almost as strong as the strongest: twice the period fits as well.
    strong = strength > 0.9 * strength.max(axis=1, keepdims=True)
    strong[:, [0, -1]] = False
    strong[:, 1:-1] &= (strength[:, 1:-1] >= strength[:, :-2]) & (strength[:, 1:-1] >= strength[:, 2:])
    return np.asarray(rate / lags[strong.argmax(axis=1)])


def measure(path: Path) -> Sound:
    audio, rate = read_audio(path)
    loud = select_loud_frames(audio, rate)
    spectrum = (np.abs(np.fft.rfft(loud * np.hanning(loud.shape[1]))) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(loud.shape[1], 1 / rate)
    band = frequency < 8000
    return Sound(
        float(np.median(estimate_f0(loud, rate))),
        float(10 * np.log10(np.mean(loud**2))),
        float(np.sum(frequency[band] * spectrum[band]) / spectrum[band].sum()),
        float(np.abs(audio).max()),
    )


def mean(sounds: Iterable[Sound]) -> Sound:
    return Sound(*np.mean([astuple(each) for each in sounds], axis=0).tolist())


def average(corpus: dict[Path, Sound], emotion: str, male: bool | None = None) -> Sound:
    """Return the mean over the files of an emotion, and of men or women."""
    chosen = []
    for path, sound in corpus.items():
        name = RAVDESS_NAME.fullmatch(path.name) or EMODB_NAME.fullmatch(path.name)
        assert name is not None
        is_man = int(name["speaker"]) % 2 == 1 if name.re is RAVDESS_NAME else name["speaker"] in EMODB_MEN
        if name["emotion"] == emotion and male in (None, is_man):
            chosen.append(sound)
    return mean(chosen)


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Sound]:
    """Measurements of four actors; neutral, sad and angry."""
    root = tmp_path_factory.mktemp("ravdess")
    return {
        path: measure(path) for path in make_ravdess(root, actors=range(1, 5), emotions=(1, 4, 5), repetitions=(1,))
    }


@pytest.fixture(scope="module")
def emodb(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Sound]:
    """Measurements of four speakers, two of each sex; neutral, sad and angry."""
    root = tmp_path_factory.mktemp("emodb")
    speakers, texts = ("03", "08", "09", "10"), ("a01", "a02", "a04", "a07")
    return {path: measure(path) for path in make_emodb(root, speakers=speakers, texts=texts, emotions="NTW")}


def test_ravdess_layout(tmp_path: Path) -> None:
    paths = make_ravdess(tmp_path, actors=(1, 24), repetitions=(1, 2), syllables=1)
    assert sorted(tmp_path.rglob("*.wav")) == paths
    assert len(paths) == 2 * 60  # as many for each actor as in the real corpus
    for path in paths:
        name = RAVDESS_NAME.fullmatch(path.name)
        assert name is not None
        assert path.parent == tmp_path / f"Actor_{name['speaker']}"
        assert (name["emotion"], name["intensity"]) != ("01", "02")
        audio, rate = read_audio(path)
        assert rate == 48_000
        assert 0.2 < len(audio) / rate < 1.6  # one syllable


def test_emodb_layout_and_counts(tmp_path: Path) -> None:
    paths = make_emodb(tmp_path, syllables=1)
    assert sorted(tmp_path.rglob("*.wav")) == paths
    names = [EMODB_NAME.fullmatch(path.name) for path in paths]
    assert Counter(name["emotion"] for name in names if name) == EMODB_COUNTS
    assert len({name["speaker"] for name in names if name}) == len({name["text"] for name in names if name}) == 10
    assert {path.parent for path in paths} == {tmp_path / "wav"}
    assert all(read_audio(path)[1] == 16_000 for path in paths[::20])


def test_a_share_of_emodb_keeps_the_proportions_and_is_contained_in_a_larger_one(tmp_path: Path) -> None:
    speakers = ("03", "08", "09")
    smaller, larger = (
        {path.name for path in make_emodb(tmp_path / str(share), speakers=speakers, share=share, syllables=1)}
        for share in (0.4, 0.8)
    )
    assert smaller < larger
    for letter, count in Counter(name[5] for name in smaller).items():
        assert count == pytest.approx(0.4 * EMODB_COUNTS[letter] * 3 / 10, abs=2)


def test_women_speak_higher_than_men(ravdess: dict[Path, Sound], emodb: dict[Path, Sound]) -> None:
    for men, women in (
        (average(ravdess, "01", male=True), average(ravdess, "01", male=False)),
        (average(emodb, "N", male=True), average(emodb, "N", male=False)),
    ):
        assert 80 < men.f0_hz < 150 < women.f0_hz < 260


def test_anger_is_louder_higher_and_brighter_than_sadness(ravdess: dict[Path, Sound]) -> None:
    anger, neutral, sadness = (average(ravdess, emotion) for emotion in ("05", "01", "04"))
    assert anger.level_db > neutral.level_db + 6 > sadness.level_db + 7
    assert anger.f0_hz > 1.3 * max(neutral.f0_hz, sadness.f0_hz)
    assert anger.centroid_hz > 1.1 * max(neutral.centroid_hz, sadness.centroid_hz)


def test_strong_intensity_is_louder_and_higher(ravdess: dict[Path, Sound]) -> None:
    angry = {path: sound for path, sound in ravdess.items() if path.name.startswith("03-01-05")}
    normal, strong = (mean(sound for path, sound in angry.items() if path.name[9:11] == i) for i in ("01", "02"))
    assert strong.level_db > normal.level_db + 2
    assert strong.f0_hz > 1.1 * normal.f0_hz


def test_emotions_of_emodb_differ_in_pitch_and_timbre_but_not_in_peak(emodb: dict[Path, Sound]) -> None:
    anger, sadness = average(emodb, "W"), average(emodb, "T")
    assert anger.f0_hz > 1.3 * sadness.f0_hz
    assert anger.centroid_hz > 1.1 * sadness.centroid_hz
    assert all(sound.peak == pytest.approx(10 ** (-0.5 / 20), abs=1e-3) for sound in emodb.values())


def test_high_arousal_is_louder_and_higher_than_low_arousal() -> None:
    high = [EXPRESSIONS[emotion] for emotion in ("anger", "disgust", "fear", "happiness", "surprise")]
    low = [EXPRESSIONS[emotion] for emotion in ("boredom", "calm", "neutral", "sadness")]
    assert min(e.level_db for e in high) >= max(e.level_db for e in low) + 3
    assert min(e.f0_ratio for e in high) > max(e.f0_ratio for e in low)
    assert min(e.tilt_db_octave for e in high) > max(e.tilt_db_octave for e in low)


def test_f0_rises_in_surprise_and_falls_in_neutral_speech() -> None:
    voice, sentence = Voice(115.0), parse_sentence("'na nO na nO na")
    moves: dict[str, list[float]] = {}
    for emotion in ("neutral", "surprise"):
        moves[emotion] = []
        for seed in range(9):
            audio = utter(voice, EXPRESSIONS[emotion], sentence, EMODB_CHANNEL, np.random.default_rng(seed))
            f0 = estimate_f0(select_loud_frames(audio.astype(np.float64), 16_000), 16_000)
            moves[emotion].append(float(12 * np.log2(np.median(f0[-3:]) / np.median(f0[-18:-13]))))
    assert np.median(moves["surprise"]) > 2
    assert np.median(moves["neutral"]) < 0


def test_audio_is_finite_and_has_no_clipping_or_offset(ravdess: dict[Path, Sound], emodb: dict[Path, Sound]) -> None:
    for path, sound in (ravdess | emodb).items():
        assert np.isfinite([sound.f0_hz, sound.level_db, sound.centroid_hz]).all(), path
        assert 0.001 < sound.peak < 0.99, path
        assert abs(read_audio(path)[0].mean()) < 1e-3, path


def test_a_shout_at_high_gain_does_not_clip() -> None:
    channel = replace(RAVDESS_CHANNEL, level_db=0.0)
    audio = utter(Voice(200.0), EXPRESSIONS["anger"], parse_sentence("'hE"), channel, np.random.default_rng(0))
    assert audio.dtype == np.float32
    assert 0.5 < np.abs(audio).max() < 0.99


def test_only_ravdess_has_long_silences(ravdess: dict[Path, Sound], emodb: dict[Path, Sound]) -> None:
    for paths, shortest, longest in ((ravdess, 0.5, 1.1), (emodb, 0.0, 0.35)):
        for path in paths:
            audio, rate = read_audio(path)
            block = round(0.02 * rate)
            power = np.mean(audio[: len(audio) // block * block].reshape(-1, block) ** 2, axis=1)
            lead_s = 0.02 * np.flatnonzero(power > power.max() * 1e-2)[0]
            assert shortest <= lead_s <= longest, path


@pytest.mark.parametrize("syllables", [None, 2])
def test_a_file_does_not_depend_on_other_files(tmp_path: Path, syllables: int | None) -> None:
    some = make_ravdess(tmp_path / "some", actors=(2,), emotions=(8,), repetitions=(2,), syllables=syllables)
    some += make_emodb(tmp_path / "some", speakers=("16",), texts=("b10",), emotions="WF", syllables=syllables)
    make_ravdess(tmp_path / "more", actors=(1, 2), emotions=(1, 8), statements=(2, 1), syllables=syllables)
    make_emodb(tmp_path / "more", speakers=("16", "03"), texts=("a01", "b10"), syllables=syllables)
    assert len(some) >= 5
    for path in some:
        assert (tmp_path / "more" / path.relative_to(tmp_path / "some")).read_bytes() == path.read_bytes()


def test_another_seed_gives_other_audio(tmp_path: Path) -> None:
    one, other = (make_emodb(tmp_path / str(s), speakers=("03",), texts=("a01",), syllables=1, seed=s) for s in (0, 1))
    assert [path.name for path in one] == [path.name for path in other]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(one, other, strict=True))


def test_scale_runs_from_neutral_to_the_expression_and_beyond() -> None:
    anger = EXPRESSIONS["anger"]
    assert anger.scale(0.0) == Expression()
    assert astuple(anger.scale(1.0)) == pytest.approx(astuple(anger))
    assert anger.scale(1.3).f0_ratio > anger.f0_ratio


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_ravdess, {"actors": (1, 25)}, r"actors \[25\]"),
        (make_ravdess, {"repetitions": (3,)}, r"repetitions \[3\]"),
        (make_emodb, {"texts": ("a03",)}, r"texts \['a03'\]"),
        (make_emodb, {"share": 0}, "share 0"),
        (make_emodb, {"syllables": 0}, "syllables 0"),
    ],
)
def test_unknown_codes_are_an_error_that_names_them(
    make: Callable[..., object], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **options)


def test_unknown_phones_are_an_error_that_names_them() -> None:
    with pytest.raises(ValueError, match=r"phones \['\?'\]"):
        parse_sentence("'ba ?a")
