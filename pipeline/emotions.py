"""Emotion categories, and their map to binary arousal and valence (Emo-DNA, Table 1).

The valence of neutral and surprise is illegible in the paper's text; positive is the only reading that its results
allow, and the convention of the cross-corpus literature it follows (Schuller et al. 2010).
"""

from types import MappingProxyType
from typing import Final, Literal, get_args

Task = Literal["arousal", "valence"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

#: Class names of each task by label: 0 is low / negative, 1 is high / positive (the class whose F1 is reported).
CLASS_NAMES: Final = MappingProxyType({"arousal": ("low", "high"), "valence": ("negative", "positive")})

AROUSAL: Final = MappingProxyType(
    {
        "anger": 1,
        "boredom": 0,
        "calm": 0,
        "disgust": 1,
        "fear": 1,
        "happiness": 1,
        "neutral": 0,
        "sadness": 0,
        "surprise": 1,
    }
)
VALENCE: Final = MappingProxyType(
    {
        "anger": 0,
        "boredom": 0,
        "calm": 1,
        "disgust": 0,
        "fear": 0,
        "happiness": 1,
        "neutral": 1,
        "sadness": 0,
        "surprise": 1,
    }
)

EMOTIONS: Final = tuple(AROUSAL)
