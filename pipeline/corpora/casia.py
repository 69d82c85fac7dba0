"""CASIA, the Chinese emotional speech corpus: its free part."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from emodna.pipeline.corpora.base import CorpusInfo, Gender, PathCorpus, Scan, Skip, Utterance

# Many copies are sorted by emotion alone, and carry emotion and speaker in the name: angry/201-angry-liuchanhg.wav.
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
#: The free part, fifty sentences that all speakers read in all emotions; the full corpus has 9600 utterances.
_FREE: Final = range(201, 251)
_NOT_FREE: Final = "number outside 201 to 250, the free part"
#: Copies spell the fourth speaker in two ways.
_SPELLINGS: Final = {"zhaoziwen": "zhaozuoxiang"}
# The corpus's publication does not say who is a woman. A public speaker-recognition program keeps voice models of
# these speakers under file names that begin with the word for woman (liuchang, zhaoquanyin) or man (wangzhe,
# zhaozuoxiang), which agrees with the published two and two.
_GENDERS: Final[Mapping[str, Gender]] = {"liuchanhg": "f", "zhaoquanyin": "f", "wangzhe": "m", "zhaozuoxiang": "m"}


class Casia(PathCorpus):
    """Names are a number in <speaker>/<emotion>, or number-emotion-speaker in any folder."""

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
        obtain=(
            "Bought from ChineseLDC, http://www.chineseldc.org/resource_info.php?rid=76. The literature uses its free "
            "part of 1200 utterances; copies of it hold a folder per speaker, with a folder per emotion below."
        ),
    )

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Read one name, and the two folders above it where the name is a number alone."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            return None
        code = (match["emotion"] or path.parent.name).lower()
        speaker = (match["speaker"] or path.parent.parent.name).lower()
        if not speaker:
            return None if self.find_emotion(code) is None else Skip("no speaker folder above the emotion folder")
        if int(match["number"]) not in _FREE:
            return Skip(_NOT_FREE)
        speaker = _SPELLINGS.get(speaker, speaker)
        return self.find_unknown(code) or self.make_utterance(
            path,
            code,
            id=f"{speaker}-{code}-{match['number']}",
            speaker=speaker,
            gender=_GENDERS.get(speaker),
            text=match["number"],
        )

    def find_differences(self, scan: Scan, sample_rates: Mapping[int, int]) -> list[str]:
        """Return the differences from the published corpus; name the full one."""
        lines = super().find_differences(scan, sample_rates)
        if beyond := scan.skipped.get(_NOT_FREE):
            lines.insert(
                0,
                f"{beyond} utterances beyond the free 1200, as in the full CASIA of 9600, were left out: "
                "the literature means numbers 201 to 250",
            )
        return lines
