"""Emotional pseudo-speech by a source-filter model: a glottal pulse train and noise through moving formants.

The chain is that of a formant synthesiser (Fant 1960; Klatt 1980): a band-limited train of glottal pulses and
aspiration noise excite an all-pole vocal tract whose resonances glide from phone to phone; frication noise is shaped at
its constriction; a channel adds the room, the noise floor, the equalisation and the level of one recording set-up.

What an emotion does to the voice is written down once, in `EXPRESSIONS`, from the phonetics literature. No value was
chosen, and none may be changed, for what a classifier makes of the result.

References
----------
- Banse & Scherer 1996, Acoustic profiles in vocal emotion expression, J. Pers. Soc. Psychol. 70, 614-636.
- Fant 1960, Acoustic theory of speech production, Mouton.
- Juslin & Laukka 2003, Communication of emotions in vocal expression and music performance: different channels, same
  code?, Psychol. Bull. 129, 770-814.
- Klatt 1980, Software for a cascade/parallel formant synthesizer, J. Acoust. Soc. Am. 67, 971-995.
- Klatt & Klatt 1990, Analysis, synthesis, and perception of voice quality variations, J. Acoust. Soc. Am. 87, 820-857.
- Murray & Arnott 1993, Toward the simulation of emotion in synthetic speech, J. Acoust. Soc. Am. 93, 1097-1108.
- Peterson & Barney 1952, Control methods used in a study of the vowels, J. Acoust. Soc. Am. 24, 175-184.
- Scherer & Oshinsky 1977, Cue utilization in emotion attribution from auditory stimuli, Motiv. Emot. 1, 331-346.
- Tartter 1980, Happy talk: perceptual and acoustic effects of smiling on speech, Percept. Psychophys. 27, 24-27.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Complex64 = NDArray[np.complex64]

SILENT_DB = -90.0
"""A level in dB that stands for an excitation that is off."""

_HOP_S = 0.008
_SPAN = 6
"""Length of a transform, in hops: 48 ms, of which 24 ms are there for the resonances to die away."""

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
    """Spectral density of the aspiration noise relative to that of the pulses at low frequencies, in dB. Higher in
    women (Klatt & Klatt 1990)."""
    level_db: float = 0.0
    """Habitual loudness relative to the other speakers of the corpus, in dB."""
    expressiveness: float = 1.0
    """How far the speaker goes when acting: 0 = always neutral, 1 = as in `EXPRESSIONS`."""


@dataclass(frozen=True)
class Expression:
    """Effect of an emotion on a voice; the defaults are neutral speech."""

    f0_ratio: float = 1.0
    """Mean fundamental frequency relative to the speaker's neutral one."""
    f0_range_st: float = 4.0
    """Width of the intonation (declination and accents together), in semitones."""
    final_st: float = -2.0
    """Movement of the f0 over the last syllable, in semitones; positive rises."""
    level_db: float = 0.0
    """Level relative to neutral speech, in dB."""
    tempo: float = 1.0
    """Speaking rate relative to neutral speech."""
    tilt_db_octave: float = 0.0
    """Change of the source's slope, in dB/octave; positive is flatter, a tenser voice with more high-frequency
    energy."""
    articulation: float = 1.0
    """Precision: above 1 the vowels spread and the transitions shorten, below 1 the vowels centralise (slurring)."""
    f1_ratio: float = 1.0
    """First formant relative to neutral speech: a wider jaw raises it."""
    formant_ratio: float = 1.0
    """All formants relative to neutral speech: a smile shortens the tract and raises them (Tartter 1980)."""
    breathiness_db: float = 0.0
    """Change of the aspiration noise, in dB."""
    jitter: float = 0.007
    """Standard deviation of the pulse times, relative to the period."""
    shimmer: float = 0.04
    """Standard deviation of the pulse amplitudes, relative to their mean."""
    accent_db: float = 2.5
    """Level of accented over unaccented syllables, in dB: the intensity variability."""

    def at_strength(self, strength: float) -> Expression:
        """Return the expression at another strength: 0 is neutral speech, 1 the expression itself, above 1 exaggerated.

        Ratios and widths move geometrically, dB and signed semitones linearly.
        """
        rest = Expression()
        moved = {}
        for field in fields(self):
            here, there = getattr(rest, field.name), getattr(self, field.name)
            if field.name in _ADDITIVE:
                moved[field.name] = here + strength * (there - here)
            else:
                moved[field.name] = here * (there / here) ** strength
        return Expression(**moved)

    def varied(self, rng: np.random.Generator) -> Expression:
        """Return the expression as it comes out in one utterance: no two renditions are alike.

        The spreads are those between renditions of one emotion by one actor, wide enough for neighbouring emotions
        to overlap.
        """
        draw = rng.standard_normal(8)
        return replace(
            self,
            f0_ratio=self.f0_ratio * 2 ** (1.3 * draw[0] / 12),
            f0_range_st=self.f0_range_st * np.exp(0.22 * draw[1]),
            final_st=self.final_st + 1.5 * draw[2],
            level_db=self.level_db + 2.0 * draw[3],
            tempo=self.tempo * np.exp(0.08 * draw[4]),
            tilt_db_octave=self.tilt_db_octave + 0.6 * draw[5],
            breathiness_db=self.breathiness_db + 2.0 * draw[6],
            articulation=self.articulation * np.exp(0.05 * draw[7]),
        )


_ADDITIVE = frozenset({"final_st", "level_db", "tilt_db_octave", "breathiness_db", "accent_db"})

# anger: Juslin & Laukka 2003: fast, loud, much intensity variability, much high-frequency energy, high f0, much f0
#     variability, irregular; Murray & Arnott 1993: pitch very much higher, accents abrupt, articulation tense.
#     The loudest of all (hot anger in Banse & Scherer 1996), and a loud voice opens the jaw.
# boredom: Banse & Scherer 1996: low f0, little f0 variability, low energy, slow.
# calm: Juslin & Laukka 2003, tenderness: slow, soft, little intensity variability, little high-frequency energy,
#     low f0, little f0 variability, and, unlike sadness, regular.
# disgust: Murray & Arnott 1993: very much slower, range slightly wider, wide downward terminal inflections, grumbled
#     (irregular). Their lower pitch and level are not followed: the actors of RAVDESS and EMODB raise the pitch, and
#     those of RAVDESS the level, a little above neutral.
# fear: Juslin & Laukka 2003: fast, high f0, little f0 variability, much intensity variability, irregular, loud in panic
#     fear only, which is what actors play; Banse & Scherer 1996: panic fear has high f0 and energy; Murray & Arnott
#     1993: much faster, irregular voicing, precise.
# happiness: Juslin & Laukka 2003: fast, medium to high level and high-frequency energy, high f0, much f0 variability,
#     rising contours, regular; Murray & Arnott 1993: smooth upward inflections. A smile raises the formants
#     (Tartter 1980).
# sadness: Juslin & Laukka 2003: slow, soft, little intensity variability, little high-frequency energy, low f0, little
#     f0 variability, falling contours, irregular; Murray & Arnott 1993: pitch slightly lower, slurring.
# surprise: Scherer & Oshinsky 1977: fast, high pitch, large pitch variation, contour up, many harmonics; Murray &
#     Arnott 1993: pitch much higher, range much wider, level higher, rising contour.
_EMOTIONS = ("neutral", "calm", "boredom", "sadness", "happiness", "surprise", "anger", "fear", "disgust")
# fmt: off
_CUES = {
    #                  neutral,  calm, boredom, sadness, happiness, surprise, anger,  fear, disgust
    "f0_ratio":        (    1.0,  0.97,    0.93,    0.97,       1.6,     1.65,  1.75,   1.6,    1.18),
    "f0_range_st":     (    4.0,   3.0,     2.5,     2.5,       9.0,     11.0,   8.0,   4.5,     6.0),
    "final_st":        (   -2.0,  -2.0,    -2.0,    -3.0,       1.0,      8.0,  -2.0,   0.0,    -5.0),
    "level_db":        (    0.0,  -3.0,    -4.0,    -4.0,       8.0,      6.0,  12.0,   7.0,     4.0),
    "tempo":           (    1.0,   0.9,    0.84,    0.78,       1.1,     1.08,  1.12,   1.2,    0.82),
    "tilt_db_octave":  (    0.0,  -1.0,    -1.0,    -2.0,       2.2,      1.5,   3.4,   1.8,     1.2),
    "articulation":    (    1.0,  0.94,    0.85,    0.82,      1.05,     1.05,  1.15,  1.08,     1.0),
    "f1_ratio":        (    1.0,  0.98,    0.97,    0.94,      1.08,     1.08,  1.12,  1.03,    1.05),
    "formant_ratio":   (    1.0,   1.0,     1.0,     1.0,      1.04,     1.01,   1.0,   1.0,    0.98),
    "breathiness_db":  (    0.0,   3.0,     1.0,     4.0,      -1.0,      1.0,  -3.0,   2.0,     2.0),
    "jitter":          (  0.007, 0.005,   0.007,   0.014,     0.008,    0.008, 0.012,  0.02,   0.015),
    "shimmer":         (   0.04,  0.03,    0.04,    0.07,     0.045,     0.05,  0.07,  0.09,    0.08),
    "accent_db":       (    2.5,   1.5,     1.5,     1.5,       4.5,      4.0,   5.0,   3.5,     3.5),
}
# fmt: on
EXPRESSIONS: Mapping[str, Expression] = MappingProxyType(
    {
        emotion: Expression(**dict(zip(_CUES, cues, strict=True)))
        for emotion, *cues in zip(_EMOTIONS, *_CUES.values(), strict=True)
    }
)
"""The nine categories and their cues. The comments give the direction of each cue and who reports it."""


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
    """Share of the differences in level between utterances that is taken out by setting the gain anew for each: 0 =
    one gain for all, 1 = every utterance peaks at -0.5 dB full scale."""
    low_cut_hz: float = 60.0
    high_cut_hz: float = 20_000.0
    """Corner frequencies (-3 dB, 12 dB/octave), in Hz."""
    tilt_db_octave: float = 0.0
    """Gentle slope of the response around 1 kHz, in dB/octave."""
    reverberation_s: float = 0.1
    """Time in which the room's reverberation decays by 60 dB, in s."""
    reverberation_db: float = -20.0
    """Energy of the reverberation relative to the direct sound, in dB."""
    lead_s: tuple[float, float] = (0.05, 0.15)
    trail_s: tuple[float, float] = (0.05, 0.15)
    """Shortest and longest silence before and after the speech, in s."""


@dataclass(frozen=True)
class Phone:
    """One steady target of the vocal tract and its excitations."""

    formants_hz: tuple[float, float, float, float]
    """First to fourth formant of an adult male, in Hz. For a consonant, where the transitions point to (its locus)."""
    duration_s: float
    """Duration in an unaccented syllable, in s."""
    voicing_db: float = 0.0
    aspiration_db: float = 0.0
    frication_db: float = SILENT_DB
    """Levels of the pulses, of the noise at the glottis and of the noise at the constriction, in dB."""
    frication_hz: float = 4000.0
    """Centre of the frication noise, in Hz."""


def _vowel(f1: float, f2: float, f3: float, f4: float, duration_s: float = 0.085) -> tuple[Phone, ...]:
    return (Phone((f1, f2, f3, f4), duration_s),)


def _fricative(f2: float, noise_hz: float, noise_db: float, *, voiced: bool = False) -> tuple[Phone, ...]:
    voicing = -14.0 if voiced else SILENT_DB
    return (Phone((350.0, f2, 2550.0, 3500.0), 0.06 if voiced else 0.09, voicing, voicing, noise_db, noise_hz),)


def _stop(f2: float, burst_hz: float, *, voiced: bool) -> tuple[Phone, ...]:
    locus = (250.0, f2, 2500.0, 3500.0)
    # In a voiced stop the folds go on through the closure, heard as a murmur; in a voiceless one they are open after
    # the burst, heard as aspiration.
    closure = Phone(locus, 0.045, -22.0 if voiced else SILENT_DB, SILENT_DB)
    aspiration = -10.0 if voiced else 14.0
    burst = Phone(locus, 0.015 if voiced else 0.03, -12.0 if voiced else SILENT_DB, aspiration, -17.0, burst_hz)
    return closure, burst


def _sonorant(f1: float, f2: float, f3: float, voicing_db: float) -> tuple[Phone, ...]:
    return (Phone((f1, f2, f3, 3500.0), 0.055, voicing_db, voicing_db),)


PHONES: Mapping[str, tuple[Phone, ...]] = MappingProxyType(
    {
        # Vowels after Peterson & Barney 1952; the rounded front vowel and schwa from the tube model.
        "i": _vowel(280, 2250, 2950, 3550),
        "I": _vowel(390, 1990, 2550, 3550),
        "e": _vowel(420, 2100, 2650, 3550),
        "E": _vowel(540, 1840, 2480, 3500),
        "a": _vowel(740, 1250, 2450, 3450, 0.095),
        "O": _vowel(570, 900, 2420, 3400),
        "u": _vowel(310, 850, 2250, 3300),
        "y": _vowel(290, 1680, 2200, 3350),
        "@": _vowel(500, 1480, 2480, 3500, 0.06),
        "p": _stop(900, 1000, voiced=False),
        "t": _stop(1750, 4500, voiced=False),
        "k": _stop(2000, 2200, voiced=False),
        "b": _stop(900, 900, voiced=True),
        "d": _stop(1750, 4200, voiced=True),
        "g": _stop(2000, 2000, voiced=True),
        "f": _fricative(1000, 7500, -22),
        "s": _fricative(1700, 7000, -13),
        "S": _fricative(1900, 3600, -11),
        "x": _fricative(1400, 2000, -16),
        "z": _fricative(1700, 7000, -21, voiced=True),
        "v": _fricative(1000, 6500, -30, voiced=True),
        "h": (Phone((500.0, 1480.0, 2480.0, 3500.0), 0.06, -20.0, 14.0),),
        "m": _sonorant(260, 1000, 2200, -8),
        "n": _sonorant(260, 1650, 2500, -8),
        "N": _sonorant(260, 2100, 2700, -8),
        "l": _sonorant(360, 1150, 2650, -4),
        "r": _sonorant(450, 1250, 1900, -4),
        "j": _sonorant(280, 2200, 2900, -5),
    }
)
"""Phones by their symbol (a subset of SAMPA; `E`, `O` and `a` each stand for two neighbouring vowels)."""

_VOWELS = frozenset("iIeEaOuy@")
_PAUSE = Phone((500.0, 1500.0, 2500.0, 3500.0), 0.02, SILENT_DB, SILENT_DB)


@dataclass(frozen=True)
class Syllable:
    """Phones spoken as one syllable."""

    symbols: str
    """Keys of `PHONES`."""
    accented: bool = False
    """True if the syllable carries a pitch accent."""


Sentence = tuple[Syllable, ...]


def parse_sentence(notation: str) -> Sentence:
    """Read syllables separated by spaces, an accented one after an apostrophe, such as ``"'dOgz a 'sI tIN"``.

    Raises ValueError for a symbol that is not in `PHONES` or a notation without syllables.
    """
    sentence = tuple(Syllable(word.removeprefix("'"), word.startswith("'")) for word in notation.split())
    unknown = {symbol for syllable in sentence for symbol in syllable.symbols} - PHONES.keys()
    if unknown or not sentence or not all(syllable.symbols for syllable in sentence):
        raise ValueError(f"{notation!r}: no syllable, or unknown phones {sorted(unknown)}; known are {''.join(PHONES)}")
    return sentence


def utter(
    voice: Voice, expression: Expression, sentence: Sentence, channel: Channel, rng: np.random.Generator
) -> Float32:
    """Speak one sentence: return float32 samples of shape (samples,), within -1 and 1, at `channel.sample_rate_hz`.

    Each rendition varies around `voice.expressiveness` times the expression. All that is random comes from `rng`.
    """
    acted = expression.at_strength(voice.expressiveness * np.exp(0.15 * rng.standard_normal())).varied(rng)
    score = _score(voice, acted, sentence, rng)
    dry = _speak(voice, acted, score, channel.sample_rate_hz, rng)
    dry *= np.float32(_gain(voice.level_db + acted.level_db) / np.sqrt(np.mean(np.square(dry))))
    return _record(dry, channel, rng)


@dataclass(frozen=True)
class _Score:
    """Movements of the articulators, one row per hop of 8 ms: amplitudes, and formants of shape (frames, 4)."""

    f0_hz: Float64
    formants_hz: Float32
    voicing: Float32
    aspiration: Float32
    frication: Float32
    frication_hz: Float32


def _gain(db: float) -> float:
    return float(10 ** (db / 20))


def _smooth(track: Float64, width_s: float) -> Float64:
    """Average over a Hann window of `width_s`, so that a track glides between its targets; along the first axis."""
    half = max(1, round(width_s / _HOP_S / 2))
    kernel = np.hanning(2 * half + 3)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(track.reshape(len(track), -1), ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=0)
    return np.asarray(windows @ kernel).reshape(track.shape)


def _score(voice: Voice, acted: Expression, sentence: Sentence, rng: np.random.Generator) -> _Score:
    """Lay the phones out in time and let every track glide from target to target."""
    phones, syllable, nuclear = _phones(sentence)
    accented = np.array([*(s.accented for s in sentence), False])[syllable]
    duration = np.array([phone.duration_s for phone in phones])
    duration *= np.exp(0.1 * rng.standard_normal(len(phones))) / (voice.tempo * acted.tempo)
    duration *= np.where(accented & nuclear, 1.35, 1.0)
    duration *= np.where(syllable == len(sentence) - 1, 1.35, 1.0)  # final lengthening
    ends = np.maximum.accumulate(np.round(np.cumsum(duration) / _HOP_S).astype(int))
    frame = np.repeat(np.arange(len(phones)), np.diff(ends, prepend=0))

    formants = _formant_targets(voice, acted, phones)[frame]
    levels = np.array([[phone.voicing_db, phone.aspiration_db, phone.frication_db] for phone in phones])[frame]
    levels = _smooth(levels, 0.025 / acted.articulation)
    # Half of the accent is added and half is taken away: what unaccented syllables lose, accented ones gain.
    stress = _smooth(np.where(accented[frame], 0.5, -0.5), 0.12) * acted.accent_db
    fading = np.linspace(1.0, -1.0, len(frame))  # the lungs empty: about 3 dB over a sentence
    levels += (stress + 1.5 * fading)[:, None]
    levels[:, 1] += voice.breathiness_db + acted.breathiness_db
    levels[:, 2] += 40 * np.log10(acted.articulation)  # a slack constriction hisses less
    amplitude = (10 ** (levels / 20)).astype(np.float32)
    return _Score(
        _intonation(voice, acted, syllable[frame], accented & nuclear, ends, rng),
        _smooth(formants, 0.06 / acted.articulation).astype(np.float32),
        amplitude[:, 0],
        amplitude[:, 1],
        amplitude[:, 2],
        np.array([phone.frication_hz for phone in phones], np.float32)[frame],
    )


def _phones(sentence: Sentence) -> tuple[list[Phone], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the phones between two short pauses, the index of each one's syllable, and whether it is a vowel."""
    phones, syllable, nuclear = [_PAUSE], [0], [False]
    for index, spoken in enumerate(sentence):
        for symbol in spoken.symbols:
            parts = PHONES[symbol]
            phones += parts
            syllable += [index] * len(parts)
            nuclear += [symbol in _VOWELS] * len(parts)
    return [*phones, _PAUSE], np.array([*syllable, len(sentence)]), np.array([*nuclear, False])


def _formant_targets(voice: Voice, acted: Expression, phones: list[Phone]) -> Float64:
    """Return each phone's formants in Hz for this voice and expression, shape (phones, 4)."""
    rest = np.array(_PAUSE.formants_hz)
    targets = rest + acted.articulation * (np.array([phone.formants_hz for phone in phones]) - rest)
    targets[:, 0] = np.maximum(targets[:, 0] * acted.f1_ratio, 200.0)
    return np.asarray(targets * (voice.formant_scale * acted.formant_ratio))


def _intonation(
    voice: Voice,
    acted: Expression,
    syllable: NDArray[np.int64],
    accents: NDArray[np.bool_],
    ends: NDArray[np.int64],
    rng: np.random.Generator,
) -> Float64:
    """Return the f0 in Hz, shape (frames,): declination, a hump on each accent, the final movement and some drift."""
    time = np.arange(len(syllable), dtype=np.float64)
    place = time / len(time)
    contour = acted.f0_range_st * 0.5 * (0.5 - place)
    peaks = ends[accents][:, None] - 0.03 / _HOP_S
    heights = acted.f0_range_st * 0.6 * np.exp(0.25 * rng.standard_normal(len(peaks)))
    contour += heights @ np.exp(-(((time - peaks) / (0.11 / _HOP_S)) ** 2))
    last = np.flatnonzero(syllable == syllable.max() - 1)
    contour += acted.final_st * np.interp(time, (last[0], last[-1]), (0.0, 1.0))
    contour += _smooth(rng.standard_normal(len(time)), 0.15) * (2.0 + 100 * acted.jitter)
    # The mean is taken out, so that a wide range does not also raise the mean: that is f0_ratio's task alone.
    contour -= contour.mean()
    return np.asarray(np.clip(voice.f0_hz * acted.f0_ratio * 2 ** (contour / 12), 55.0, 750.0))


def _speak(voice: Voice, acted: Expression, score: _Score, sample_rate_hz: int, rng: np.random.Generator) -> Float32:
    """Return the speech at the lips, shape (samples,).

    Each hop's windowed excitation passes the tract as it stands at that moment, in the frequency domain; overlapping
    windows make the tract glide. Multiplying spectra is a convolution as long as the responses have died away within
    the transform: the narrowest, 110 Hz wide, by 70 dB.
    """
    hop = round(_HOP_S * sample_rate_hz)
    frequency = np.asarray(fft.rfftfreq(_SPAN * hop, 1 / sample_rate_hz), np.float32)
    pulses = _spectra(_pulses(score.f0_hz, acted, hop, sample_rate_hz, rng), hop)
    noise = _spectra(rng.standard_normal(len(score.f0_hz) * hop, dtype=np.float32), hop)

    source = _source_slope(frequency, 0.6 * float(score.f0_hz.mean()), voice.tilt_db_octave + acted.tilt_db_octave)
    pulses *= score.voicing[:, None] * source
    spectrum = noise * (score.aspiration[:, None] * _source_slope(frequency, 500.0, -6.0))
    spectrum += pulses
    spectrum *= _tract(score.formants_hz, voice.formant_scale, frequency)
    hissing = score.frication > _gain(-50.0)
    centre = score.frication_hz[hissing][:, None] * np.float32(voice.formant_scale**0.5)
    hiss = score.frication[hissing][:, None] / (1 + ((frequency - centre) / (0.35 * centre)) ** 2)
    spectrum[hissing] += noise[hissing] * hiss
    return _overlap_add(fft.irfft(spectrum, _SPAN * hop), hop)


def _pulses(f0_hz: Float64, acted: Expression, hop: int, sample_rate_hz: int, rng: np.random.Generator) -> Float32:
    """Return a band-limited train of pulses with unit power, shape (frames * hop,).

    The pulses fall between the samples: each is a windowed sinc, so there is no aliasing and no rounding of the period.
    """
    samples = len(f0_hz) * hop
    phase = np.cumsum(np.interp(np.arange(samples) / hop, np.arange(len(f0_hz)), f0_hz)) / sample_rate_hz
    centre = np.interp(np.arange(1, int(phase[-1])), phase, np.arange(samples))
    period = np.gradient(centre) if len(centre) > 1 else np.full(len(centre), sample_rate_hz / f0_hz[0])
    centre = centre + acted.jitter * period * rng.standard_normal(len(centre))
    # The square root of the period keeps the power of the train, and so the level of the voice, independent of the f0.
    height = np.sqrt(period) * (1 + acted.shimmer * rng.standard_normal(len(centre)))
    index = np.floor(centre).astype(int)[:, None] + np.arange(-3, 5)
    offset = index - centre[:, None]
    value = height[:, None] * np.sinc(offset) * np.cos(np.pi * offset / 10) ** 2
    inside = (index >= 0) & (index < samples)
    return np.bincount(index[inside], value[inside], minlength=samples).astype(np.float32)


def _source_slope(frequency: Float32, corner_hz: float, slope_db_octave: float) -> Float32:
    """Return the amplitude spectrum of the radiated glottal source.

    Below `corner_hz`, the glottal formant, it rises by 6 dB/octave; above 200 Hz it falls by `slope_db_octave`.
    """
    ratio = frequency / np.float32(corner_hz)
    glottal = 2 * ratio / (1 + ratio**2)
    return np.asarray(glottal * (1 + (frequency / 200) ** 2) ** ((slope_db_octave + 6.0) / (40 * math.log10(2))))


def _tract(formants_hz: Float32, formant_scale: float, frequency: Float32) -> Complex64:
    """Return the response of the vocal tract, shape (frames, frequencies): resonators in cascade.

    The first four move; those above them stay where a uniform tube has them, up to twice the Nyquist frequency. What
    the endless rest of them adds is Fant's higher-pole correction, without which the voice would be dull.
    """
    response = np.ones((len(formants_hz), len(frequency)), np.complex64)
    for centre, bandwidth in zip(formants_hz.T, (110.0, 120.0, 160.0, 240.0), strict=True):
        response *= _resonator(frequency, centre[:, None], bandwidth)
    spacing = 1000.0 * formant_scale
    above = np.arange(4.5 * spacing, 2 * float(frequency[-1]), spacing).astype(np.float32)[:, None]
    rest = np.exp(-(frequency**2) / np.float32(spacing * (float(above[-1, 0]) + spacing / 2)))
    response *= np.prod(_resonator(frequency, above, 0.1 * above), axis=0) * rest
    return np.reciprocal(response)


def _resonator(frequency: Float32, centre: Float32, bandwidth: Float32 | float) -> Complex64:
    """Return the denominator of a second-order resonator with unit gain at 0 Hz."""
    ratio = frequency * (1 / centre)
    denominator = np.empty(ratio.shape, np.complex64)
    np.subtract(1, np.square(ratio), out=denominator.real)
    np.multiply(ratio, bandwidth / centre, out=denominator.imag)
    return denominator


def _spectra(excitation: Float32, hop: int) -> Complex64:
    """Return the spectra of Hann windows of two hops, one per hop, shape (frames, _SPAN * hop // 2 + 1)."""
    blocks = np.pad(excitation, hop).reshape(-1, hop)
    window = np.sin(np.pi * (np.arange(2 * hop, dtype=np.float32) + 0.5) / (2 * hop)) ** 2
    # The source's slope has zero phase, so a little of it comes before the pulse: one hop is left free for that.
    framed = np.zeros((len(blocks) - 2, _SPAN * hop), np.float32)
    np.multiply(blocks[:-2], window[:hop], out=framed[:, hop : 2 * hop])
    np.multiply(blocks[1:-1], window[hop:], out=framed[:, 2 * hop : 3 * hop])
    return np.asarray(fft.rfft(framed), np.complex64)


def _overlap_add(frames: Float32, hop: int) -> Float32:
    """Add the frames, each one hop later than the one before; shape ((frames + _SPAN - 1) * hop,)."""
    blocks = frames.reshape(len(frames), -1, hop)
    total = np.zeros((len(frames) + blocks.shape[1] - 1, hop), np.float32)
    for late in range(blocks.shape[1]):
        total[late : late + len(frames)] += blocks[:, late]
    return total.ravel()


def _record(dry: Float32, channel: Channel, rng: np.random.Generator) -> Float32:
    """Return the recording of speech whose neutral level is 1 RMS: room, silence around, noise, response, gain."""
    rate = channel.sample_rate_hz
    lead, trail = (round(rng.uniform(*span) * rate) for span in (channel.lead_s, channel.trail_s))
    samples = lead + len(dry) + trail
    size = fft.next_fast_len(samples + round(channel.reverberation_s * rate), real=True)
    frequency = fft.rfftfreq(size, 1 / rate).astype(np.float32)

    placed = np.zeros(size, np.float32)
    placed[lead : lead + len(dry)] = dry
    room = _room(rate, channel.reverberation_s, channel.reverberation_db)
    spectrum = fft.rfft(placed) * fft.rfft(room, size)
    noise = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum += noise * (np.float32(_gain(channel.noise_db)) * _noise_colour(frequency))
    spectrum *= _response(frequency, channel)
    recorded = np.asarray(fft.irfft(spectrum, size)[:samples], np.float32)
    recorded *= np.float32(_gain(channel.level_db))

    peak = float(np.abs(recorded).max())
    gain = (_PEAK_CEILING / peak) ** channel.levelling
    # An engineer turns the gain down before the loudest passages clip.
    return recorded * np.float32(min(gain, _PEAK_CEILING / peak))


@lru_cache(maxsize=8)
def _room(sample_rate_hz: int, reverberation_s: float, reverberation_db: float) -> Float32:
    """Return the room's impulse response: the direct sound and an exponentially decaying tail of noise.

    The tail is the same for every utterance: a corpus is recorded in one room.
    """
    time = np.arange(max(1, round(reverberation_s * sample_rate_hz))) / sample_rate_hz
    tail = np.random.default_rng(0).standard_normal(len(time)) * 10 ** (-3 * time / max(reverberation_s, 1e-3))
    tail[time < 0.003] = 0.0  # the nearest wall is half a metre away
    tail *= _gain(reverberation_db) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    tail[0] = 1.0
    return tail.astype(np.float32)


def _noise_colour(frequency: Float32) -> Float32:
    """Return the amplitude spectrum of a noise floor with unit power: white, with some rumble below 150 Hz."""
    colour = np.sqrt(1 + (150.0 / np.maximum(frequency, 20.0)) ** 2)
    return np.asarray(colour / np.sqrt(np.mean(colour**2)), np.float32)


def _response(frequency: Float32, channel: Channel) -> Float32:
    """Return the magnitude response of microphone and equalisation."""
    audible = np.maximum(frequency, 1.0)
    low_cut = 1 / np.sqrt(1 + (channel.low_cut_hz / audible) ** 4)
    high_cut = 1 / np.sqrt(1 + (audible / channel.high_cut_hz) ** 4)
    octaves = np.log2(np.maximum(audible, 50.0) / 1000.0)
    return np.asarray(low_cut * high_cut * 10 ** (channel.tilt_db_octave * octaves / 20), np.float32)
