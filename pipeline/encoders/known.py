"""Published encoders: source, licence, training data, and which emotion corpora their training contained.

A fact stands here only with a citation. A revision stands here if the hub itself or two independent public projects
name it, together with a safetensors or ONNX file: weights in pickle files are never loaded. Training audio that is not
listed recording by recording, such as audio from the web, may contain any corpus.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from emodna.pipeline.encoders.anatomy import find_default_layer

Exposure = Literal["yes", "no", "unknown"]
"""Answer to the question whether the training of a feature set contained a corpus."""


class Sighting(NamedTuple):
    """Answer to the question whether an encoder has seen a corpus, and the document that gives it."""

    exposure: Exposure
    citation: str


@dataclass(frozen=True, slots=True)
class KnownEncoder:
    """A published encoder."""

    name: str
    hub: str
    """Repository on the Hugging Face hub."""
    revision: str | None
    """Commit of the repository, 40 digits; None if no commit with a usable file is confirmed."""
    file: str
    """Name of the file of weights in the repository."""
    sha256: str | None
    """SHA-256 of that file; None if it is not confirmed."""
    width: int
    """Values per frame of one hidden state."""
    blocks: int
    """Transformer blocks."""
    licence: str
    training_data: str
    citation: str
    """Publication of the encoder."""
    seen: Mapping[str, Sighting]
    """Corpus -> answer to the question whether the training contained it."""
    padding: Literal["front", "back"] = "back"
    """End at which short audio is filled with zeros, if the encoder reads a fixed length."""
    scaling: Literal["none", "zero mean, unit variance"] = "none"
    """Scaling of the samples of a window, with their padding."""
    layers: str | None = None
    """Hidden states that carry emotion best; None: not measured."""
    safetensors_ref: str | None = None
    """Branch of the repository that has the weights as safetensors, if the main branch has none."""
    remark: str = ""
    """Fact that a user of the encoder should know; empty if there is none."""

    @property
    def source(self) -> str:
        """Repository and commit, such as openai/whisper-tiny@169d..."""
        return self.hub if self.revision is None else f"{self.hub}@{self.revision}"

    @property
    def default_layers(self) -> str:
        """Hidden states that are used by default, such as 3,4,5."""
        return self.layers or str(find_default_layer(self.blocks))


#: Corpora of this package; reading them from their registry would slow down each start of a command.
_CORPORA: Final = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee")


def _mark_all(exposure: Exposure, citation: str, **others: Sighting) -> Mapping[str, Sighting]:
    """Return the same answer for each corpus, except the given ones."""
    return MappingProxyType({name: others.get(name, Sighting(exposure, citation)) for name in _CORPORA})


_WHISPER: Final = "Radford et al. 2022, arXiv 2212.04356"
_WAV2VEC2: Final = "Baevski et al. 2020, arXiv 2006.11477"
_HUBERT: Final = "Hsu et al. 2021, arXiv 2106.07447"
_WAVLM: Final = "Chen et al. 2021, arXiv 2110.13900"
_SUPERB: Final = "Yang et al. 2021, arXiv 2105.01051"
_AUDEERING: Final = "Wagner et al. 2022, arXiv 2203.07378"

_WEB: Final = _mark_all("unknown", f"{_WHISPER}, section 2.1: audio from the web, not listed")
_LIBRISPEECH: Final = "LibriSpeech, 960 hours of audiobooks"
_NORMALISED: Final = "zero mean, unit variance"

_ENCODERS: Final = (
    KnownEncoder(
        "smart-turn-v3.2",
        "pipecat-ai/smart-turn-v3",
        "f766f81d3cfdf7737ac64aad813d91bbfd56bf93",
        "smart-turn-v3.2-cpu.onnx",
        "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
        width=384,
        blocks=4,
        licence="BSD-2-Clause",
        training_data="weights of whisper-tiny, trained further to detect the end of a turn in 23 languages, on "
        "recordings and synthetic speech of several contributors",
        citation="https://github.com/pipecat-ai/smart-turn",
        seen=_mark_all("unknown", f"{_WHISPER}, section 2.1; https://huggingface.co/pipecat-ai/smart-turn-v3"),
        padding="front",
        scaling=_NORMALISED,
        layers="3,4,5",
    ),
    KnownEncoder(
        "whisper-tiny",
        "openai/whisper-tiny",
        "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
        "model.safetensors",
        "7ebd0e69e78190ffe1438491fa05cc1f5c1aa3a4c4db3bc1723adbb551ea2395",
        width=384,
        blocks=4,
        licence="Apache-2.0",
        training_data="680 000 hours of transcribed audio from the web",
        citation=_WHISPER,
        seen=_WEB,
    ),
    KnownEncoder(
        "whisper-base",
        "openai/whisper-base",
        "e37978b90ca9030d5170a5c07aadb050351a65bb",
        "model.safetensors",
        "07cadb9f25677c8d50df603e66a98fbd842cce45047139baeb16e6219a1e807b",
        width=512,
        blocks=6,
        licence="Apache-2.0",
        training_data="680 000 hours of transcribed audio from the web",
        citation=_WHISPER,
        seen=_WEB,
    ),
    KnownEncoder(
        "whisper-small",
        "openai/whisper-small",
        "973afd24965f72e36ca33b3055d56a652f456b4d",
        "model.safetensors",
        "1d7734884874f1a1513ed9aa760a4f8e97aaa02fd6d93a3a85d27b2ae9ca596b",
        width=768,
        blocks=12,
        licence="Apache-2.0",
        training_data="680 000 hours of transcribed audio from the web",
        citation=_WHISPER,
        seen=_WEB,
    ),
    KnownEncoder(
        "wav2vec2-base",
        "facebook/wav2vec2-base",
        None,
        "model.safetensors",
        None,
        width=768,
        blocks=12,
        licence="Apache-2.0",
        training_data=_LIBRISPEECH,
        citation=_WAV2VEC2,
        seen=_mark_all("no", f"{_WAV2VEC2}, section 4.1: trained on LibriSpeech"),
        scaling=_NORMALISED,
        safetensors_ref="refs/pr/2",
    ),
    KnownEncoder(
        "hubert-base",
        "facebook/hubert-base-ls960",
        "af46f65f540dc3ca7aa59f46c6c3d5dbb4374fa8",
        "model.safetensors",
        None,
        width=768,
        blocks=12,
        licence="Apache-2.0",
        training_data=_LIBRISPEECH,
        citation=_HUBERT,
        seen=_mark_all("no", f"{_HUBERT}: trained on LibriSpeech"),
        scaling=_NORMALISED,
        safetensors_ref="refs/pr/2",
    ),
    KnownEncoder(
        "wavlm-base-plus",
        "microsoft/wavlm-base-plus",
        None,
        "model.safetensors",
        None,
        width=768,
        blocks=12,
        licence="MIT",
        training_data="94 000 hours: Libri-Light (audiobooks), GigaSpeech (audiobooks, podcasts, YouTube), VoxPopuli "
        "(European Parliament)",
        citation=_WAVLM,
        seen=_mark_all("unknown", f"{_WAVLM}; GigaSpeech (arXiv 2106.06909) has audio from the web"),
        safetensors_ref="refs/pr/1",
    ),
    KnownEncoder(
        "wav2vec2-msp",
        "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
        "6eba34a2485ea31cb03600241787c3a5edab8626",
        "model.safetensors",
        "efa5ac1a13b2d2f42182738e44794b1eb4c0cdd221a8b4ae11304c3a5f5fae95",
        width=1024,
        blocks=12,
        licence="CC BY-NC-SA 4.0",
        training_data="Libri-Light, Common Voice, Switchboard and Fisher; then the emotion labels of MSP-Podcast",
        citation=_AUDEERING,
        seen=_mark_all("unknown", f"{_AUDEERING}: MSP-Podcast has audio from the web"),
        scaling=_NORMALISED,
    ),
    KnownEncoder(
        "wav2vec2-ravdess",
        "ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition",
        "b520c9c46a719e36e1b9a91cad2cb5d0668757d8",
        "model.safetensors",
        None,
        width=1024,
        blocks=24,
        licence="Apache-2.0",
        training_data="XLSR-53 (Multilingual LibriSpeech, Common Voice, BABEL), Common Voice in English; then the "
        "emotion labels of RAVDESS",
        citation="https://huggingface.co/ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition",
        seen=_mark_all(
            "no",
            "model card; Conneau et al. 2020, arXiv 2006.13979: lists all training corpora",
            ravdess=Sighting("yes", "model card: fine-tuned on the 1440 recordings of RAVDESS"),
        ),
        scaling=_NORMALISED,
    ),
    KnownEncoder(
        "wav2vec2-superb-er",
        "superb/wav2vec2-base-superb-er",
        "5342d99fbd92729de036b8680a9d8e8d7ab40eea",
        "model.safetensors",
        None,
        width=768,
        blocks=12,
        licence="Apache-2.0",
        training_data=f"{_LIBRISPEECH}; then the emotion labels of IEMOCAP",
        citation=_SUPERB,
        seen=_mark_all(
            "no",
            f"{_WAV2VEC2}, section 4.1: trained on LibriSpeech",
            iemocap=Sighting("yes", f"model card and {_SUPERB}: emotion recognition on IEMOCAP"),
        ),
        scaling=_NORMALISED,
        safetensors_ref="refs/pr/2",
        remark="By its paper, training on IEMOCAP changed only the layers after the encoder.",
    ),
)

KNOWN_ENCODERS: Final[Mapping[str, KnownEncoder]] = MappingProxyType({each.name: each for each in _ENCODERS})
"""Published encoders by name."""


def find_known_encoder(sha256: str, source: str | None = None) -> KnownEncoder | None:
    """Return the published encoder with weights of this SHA-256, or else from this repository and commit.

    `source` has the form of `KnownEncoder.source`; without a commit it identifies nothing.
    """
    found = (each for each in _ENCODERS if each.sha256 == sha256)
    pinned = (each for each in _ENCODERS if each.revision is not None and each.sha256 is None and each.source == source)
    return next(found, None) or next(pinned, None)
