"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song: the speech part."""

import re
from pathlib import PurePosixPath

from emodna.pipeline.corpora.base import CorpusInfo, PathCorpus, Skip, Utterance
from emodna.pipeline.download import Download

_NAME = re.compile(
    r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
    r"-(?P<statement>\d\d)-(?P<repetition>\d\d)-(?P<actor>\d\d)\.wav",
    re.IGNORECASE,
)
_INTENSITIES = {"01": "normal", "02": "strong"}
_ACTORS = frozenset(f"{number:02}" for number in range(1, 25))
_TWO = frozenset({"01", "02"})
_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}


class Ravdess(PathCorpus):
    """RAVDESS: modality, vocal channel, emotion, intensity, statement, repetition and actor in the file name."""

    name = "ravdess"
    info = CorpusInfo(
        title="Ryerson Audio-Visual Database of Emotional Speech and Song (speech, audio only)",
        language="en",
        utterances=1440,
        speakers=24,
        sample_rate=48000,
        channels="mono, except for five files with two equal channels",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5):e0196391, doi:10.1371/journal.pone.0196391",
        layout="Actor_NN/03-01-EE-II-SS-RR-AA.wav",
        emotions=_EMOTIONS,
        counts=dict.fromkeys(_EMOTIONS.values(), 192) | {"neutral": 96},  # neutral speech has no strong intensity
        homepage="https://zenodo.org/records/1188976",
        obtain="Free for non-commercial use: Audio_Speech_Actors_01-24.zip from the homepage, with 1440 spoken "
        "utterances. The songs and videos on that page are not used.",
        download=Download(
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            file="Audio_Speech_Actors_01-24.zip",
            bytes=208_468_073,
            checksum="sha256:5d208e01632cc3e5242106fa2af3273e6dc5239fb8143131979ac74c4aa40657",
            confirmed=True,
        ),
    )

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Parse a file name. Songs and the sound of videos are skipped."""
        if not (match := _NAME.fullmatch(path.name)):
            return None
        if match["modality"] != "03":
            return Skip(f"modality {match['modality']}, not audio only (03)")
        if match["channel"] != "01":
            return Skip("song (vocal channel 02)" if match["channel"] == "02" else f"vocal channel {match['channel']}")
        code, actor = match["emotion"], match["actor"]
        return self.find_unknown(
            code,
            intensity=(match["intensity"], _INTENSITIES),
            statement=(match["statement"], _TWO),
            repetition=(match["repetition"], _TWO),
            actor=(actor, _ACTORS),
        ) or self.make_utterance(
            path,
            code,
            id=path.stem,
            speaker=actor,
            gender="m" if int(actor) % 2 else "f",
            text=match["statement"],
            intensity=_INTENSITIES[match["intensity"]],
        )
