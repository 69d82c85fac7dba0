"""Corpora of pseudo-speech in the on-disk layouts of RAVDESS and EMODB.

They differ as the real corpora do: in language (syllables of English and German sentences), speakers, room, noise,
response and level. RAVDESS was recorded at one gain: an angry utterance is about 15 dB louder than a neutral one. EMODB
was recorded with one gain per utterance: all peak near full scale, and quiet voices have louder noise.

References
----------
- Burkhardt et al. 2005, A database of German emotional speech, Interspeech, 1517-1520.
- Livingstone & Russo 2018, The Ryerson audio-visual database of emotional speech and song, PLoS ONE 13(5), e0196391.
"""

from __future__ import annotations

import hashlib
import math
import wave
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tests.synthesis.expressions import EXPRESSIONS
from tests.synthesis.phones import Sentence, parse_sentence
from tests.synthesis.speech import Channel, Float32, Voice, utter

RAVDESS_EMOTIONS: Mapping[int, str] = MappingProxyType(
    {1: "neutral", 2: "calm", 3: "happiness", 4: "sadness", 5: "anger", 6: "fear", 7: "disgust", 8: "surprise"}
)
"""Emotion by code, the third field of a RAVDESS file name."""

RAVDESS_STATEMENTS: Mapping[int, Sentence] = MappingProxyType(
    {
        1: parse_sentence("'kIdz a 'tO kIN bai d@ 'dO"),  # Kids are talking by the door
        2: parse_sentence("'dOgz a 'sI tIN bai d@ 'dO"),  # Dogs are sitting by the door
    }
)
"""Sentence by code, the fifth field of a RAVDESS file name."""

RAVDESS_INTENSITIES: Mapping[int, float] = MappingProxyType({1: 0.8, 2: 1.25})
"""Strength of an expression by code (normal, strong), the fourth field of a RAVDESS file name."""

RAVDESS_ACTORS = range(1, 25)
RAVDESS_TEMPO = 0.9
"""Tempo of the actors: about four syllables per second, compared to five or six in EMODB."""

# A quiet studio, a flat and bright microphone, a gain for the loudest shout.
RAVDESS_CHANNEL = Channel(
    sample_rate_hz=48_000,
    level_db=-46.0,
    noise_db=-42.0,
    low_cut_hz=80.0,
    high_cut_hz=20_000.0,
    tilt_db_octave=0.3,
    reverberation_s=0.18,
    reverberation_db=-17.0,
    lead_s=(0.5, 0.9),
    trail_s=(0.4, 0.8),
)

EMODB_LETTERS: Mapping[str, str] = MappingProxyType(
    {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"}
)
"""Emotion by letter of an EMODB file name."""

EMODB_COUNTS: Mapping[str, int] = MappingProxyType({"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79})
"""Number of utterances per emotion in the real EMODB: 535 in total, of 10 speakers and 10 texts."""

EMODB_SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
EMODB_MEN = frozenset({"03", "10", "11", "12", "15"})
EMODB_TEMPO = 1.2

EMODB_TEXTS: Mapping[str, Sentence] = MappingProxyType(
    {
        # Der Lappen liegt auf dem Eisschrank.
        "a01": parse_sentence("de@ 'la p@n likt auf dem 'ais Srank"),
        # Das will sie am Mittwoch abgeben.
        "a02": parse_sentence("das vIl zi am 'mIt vOx 'ap ge b@n"),
        # Heute abend könnte ich es ihm sagen.
        "a04": parse_sentence("'hOI t@ 'a b@nt kEn t@ IS Es im 'za g@n"),
        # Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.
        "a05": parse_sentence("das 'Svar ts@ Styk pa 'pir b@ fIn d@t zIS da 'O b@n ne b@n dem 'hOlts Styk"),
        # In sieben Stunden wird es soweit sein.
        "a07": parse_sentence("In 'zi b@n 'Stun d@n vIrt Es zO 'vait zain"),
        # Was sind denn das für Tüten, die da unter dem Tisch stehen?
        "b01": parse_sentence("vas zInt dEn das fyr 'ty t@n di da un t@ dem 'tIS Ste@n"),
        # Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.
        "b02": parse_sentence("zi ha b@n Es g@ ra d@ 'hOx g@ tra g@n unt jEtst ge@n zi vi d@ 'run t@"),
        # An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.
        "b03": parse_sentence(
            "an den 'vO x@n En d@n bIn IS jEtst I m@ nax 'hau z@ g@ fa r@n unt ha b@ 'ak nEs b@ zuxt"
        ),
        # Ich will das eben wegbringen und dann mit Karl was trinken gehen.
        "b09": parse_sentence("IS vIl das e b@n 'vEk brI N@n unt dan mIt 'karl vas 'trIN k@n ge@n"),
        # Die wird auf dem Platz sein, wo wir sie immer hinlegen.
        "b10": parse_sentence("di vIrt auf dem 'plats zain vO vir zi 'I m@ 'hIn le g@n"),
    }
)
"""Sentence by text code of an EMODB file name."""

# An anechoic room, a close cardioid microphone with proximity effect, one gain per utterance.
EMODB_CHANNEL = Channel(
    sample_rate_hz=16_000,
    level_db=-26.0,
    noise_db=-37.0,
    levelling=1.0,
    low_cut_hz=55.0,
    high_cut_hz=7_000.0,
    tilt_db_octave=-0.4,
    reverberation_s=0.04,
    reverberation_db=-28.0,
    lead_s=(0.02, 0.12),
    trail_s=(0.04, 0.2),
)


def make_ravdess(
    root: Path,
    *,
    actors: Iterable[int] = range(1, 9),
    emotions: Iterable[int] = tuple(RAVDESS_EMOTIONS),
    intensities: Iterable[int] = (1, 2),
    statements: Iterable[int] = (1, 2),
    repetitions: Iterable[int] = (1, 2),
    seed: int = 0,
    syllables: int | None = None,
) -> list[Path]:
    """Write a RAVDESS of pseudo-speech: ``root/Actor_NN/03-01-EE-II-SS-RR-AA.wav``, 48 kHz, 16-bit, one channel.

    A file depends only on its name, `seed` and `syllables`. As in the real corpus, odd actors are men, even ones women,
    and neutral speech has no strong intensity. The files are all combinations of the codes (valid: 1-24, 1-8, 1-2, 1-2,
    1-2). Another seed gives other speakers and renditions. `syllables` shortens the sentence and the silence around it.
    Return the files, sorted. Raise a ValueError for an unknown code or `syllables` below 1.
    """
    codes = [list(each) for each in (actors, emotions, intensities, statements, repetitions)]
    names = ("actors", "emotions", "intensities", "statements", "repetitions")
    known = (RAVDESS_ACTORS, RAVDESS_EMOTIONS, RAVDESS_INTENSITIES, RAVDESS_STATEMENTS, (1, 2))
    for arguments in zip(names, codes, known, strict=True):
        _check_codes(*arguments)
    paths = []
    for actor in codes[0]:
        rng = _make_rng(seed, "ravdess", f"actor {actor:02d}")
        voice = _draw_voice(rng, male=actor % 2 == 1, tempo=RAVDESS_TEMPO)
        channel = _draw_session(RAVDESS_CHANNEL, rng)
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for emotion, intensity, statement, repetition in product(*codes[1:]):
            if RAVDESS_EMOTIONS[emotion] == "neutral" and intensity == 2:
                continue
            path = folder / f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
            expression = EXPRESSIONS[RAVDESS_EMOTIONS[emotion]].scale(RAVDESS_INTENSITIES[intensity])
            sentence, short_channel = _shorten(RAVDESS_STATEMENTS[statement], channel, syllables)
            rng = _make_rng(seed, "ravdess", path.name)
            _write(path, utter(voice, expression, sentence, short_channel, rng), channel.sample_rate_hz)
            paths.append(path)
    return sorted(paths)


def make_emodb(
    root: Path,
    *,
    speakers: Iterable[str] = EMODB_SPEAKERS,
    texts: Iterable[str] = tuple(EMODB_TEXTS),
    emotions: Iterable[str] = tuple(EMODB_LETTERS),
    share: float = 1.0,
    seed: int = 0,
    syllables: int | None = None,
) -> list[Path]:
    """Write an EMODB of pseudo-speech: ``root/wav/SSTTTEv.wav``, 16 kHz, 16-bit, one channel.

    A file depends only on its name, `seed` and `syllables`. The emotions have the proportions of the real corpus
    (`EMODB_COUNTS`): all speakers and texts give its 535 utterances; fewer, or a `share` below 1, give about that part
    of each emotion. A larger share contains a smaller one. `seed` and `syllables` are those of `make_ravdess`.
    Return the files, sorted. Raise a ValueError for an unknown code, a `share` not in (0, 1], or `syllables` below 1.
    """
    speakers, texts, emotions = list(speakers), list(texts), list(emotions)
    _check_codes("speakers", speakers, EMODB_SPEAKERS)
    _check_codes("texts", texts, EMODB_TEXTS)
    _check_codes("emotions", emotions, EMODB_LETTERS)
    if not 0 < share <= 1:
        raise ValueError(f"share {share}: must be over 0 and at most 1")
    folder = root / "wav"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for speaker in speakers:
        rng = _make_rng(seed, "emodb", f"speaker {speaker}")
        voice = _draw_voice(rng, male=speaker in EMODB_MEN, tempo=EMODB_TEMPO)
        channel = _draw_session(EMODB_CHANNEL, rng)
        for text, letter in product(texts, emotions):
            sentence, short_channel = _shorten(EMODB_TEXTS[text], channel, syllables)
            for take in range(_count_takes(speaker, text, letter, share)):
                path = folder / f"{speaker}{text}{letter}{'abc'[take]}.wav"
                rng = _make_rng(seed, "emodb", path.name)
                recording = utter(voice, EXPRESSIONS[EMODB_LETTERS[letter]], sentence, short_channel, rng)
                _write(path, recording, channel.sample_rate_hz)
                paths.append(path)
    return sorted(paths)


def _count_takes(speaker: str, text: str, letter: str, share: float) -> int:
    """Return the number of utterances of an emotion for one speaker and text.

    Over the 100 pairs of speaker and text, these add up to the share of `EMODB_COUNTS`. Each pair has one of 100 places
    in the order of an emotion. Steps of 37, prime to 100, spread the places over speakers and texts. Each emotion
    starts at another place.
    """
    pair = EMODB_SPEAKERS.index(speaker) * len(EMODB_TEXTS) + list(EMODB_TEXTS).index(text)
    place = (37 * pair + 14 * list(EMODB_LETTERS).index(letter)) % 100
    return max(0, math.ceil((share * EMODB_COUNTS[letter] - place) / 100))


def _draw_voice(rng: np.random.Generator, *, male: bool, tempo: float) -> Voice:
    """Draw an adult speaker around a corpus's `tempo`; means by sex: Peterson & Barney 1952, Klatt & Klatt 1990."""
    draw = rng.standard_normal(7)
    f0_hz, formant_scale, breathiness_db = (115.0, 1.0, -32.0) if male else (200.0, 1.16, -28.0)
    return Voice(
        f0_hz=f0_hz * 2 ** (1.8 * draw[0] / 12),
        formant_scale=formant_scale * math.exp(0.03 * draw[1]),
        tempo=tempo * math.exp(0.07 * draw[2]),
        tilt_db_octave=-9.0 + 0.9 * draw[3],
        breathiness_db=breathiness_db + 2.5 * draw[4],
        level_db=2.5 * draw[5],
        expressiveness=math.exp(0.18 * draw[6]),
    )


def _draw_session(channel: Channel, rng: np.random.Generator) -> Channel:
    """Vary distance, gain and noise of a set-up, as between the recording days of speakers."""
    draw = rng.standard_normal(3)
    return replace(
        channel,
        level_db=channel.level_db + 2.0 * draw[0],
        noise_db=channel.noise_db + 3.0 * draw[1],
        tilt_db_octave=channel.tilt_db_octave + 0.3 * draw[2],
    )


def _shorten(sentence: Sentence, channel: Channel, syllables: int | None) -> tuple[Sentence, Channel]:
    """Return the first syllables of a sentence, and a channel with proportionally shorter silences."""
    if syllables is None:
        return sentence, channel
    if syllables < 1:
        raise ValueError(f"syllables {syllables}: must be at least 1")
    part = min(1.0, syllables / len(sentence))
    lead_s = (part * channel.lead_s[0], part * channel.lead_s[1])
    trail_s = (part * channel.trail_s[0], part * channel.trail_s[1])
    return sentence[:syllables], replace(channel, lead_s=lead_s, trail_s=trail_s)


def _make_rng(seed: int, *names: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest[:16], "little"))))


def _check_codes(field: str, codes: Iterable[object], known: Collection[object]) -> None:
    if unknown := [code for code in codes if code not in known]:
        raise ValueError(f"unknown {field} {unknown}; valid: {list(known)}")


def _write(path: Path, recording: Float32, sample_rate_hz: int) -> None:
    """Write one channel as 16-bit PCM without dither."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(np.round(recording * 32767).astype("<i2").tobytes())
