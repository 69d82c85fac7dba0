"""Emotion categories, the two tasks, and the labels of each category (Emo-DNA, Table 1).

The paper's text does not show the valence of neutral and surprise. Positive is the only reading that fits its results,
and the convention of the cross-corpus literature (Schuller et al. 2010).
"""

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
