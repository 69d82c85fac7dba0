"""Effects of nine emotions on the voice, from the phonetics literature.

No value may be chosen by the results of a classifier.

References
----------
- Banse & Scherer 1996, Acoustic profiles in vocal emotion expression, J. Pers. Soc. Psychol. 70, 614-636.
- Juslin & Laukka 2003, Communication of emotions in vocal expression and music performance: different channels, same
  code?, Psychol. Bull. 129, 770-814.
- Murray & Arnott 1993, Toward the simulation of emotion in synthetic speech, J. Acoust. Soc. Am. 93, 1097-1108.
- Scherer & Oshinsky 1977, Cue utilization in emotion attribution from auditory stimuli, Motiv. Emot. 1, 331-346.
- Tartter 1980, Happy talk: perceptual and acoustic effects of smiling on speech, Percept. Psychophys. 27, 24-27.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True)
class Expression:
    """Effect of an emotion on a voice; the defaults are neutral speech."""

    f0_ratio: float = 1.0
    """Mean fundamental frequency relative to the speaker's neutral one."""
    f0_range_st: float = 4.0
    """Width of the intonation (declination and accents together), in semitones."""
    final_st: float = -2.0
    """Change of the f0 over the last syllable, in semitones; positive rises."""
    level_db: float = 0.0
    """Level relative to neutral speech, in dB."""
    tempo: float = 1.0
    """Speaking rate relative to neutral speech."""
    tilt_db_octave: float = 0.0
    """Change of the slope of the source, in dB/octave; positive for a tense voice with more high frequencies."""
    articulation: float = 1.0
    """Precision: above 1, vowels spread and transitions shorten; below 1, vowels centralise (slurring)."""
    f1_ratio: float = 1.0
    """First formant relative to neutral speech; an open jaw raises it."""
    formant_ratio: float = 1.0
    """Ratio of the formants to those of neutral speech. A smile shortens the tract and raises them (Tartter 1980)."""
    breathiness_db: float = 0.0
    """Change of the aspiration noise, in dB."""
    jitter: float = 0.007
    """Standard deviation of the pulse times, relative to the period."""
    shimmer: float = 0.04
    """Standard deviation of the pulse amplitudes, relative to their mean."""
    accent_db: float = 2.5
    """Level of accented relative to unaccented syllables, in dB: the intensity variability."""

    def scale(self, strength: float) -> Expression:
        """Scale the expression: 0 is neutral speech, 1 the expression itself, above 1 exaggerated.

        Ratios and widths scale geometrically, dB and signed semitones linearly.
        """
        scaled = {}
        for field in fields(self):
            neutral, value = getattr(Expression, field.name), getattr(self, field.name)
            if field.name in _ADDITIVE:
                scaled[field.name] = neutral + strength * (value - neutral)
            else:
                scaled[field.name] = neutral * (value / neutral) ** strength
        return Expression(**scaled)

    def vary(self, rng: np.random.Generator) -> Expression:
        """Vary the expression at random, as actors do between renditions. Similar emotions overlap."""
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
#     fear only, which actors play; Banse & Scherer 1996: panic fear has high f0 and energy; Murray & Arnott
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
"""Expression by emotion. The comments above give the direction and the source of each cue."""
