"""Emotional pseudo-speech by a source-filter model: a glottal pulse train and noise through moving formants.

It is a formant synthesiser (Fant 1960; Klatt 1980). A band-limited train of glottal pulses and aspiration noise excite
an all-pole vocal tract, whose resonances glide from phone to phone. Frication noise is shaped at its constriction. A
channel adds the room, noise floor, equalisation and level of one recording set-up.

References
----------
- Fant 1960, Acoustic theory of speech production, Mouton.
- Klatt 1980, Software for a cascade/parallel formant synthesizer, J. Acoust. Soc. Am. 67, 971-995.
- Klatt & Klatt 1990, Analysis, synthesis, and perception of voice quality variations, J. Acoust. Soc. Am. 87, 820-857.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tests.synthesis.expressions import Expression
from tests.synthesis.phones import PAUSE, PHONES, VOWELS, Phone, Sentence

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Complex64 = NDArray[np.complex64]

_HOP_S = 0.008
_SPAN = 6
"""Length of a transform in hops: 48 ms, of which 24 ms are for the decay of the resonances."""

_PEAK_CEILING = 10 ** (-0.5 / 20)


@dataclass(frozen=True)
class Voice:
    """One speaker."""

    f0_hz: float
    """Habitual fundamental frequency in neutral speech, in Hz."""
    formant_scale: float = 1.0
    """Formant frequencies relative to an adult male's 17.5 cm tract: about 1.0 for men, 1.15 to 1.2 for women."""
    tempo: float = 1.0
    """Habitual speaking rate, 1 = the rate of the phone table."""
    tilt_db_octave: float = -9.0
    """Slope of the radiated voice source well above 200 Hz, in dB/octave: about -9 in modal voice."""
    breathiness_db: float = -32.0
    """Spectral density of the aspiration noise relative to the pulses at low frequencies, in dB. Higher in women (Klatt
    & Klatt 1990)."""
    level_db: float = 0.0
    """Habitual loudness relative to the other speakers of the corpus, in dB."""
    expressiveness: float = 1.0
    """Strength of style expressions: 0 = always neutral, 1 = as in `EXPRESSIONS`."""


@dataclass(frozen=True)
class Channel:
    """One recording set-up."""

    sample_rate_hz: int = 16_000
    """Sample rate of the files, in Hz."""
    level_db: float = -26.0
    """RMS of a neutral utterance by an average speaker, in dB relative to full scale."""
    noise_db: float = -50.0
    """RMS of the noise floor relative to that utterance, in dB."""
    levelling: float = 0.0
    """Share of the level differences between utterances that is removed by a gain for each: 0 = one gain for all, 1 =
    every utterance peaks at -0.5 dB full scale."""
    low_cut_hz: float = 60.0
    high_cut_hz: float = 20_000.0
    """Corner frequencies (-3 dB, 12 dB/octave), in Hz."""
    tilt_db_octave: float = 0.0
    """Slope of the response around 1 kHz, in dB/octave."""
    reverberation_s: float = 0.1
    """Time in which the room's reverberation decays by 60 dB, in s."""
    reverberation_db: float = -20.0
    """Energy of the reverberation relative to the direct sound, in dB."""
    lead_s: tuple[float, float] = (0.05, 0.15)
    trail_s: tuple[float, float] = (0.05, 0.15)
    """Shortest and longest silence before and after the speech, in s."""


def utter(
    voice: Voice, expression: Expression, sentence: Sentence, channel: Channel, rng: np.random.Generator
) -> Float32:
    """Speak a sentence: return float32 samples within -1 and 1, shape (samples,), at `channel.sample_rate_hz`.

    Each rendition varies at random around `voice.expressiveness` times the expression.
    """
    style = expression.scale(voice.expressiveness * np.exp(0.15 * rng.standard_normal())).vary(rng)
    tracks = _make_tracks(voice, style, sentence, rng)
    dry = _speak(voice, style, tracks, channel.sample_rate_hz, rng)
    dry *= np.float32(_to_gain(voice.level_db + style.level_db) / np.sqrt(np.mean(np.square(dry))))
    return _record(dry, channel, rng)


@dataclass(frozen=True)
class _Tracks:
    """Movements of the articulators, one row per hop of 8 ms: f0, formants of shape (frames, 4), amplitudes."""

    f0_hz: Float64
    formants_hz: Float32
    voicing: Float32
    aspiration: Float32
    frication: Float32
    frication_hz: Float32


def _to_gain(db: float) -> float:
    return float(10 ** (db / 20))


def _smooth(track: Float64, width_s: float) -> Float64:
    """Smooth a track by a Hann window of `width_s` along the first axis."""
    half = max(1, round(width_s / _HOP_S / 2))
    kernel = np.hanning(2 * half + 3)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(track.reshape(len(track), -1), ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=0)
    return np.asarray(windows @ kernel).reshape(track.shape)


def _make_tracks(voice: Voice, style: Expression, sentence: Sentence, rng: np.random.Generator) -> _Tracks:
    """Return smooth tracks between the targets of the phones of a sentence."""
    phones, syllable, is_vowel = _list_phones(sentence)
    accented = np.array([*(s.accented for s in sentence), False])[syllable]
    duration = np.array([phone.duration_s for phone in phones])
    duration *= np.exp(0.1 * rng.standard_normal(len(phones))) / (voice.tempo * style.tempo)
    duration *= np.where(accented & is_vowel, 1.35, 1.0)
    duration *= np.where(syllable == len(sentence) - 1, 1.35, 1.0)  # final lengthening
    ends = np.maximum.accumulate(np.round(np.cumsum(duration) / _HOP_S).astype(int))
    frame = np.repeat(np.arange(len(phones)), np.diff(ends, prepend=0))

    formants = _compute_formants(voice, style, phones)[frame]
    levels = np.array([[phone.voicing_db, phone.aspiration_db, phone.frication_db] for phone in phones])[frame]
    levels = _smooth(levels, 0.025 / style.articulation)
    # Accented syllables gain half of the accent, others lose half.
    stress = _smooth(np.where(accented[frame], 0.5, -0.5), 0.12) * style.accent_db
    fading = np.linspace(1.0, -1.0, len(frame))  # falling lung pressure: about 3 dB over a sentence
    levels += (stress + 1.5 * fading)[:, None]
    levels[:, 1] += voice.breathiness_db + style.breathiness_db
    levels[:, 2] += 40 * np.log10(style.articulation)  # a slack constriction hisses less
    amplitude = (10 ** (levels / 20)).astype(np.float32)
    return _Tracks(
        _compute_f0(voice, style, syllable[frame], accented & is_vowel, ends, rng),
        _smooth(formants, 0.06 / style.articulation).astype(np.float32),
        amplitude[:, 0],
        amplitude[:, 1],
        amplitude[:, 2],
        np.array([phone.frication_hz for phone in phones], np.float32)[frame],
    )


def _list_phones(sentence: Sentence) -> tuple[list[Phone], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the phones between two pauses, the syllable index of each, and True for vowels."""
    phones, syllable, is_vowel = [PAUSE], [0], [False]
    for index, spoken in enumerate(sentence):
        for symbol in spoken.symbols:
            parts = PHONES[symbol]
            phones += parts
            syllable += [index] * len(parts)
            is_vowel += [symbol in VOWELS] * len(parts)
    return [*phones, PAUSE], np.array([*syllable, len(sentence)]), np.array([*is_vowel, False])


def _compute_formants(voice: Voice, style: Expression, phones: list[Phone]) -> Float64:
    """Return the formants of each phone in Hz, for a voice and expression; shape (phones, 4)."""
    rest = np.array(PAUSE.formants_hz)
    targets = rest + style.articulation * (np.array([phone.formants_hz for phone in phones]) - rest)
    targets[:, 0] = np.maximum(targets[:, 0] * style.f1_ratio, 200.0)
    return np.asarray(targets * (voice.formant_scale * style.formant_ratio))


def _compute_f0(
    voice: Voice,
    style: Expression,
    syllable: NDArray[np.int64],
    accents: NDArray[np.bool_],
    ends: NDArray[np.int64],
    rng: np.random.Generator,
) -> Float64:
    """Return the f0 in Hz, shape (frames,): declination, a peak per accent, the final movement and drift."""
    time = np.arange(len(syllable), dtype=np.float64)
    place = time / len(time)
    contour = style.f0_range_st * 0.5 * (0.5 - place)
    peaks = ends[accents][:, None] - 0.03 / _HOP_S
    heights = style.f0_range_st * 0.6 * np.exp(0.25 * rng.standard_normal(len(peaks)))
    contour += heights @ np.exp(-(((time - peaks) / (0.11 / _HOP_S)) ** 2))
    last = np.flatnonzero(syllable == syllable.max() - 1)
    contour += style.final_st * np.interp(time, (last[0], last[-1]), (0.0, 1.0))
    contour += _smooth(rng.standard_normal(len(time)), 0.15) * (2.0 + 100 * style.jitter)
    # Without its mean, the contour does not change the mean f0, which f0_ratio sets.
    contour -= contour.mean()
    return np.asarray(np.clip(voice.f0_hz * style.f0_ratio * 2 ** (contour / 12), 55.0, 750.0))


def _speak(voice: Voice, style: Expression, tracks: _Tracks, sample_rate_hz: int, rng: np.random.Generator) -> Float32:
    """Return the speech at the lips, shape (samples,).

    The windowed excitation of each hop is filtered by the tract of that hop in the frequency domain; windows overlap.
    The product of spectra equals a convolution if responses decay within the transform; the slowest decays by 70 dB.
    """
    hop = round(_HOP_S * sample_rate_hz)
    frequency = np.asarray(fft.rfftfreq(_SPAN * hop, 1 / sample_rate_hz), np.float32)
    pulses = _compute_spectra(_make_pulses(tracks.f0_hz, style, hop, sample_rate_hz, rng), hop)
    noise = _compute_spectra(rng.standard_normal(len(tracks.f0_hz) * hop, dtype=np.float32), hop)

    source = _compute_source_slope(
        frequency, 0.6 * float(tracks.f0_hz.mean()), voice.tilt_db_octave + style.tilt_db_octave
    )
    pulses *= tracks.voicing[:, None] * source
    spectrum = noise * (tracks.aspiration[:, None] * _compute_source_slope(frequency, 500.0, -6.0))
    spectrum += pulses
    spectrum *= _compute_tract_response(tracks.formants_hz, voice.formant_scale, frequency)
    has_frication = tracks.frication > _to_gain(-50.0)
    centre = tracks.frication_hz[has_frication][:, None] * np.float32(voice.formant_scale**0.5)
    hiss = tracks.frication[has_frication][:, None] / (1 + ((frequency - centre) / (0.35 * centre)) ** 2)
    spectrum[has_frication] += noise[has_frication] * hiss
    return _overlap_add(fft.irfft(spectrum, _SPAN * hop), hop)


def _make_pulses(f0_hz: Float64, style: Expression, hop: int, sample_rate_hz: int, rng: np.random.Generator) -> Float32:
    """Return a band-limited train of pulses with unit power, shape (frames * hop,).

    Each pulse is a windowed sinc between the samples, without aliasing or rounding of the period.
    """
    samples = len(f0_hz) * hop
    phase = np.cumsum(np.interp(np.arange(samples) / hop, np.arange(len(f0_hz)), f0_hz)) / sample_rate_hz
    centre = np.interp(np.arange(1, int(phase[-1])), phase, np.arange(samples))
    period = np.gradient(centre) if len(centre) > 1 else np.full(len(centre), sample_rate_hz / f0_hz[0])
    centre = centre + style.jitter * period * rng.standard_normal(len(centre))
    # The square root of the period makes the power of the train independent of the f0.
    height = np.sqrt(period) * (1 + style.shimmer * rng.standard_normal(len(centre)))
    index = np.floor(centre).astype(int)[:, None] + np.arange(-3, 5)
    offset = index - centre[:, None]
    value = height[:, None] * np.sinc(offset) * np.cos(np.pi * offset / 10) ** 2
    inside = (index >= 0) & (index < samples)
    return np.bincount(index[inside], value[inside], minlength=samples).astype(np.float32)


def _compute_source_slope(frequency: Float32, corner_hz: float, slope_db_octave: float) -> Float32:
    """Return the amplitude spectrum of the radiated glottal source.

    Below `corner_hz`, the glottal formant, it rises by 6 dB/octave; above 200 Hz it falls by `slope_db_octave`.
    """
    ratio = frequency / np.float32(corner_hz)
    glottal = 2 * ratio / (1 + ratio**2)
    return np.asarray(glottal * (1 + (frequency / 200) ** 2) ** ((slope_db_octave + 6.0) / (40 * math.log10(2))))


def _compute_tract_response(formants_hz: Float32, formant_scale: float, frequency: Float32) -> Complex64:
    """Return the response of the vocal tract, shape (frames, frequencies): resonators in cascade.

    The first four are the formants. Those above are fixed at the resonances of a uniform tube, up to twice the Nyquist
    frequency; Fant's higher-pole correction replaces the rest.
    """
    response = np.ones((len(formants_hz), len(frequency)), np.complex64)
    for centre, bandwidth in zip(formants_hz.T, (110.0, 120.0, 160.0, 240.0), strict=True):
        response *= _compute_resonator(frequency, centre[:, None], bandwidth)
    spacing = 1000.0 * formant_scale
    above = np.arange(4.5 * spacing, 2 * float(frequency[-1]), spacing).astype(np.float32)[:, None]
    rest = np.exp(-(frequency**2) / np.float32(spacing * (float(above[-1, 0]) + spacing / 2)))
    response *= np.prod(_compute_resonator(frequency, above, 0.1 * above), axis=0) * rest
    return np.reciprocal(response)


def _compute_resonator(frequency: Float32, centre: Float32, bandwidth: Float32 | float) -> Complex64:
    """Return the denominator of a second-order resonator with unit gain at 0 Hz."""
    ratio = frequency * (1 / centre)
    denominator = np.empty(ratio.shape, np.complex64)
    np.subtract(1, np.square(ratio), out=denominator.real)
    np.multiply(ratio, bandwidth / centre, out=denominator.imag)
    return denominator


def _compute_spectra(excitation: Float32, hop: int) -> Complex64:
    """Return the spectra of Hann windows of two hops, one per hop, shape (frames, _SPAN * hop // 2 + 1)."""
    blocks = np.pad(excitation, hop).reshape(-1, hop)
    window = np.sin(np.pi * (np.arange(2 * hop, dtype=np.float32) + 0.5) / (2 * hop)) ** 2
    # The filter of the source has zero phase, so some of it precedes the pulse; one hop is left free for that.
    framed = np.zeros((len(blocks) - 2, _SPAN * hop), np.float32)
    np.multiply(blocks[:-2], window[:hop], out=framed[:, hop : 2 * hop])
    np.multiply(blocks[1:-1], window[hop:], out=framed[:, 2 * hop : 3 * hop])
    return np.asarray(fft.rfft(framed), np.complex64)


def _overlap_add(frames: Float32, hop: int) -> Float32:
    """Add the frames, each one hop after the last; shape ((frames + _SPAN - 1) * hop,)."""
    blocks = frames.reshape(len(frames), -1, hop)
    total = np.zeros((len(frames) + blocks.shape[1] - 1, hop), np.float32)
    for delay in range(blocks.shape[1]):
        total[delay : delay + len(frames)] += blocks[:, delay]
    return total.ravel()


def _record(dry: Float32, channel: Channel, rng: np.random.Generator) -> Float32:
    """Return the recording of speech whose neutral level is 1 RMS: room, silence around, noise, response, gain."""
    rate = channel.sample_rate_hz
    lead, trail = (round(rng.uniform(*span) * rate) for span in (channel.lead_s, channel.trail_s))
    samples = lead + len(dry) + trail
    size = fft.next_fast_len(samples + round(channel.reverberation_s * rate), real=True)
    frequency = fft.rfftfreq(size, 1 / rate).astype(np.float32)

    padded = np.zeros(size, np.float32)
    padded[lead : lead + len(dry)] = dry
    room = _make_room_response(rate, channel.reverberation_s, channel.reverberation_db)
    spectrum = fft.rfft(padded) * fft.rfft(room, size)
    noise = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum += noise * (np.float32(_to_gain(channel.noise_db)) * _compute_noise_colour(frequency))
    spectrum *= _compute_channel_response(frequency, channel)
    recording = np.asarray(fft.irfft(spectrum, size)[:samples], np.float32)
    recording *= np.float32(_to_gain(channel.level_db))

    peak = float(np.abs(recording).max())
    gain = (_PEAK_CEILING / peak) ** channel.levelling
    # The gain is reduced if the loudest passages would clip.
    return recording * np.float32(min(gain, _PEAK_CEILING / peak))


@lru_cache(maxsize=8)
def _make_room_response(sample_rate_hz: int, reverberation_s: float, reverberation_db: float) -> Float32:
    """Return the room's impulse response: the direct sound and an exponentially decaying tail of noise.

    The tail is the same for all utterances: a corpus is recorded in one room.
    """
    time = np.arange(max(1, round(reverberation_s * sample_rate_hz))) / sample_rate_hz
    tail = np.random.default_rng(0).standard_normal(len(time)) * 10 ** (-3 * time / max(reverberation_s, 1e-3))
    tail[time < 0.003] = 0.0  # the nearest wall is at half a metre
    tail *= _to_gain(reverberation_db) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    tail[0] = 1.0
    return tail.astype(np.float32)


def _compute_noise_colour(frequency: Float32) -> Float32:
    """Return the amplitude spectrum of a noise floor with unit power: white, with some rumble below 150 Hz."""
    colour = np.sqrt(1 + (150.0 / np.maximum(frequency, 20.0)) ** 2)
    return np.asarray(colour / np.sqrt(np.mean(colour**2)), np.float32)


def _compute_channel_response(frequency: Float32, channel: Channel) -> Float32:
    """Return the magnitude response of microphone and equalisation."""
    audible = np.maximum(frequency, 1.0)
    low_cut = 1 / np.sqrt(1 + (channel.low_cut_hz / audible) ** 4)
    high_cut = 1 / np.sqrt(1 + (audible / channel.high_cut_hz) ** 4)
    octaves = np.log2(np.maximum(audible, 50.0) / 1000.0)
    return np.asarray(low_cut * high_cut * 10 ** (channel.tilt_db_octave * octaves / 20), np.float32)
