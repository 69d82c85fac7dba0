"""Emotion categories, and the words for them."""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final

EMOTIONS: Final = ("anger", "boredom", "calm", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

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
