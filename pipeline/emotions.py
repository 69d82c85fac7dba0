"""Emotion categories, the two tasks, and the labels of each category (Emo-DNA, Table 1).

The paper's text does not show the valence of neutral and surprise. Positive is the only reading that fits its results,
and the convention of the cross-corpus literature (Schuller et al. 2010).
"""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, get_args

Task = Literal["arousal", "valence"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

#: Class names of each task by label: 0 is low / negative, 1 is high / positive (the class whose F1 is reported).
CLASS_NAMES: Final = MappingProxyType({"arousal": ("low", "high"), "valence": ("negative", "positive")})

#: Emotion -> arousal, valence.
_LABELS: Final = {
    "anger": (1, 0),
    "boredom": (0, 0),
    "calm": (0, 1),
    "disgust": (1, 0),
    "fear": (1, 0),
    "happiness": (1, 1),
    "neutral": (0, 1),
    "sadness": (0, 0),
    "surprise": (1, 1),
}
EMOTIONS: Final = tuple(_LABELS)
AROUSAL: Final = MappingProxyType({emotion: arousal for emotion, (arousal, _) in _LABELS.items()})
VALENCE: Final = MappingProxyType({emotion: valence for emotion, (_, valence) in _LABELS.items()})

#: Other words for the emotions, as the corpora of the field write them: emotion -> words. Left out on purpose are words
#: that corpora treat differently or that have other labels, such as excited, frustration, contempt, anxiety and other.
SYNONYMS: Final = MappingProxyType(
    {
        "anger": ("angry", "ang"),
        "boredom": ("bored", "bor"),
        "calm": ("calmness",),
        "disgust": ("disgusted", "dis"),
        "fear": ("fearful", "fea"),
        "happiness": ("happy", "joy", "joyful", "hap"),
        "neutral": ("neutrality", "neutral state", "neu"),
        "sadness": ("sad",),
        "surprise": ("surprised", "pleasant surprise", "pleasantly surprised", "sur"),
    }
)
_EMOTIONS_BY_WORD: Final = {word: each for each in EMOTIONS for word in (each, *SYNONYMS[each])}


@lru_cache(1024)
def find_emotion(word: str) -> str | None:
    """Return the emotion that a word means; None if it is unknown. Case, and spaces for hyphens, are ignored."""
    return _EMOTIONS_BY_WORD.get(normalise_word(word))


def normalise_word(word: str) -> str:
    """Return a word in lower case, with a space for each run of spaces, hyphens and underscores."""
    return " ".join(re.split(r"[\s_-]+", word.strip().lower()))
