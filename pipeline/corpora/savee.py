"""SAVEE, the Surrey Audio-Visual Expressed Emotion database."""

import re
from pathlib import PurePosixPath

from emodna.pipeline.corpora.base import CorpusInfo, PathCorpus, Skip, Utterance

# Greedy {1,2} matches sa (sadness) and su (surprise) before a single letter.
_NAME = re.compile(
    r"(?:(?P<speaker>[A-Z]{2})_)?(?P<emotion>[A-Z]{1,2})(?P<number>[0-9]{2})\.wav", re.IGNORECASE | re.ASCII
)
_EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
_SPEAKERS = frozenset({"DC", "JE", "JK", "KL"})
#: Sentences per speaker and emotion.
_SENTENCES = 15
_NEUTRAL_SENTENCES = 30


class Savee(PathCorpus):
    """SAVEE: an emotion code and a number, in a folder per speaker or after the speaker's initials."""

    name = "savee"
    info = CorpusInfo(
        title="Surrey Audio-Visual Expressed Emotion",
        language="en",
        utterances=480,
        speakers=4,
        sample_rate=44100,
        licence="free for research after registration, no redistribution",
        citation="Haq & Jackson 2009, AVSP, 53-58",
        layout="AudioData/DC/a01.wav or ALL/DC_a01.wav (speakers DC JE JK KL)",
        emotions=_EMOTIONS,
        counts=dict.fromkeys(_EMOTIONS.values(), 60) | {"neutral": 120},
        homepage="http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/",
        obtain="Register at http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/Register.html, then download "
        "AudioData.zip. It unpacks to AudioData/ with a folder per speaker: DC, JE, JK, KL.",
    )

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Parse a file name, and its folder if the name has no speaker."""
        if not (match := _NAME.fullmatch(path.name)):
            return None
        speaker = (match["speaker"] or path.parent.name).upper()
        if speaker not in _SPEAKERS:
            return Skip("no speaker (DC, JE, JK, KL) at the start of the name or as its folder")
        code = match["emotion"].lower()
        if skip := self.find_unknown(code):
            return skip
        if not 1 <= int(match["number"]) <= (_NEUTRAL_SENTENCES if code == "n" else _SENTENCES):
            return Skip(f"unknown number {match['number']} of emotion {code}")
        text = code + match["number"]  # most sentences are read in one emotion only
        # All four speakers are men.
        return self.make_utterance(path, code, id=f"{speaker}_{text}", speaker=speaker, gender="m", text=text)
