"""CASIA, the Chinese emotional speech corpus: the free part."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from emodna.pipeline.corpora.base import CorpusInfo, Gender, PathCorpus, Scan, Skip, Utterance

# Many copies have emotion folders, and emotion and speaker in the file name: angry/201-angry-liuchanhg.wav.
_NAME = re.compile(
    r"(?P<number>[0-9]{1,3})(?:-(?P<emotion>[a-z]+)-(?P<speaker>[a-z]+))?\.wav", re.IGNORECASE | re.ASCII
)
_EMOTIONS: Final = {
    "angry": "anger",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
#: Numbers of the free part: fifty sentences that all speakers read in all emotions. The full corpus: 9600 utterances.
_FREE: Final = range(201, 251)
_NOT_FREE: Final = "number outside 201 to 250, the free part"
#: Copies differ in the name of the fourth speaker.
_SPELLINGS: Final = {"zhaoziwen": "zhaozuoxiang"}
# The publication counts two women and two men without their names. A public speaker-recognition program labels its
# models of these speakers "woman" (liuchang, zhaoquanyin) and "man" (wangzhe, zhaozuoxiang).
_GENDERS: Final[Mapping[str, Gender]] = {"liuchanhg": "f", "zhaoquanyin": "f", "wangzhe": "m", "zhaozuoxiang": "m"}


class Casia(PathCorpus):
    """CASIA: a number in the folders <speaker>/<emotion>, or number-emotion-speaker in any folder."""

    name = "casia"
    info = CorpusInfo(
        title="CASIA Chinese emotional speech corpus, the free part",
        language="zh",
        utterances=1200,
        speakers=4,
        sample_rate=16000,
        licence="bought from ChineseLDC",
        citation="Tao et al. 2008, Blizzard Challenge workshop",
        layout="<speaker>/<angry|fear|happy|neutral|sad|surprise>/201.wav to 250.wav",
        emotions=_EMOTIONS,
        counts=dict.fromkeys(_EMOTIONS.values(), 200),
        homepage="http://www.chineseldc.org/resource_info.php?rid=76",
        obtain="Buy it from ChineseLDC, http://www.chineseldc.org/resource_info.php?rid=76. The literature uses the "
        "free part of 1200 utterances. Copies have a folder per speaker and in it a folder per emotion.",
    )

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Parse a file name, and the two folders above it if the name is only a number."""
        if not (match := _NAME.fullmatch(path.name)):
            return None
        number = match["number"]
        code = (match["emotion"] or path.parent.name).lower()
        speaker = (match["speaker"] or path.parent.parent.name).lower()
        if not speaker:
            return None if self.find_emotion(code) is None else Skip("no speaker folder above the emotion folder")
        if int(number) not in _FREE:
            return Skip(_NOT_FREE)
        speaker = _SPELLINGS.get(speaker, speaker)
        return self.find_unknown(code) or self.make_utterance(
            path, code, id=f"{speaker}-{code}-{number}", speaker=speaker, gender=_GENDERS.get(speaker), text=number
        )

    def find_differences(self, scan: Scan, sample_rates: Mapping[int, int]) -> list[str]:
        """Return the differences from the published corpus, the full CASIA first."""
        lines = super().find_differences(scan, sample_rates)
        if count := scan.skipped.get(_NOT_FREE):
            uses = "the literature uses only the 1200 of the free part, numbers 201 to 250"
            lines.insert(0, f"this is the full CASIA (skipped {count} utterances); {uses}")
        return lines
