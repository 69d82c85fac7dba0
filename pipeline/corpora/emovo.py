"""EMOVO, the Italian emotional speech database."""

import re
from pathlib import PurePosixPath

from emodna.pipeline.corpora.base import CorpusInfo, PathCorpus, Skip, Utterance

_NAME = re.compile(
    r"(?P<emotion>[a-z]{3})-(?P<speaker>[a-z][0-9])-(?P<sentence>[a-z][0-9])\.wav", re.IGNORECASE | re.ASCII
)
_EMOTIONS = {
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
_SPEAKERS = frozenset({"f1", "f2", "f3", "m1", "m2", "m3"})
_SENTENCES = frozenset({"b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2"})


class Emovo(PathCorpus):
    """EMOVO: file names emotion-speaker-sentence."""

    name = "emovo"
    info = CorpusInfo(
        title="EMOVO, an Italian emotional speech database",
        language="it",
        utterances=588,
        speakers=6,
        sample_rate=48000,
        channels="two microphones at different places, whose mean would comb-filter the voice; by default the first",
        licence="free for research, terms unclear",
        citation="Costantini et al. 2014, LREC",
        layout="f1/rab-f1-b1.wav (emotion-speaker-sentence)",
        emotions=_EMOTIONS,
        counts=dict.fromkeys(_EMOTIONS.values(), 84),
        homepage="http://voice.fub.it/activities/corpora/emovo/index.html",
        obtain="Ask the authors through http://voice.fub.it/activities/corpora/emovo/index.html; no download link "
        "has lasted. The archive unpacks to EMOVO/ with a folder per speaker: f1 to f3, m1 to m3.",
    )

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Parse a file name."""
        if not (match := _NAME.fullmatch(path.name)):
            return None
        code, speaker, sentence = (part.lower() for part in match.groups())
        skip = self.find_unknown(code, speaker=(speaker, _SPEAKERS), sentence=(sentence, _SENTENCES))
        id, gender = f"{code}-{speaker}-{sentence}", "f" if speaker.startswith("f") else "m"
        return skip or self.make_utterance(path, code, id=id, speaker=speaker, gender=gender, text=sentence)
