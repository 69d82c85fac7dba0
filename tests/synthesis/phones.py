"""Speech sounds as targets of the vocal tract, and sentences of them.

References
----------
- Peterson & Barney 1952, Control methods used in a study of the vowels, J. Acoust. Soc. Am. 24, 175-184.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SILENT_DB = -90.0
"""Level of an excitation that is off, in dB."""


@dataclass(frozen=True)
class Phone:
    """One steady target of the vocal tract and its excitations."""

    formants_hz: tuple[float, float, float, float]
    """First to fourth formant of an adult male, in Hz; for a consonant, its locus."""
    duration_s: float
    """Duration in an unaccented syllable, in s."""
    voicing_db: float = 0.0
    aspiration_db: float = 0.0
    frication_db: float = SILENT_DB
    """Levels of the pulses, of the noise at the glottis and of the noise at the constriction, in dB."""
    frication_hz: float = 4000.0
    """Centre of the frication noise, in Hz."""


def _make_vowel(f1: float, f2: float, f3: float, f4: float, duration_s: float = 0.085) -> tuple[Phone, ...]:
    return (Phone((f1, f2, f3, f4), duration_s),)


def _make_fricative(f2: float, noise_hz: float, noise_db: float, *, voiced: bool = False) -> tuple[Phone, ...]:
    voicing = -14.0 if voiced else SILENT_DB
    return (Phone((350.0, f2, 2550.0, 3500.0), 0.06 if voiced else 0.09, voicing, voicing, noise_db, noise_hz),)


def _make_stop(f2: float, burst_hz: float, *, voiced: bool) -> tuple[Phone, ...]:
    locus = (250.0, f2, 2500.0, 3500.0)
    # A voiced stop has voicing in the closure, a voiceless one aspiration after the burst.
    closure = Phone(locus, 0.045, -22.0 if voiced else SILENT_DB, SILENT_DB)
    aspiration = -10.0 if voiced else 14.0
    burst = Phone(locus, 0.015 if voiced else 0.03, -12.0 if voiced else SILENT_DB, aspiration, -17.0, burst_hz)
    return closure, burst


def _make_sonorant(f1: float, f2: float, f3: float, voicing_db: float) -> tuple[Phone, ...]:
    return (Phone((f1, f2, f3, 3500.0), 0.055, voicing_db, voicing_db),)


PHONES: Mapping[str, tuple[Phone, ...]] = MappingProxyType(
    {
        # Vowels: Peterson & Barney 1952; y and schwa: tube model.
        "i": _make_vowel(280, 2250, 2950, 3550),
        "I": _make_vowel(390, 1990, 2550, 3550),
        "e": _make_vowel(420, 2100, 2650, 3550),
        "E": _make_vowel(540, 1840, 2480, 3500),
        "a": _make_vowel(740, 1250, 2450, 3450, 0.095),
        "O": _make_vowel(570, 900, 2420, 3400),
        "u": _make_vowel(310, 850, 2250, 3300),
        "y": _make_vowel(290, 1680, 2200, 3350),
        "@": _make_vowel(500, 1480, 2480, 3500, 0.06),
        "p": _make_stop(900, 1000, voiced=False),
        "t": _make_stop(1750, 4500, voiced=False),
        "k": _make_stop(2000, 2200, voiced=False),
        "b": _make_stop(900, 900, voiced=True),
        "d": _make_stop(1750, 4200, voiced=True),
        "g": _make_stop(2000, 2000, voiced=True),
        "f": _make_fricative(1000, 7500, -22),
        "s": _make_fricative(1700, 7000, -13),
        "S": _make_fricative(1900, 3600, -11),
        "x": _make_fricative(1400, 2000, -16),
        "z": _make_fricative(1700, 7000, -21, voiced=True),
        "v": _make_fricative(1000, 6500, -30, voiced=True),
        "h": (Phone((500.0, 1480.0, 2480.0, 3500.0), 0.06, -20.0, 14.0),),
        "m": _make_sonorant(260, 1000, 2200, -8),
        "n": _make_sonorant(260, 1650, 2500, -8),
        "N": _make_sonorant(260, 2100, 2700, -8),
        "l": _make_sonorant(360, 1150, 2650, -4),
        "r": _make_sonorant(450, 1250, 1900, -4),
        "j": _make_sonorant(280, 2200, 2900, -5),
    }
)
"""Phones by symbol, a subset of SAMPA. `E`, `O` and `a` represent two neighbouring vowels each."""

VOWELS = frozenset("iIeEaOuy@")
PAUSE = Phone((500.0, 1500.0, 2500.0, 3500.0), 0.02, SILENT_DB, SILENT_DB)


@dataclass(frozen=True)
class Syllable:
    """The phones of one syllable."""

    symbols: str
    """Keys of `PHONES`."""
    accented: bool = False
    """True if the syllable carries a pitch accent."""


Sentence = tuple[Syllable, ...]


def parse_sentence(notation: str) -> Sentence:
    """Parse syllables separated by spaces, accented ones with an apostrophe: ``"'dOgz a 'sI tIN"``.

    Raises ValueError: unknown symbol, or no syllable.
    """
    sentence = tuple(Syllable(word.removeprefix("'"), word.startswith("'")) for word in notation.split())
    unknown = {symbol for syllable in sentence for symbol in syllable.symbols} - PHONES.keys()
    if unknown or not sentence or not all(syllable.symbols for syllable in sentence):
        raise ValueError(f"{notation!r}: no syllable, or unknown phones {sorted(unknown)}; valid: {''.join(PHONES)}")
    return sentence
