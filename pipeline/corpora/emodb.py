"""EMODB, the Berlin Database of Emotional Speech."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from emodna.pipeline.corpora.base import CorpusInfo, PathCorpus, Scan, Skip, Utterance
from emodna.pipeline.download import Download

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])\.wav", re.IGNORECASE)
_MALE = frozenset({"03", "10", "11", "12", "15"})
_FEMALE = frozenset({"08", "09", "13", "14", "16"})
_TEXTS = frozenset({"a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10"})
#: EMODB 2.0 adds 281 utterances of ambiguous emotion; the literature uses the 535 of 1.x.
_UTTERANCES_2_0 = 816


class Emodb(PathCorpus):
    """EMODB: file names SSTTTEv, for speaker, text, emotion (a German initial), version."""

    name = "emodb"
    info = CorpusInfo(
        title="Berlin Database of Emotional Speech",
        language="de",
        utterances=535,
        speakers=10,
        sample_rate=16000,
        licence="open (CC0-1.0 or CC BY 4.0: sources differ)",
        citation="Burkhardt et al. 2005, Interspeech, 1517-1520; data doi:10.5281/zenodo.7447302",
        layout="wav/SSTTTEv.wav (such as wav/03a01Fa.wav)",
        emotions={
            "W": "anger",
            "L": "boredom",
            "E": "disgust",
            "A": "fear",
            "F": "happiness",
            "T": "sadness",
            "N": "neutral",
        },
        counts={"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79},
        homepage="https://zenodo.org/records/7447302",
        obtain="Free: emodb.zip of version 1.3.0 from the homepage, or the same 535 recordings from "
        "http://emodb.bilderbar.info/download/download.zip. Version 2.0 has 816 and is not the corpus of "
        "the literature.",
        download=Download(
            url="https://zenodo.org/records/7447302/files/emodb.zip?download=1",
            file="emodb.zip",
            bytes=39_981_818,
            checksum="md5:9d21362dbc5676ef3ab4745d83ced0db",
            confirmed=False,
        ),
    )

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Parse a file name."""
        if not (match := _NAME.fullmatch(path.name)):
            return None
        speaker, text, code = match["speaker"], match["text"].lower(), match["emotion"].upper()
        skip = self.find_unknown(code, speaker=(speaker, _MALE | _FEMALE), text=(text, _TEXTS))
        id, gender = speaker + text + code + match["version"].lower(), "m" if speaker in _MALE else "f"
        return skip or self.make_utterance(path, code, id=id, speaker=speaker, gender=gender, text=text)

    def find_differences(self, scan: Scan, sample_rates: Mapping[int, int]) -> list[str]:
        """Return the differences from the published corpus, EMODB 2.0 first."""
        lines = super().find_differences(scan, sample_rates)
        if len(scan) == _UTTERANCES_2_0:
            lines.insert(0, "this is EMODB 2.0, with 281 ambiguous utterances; the literature uses the 535 of 1.x")
        return lines
