"""Hidden states of a pretrained speech encoder."""

import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.encoders.anatomy import SAMPLE_RATE, Anatomy, Encoder, FrontEnd, Padding, Scaling
from emodna.pipeline.encoders.known import find_known_encoder
from emodna.pipeline.encoders.preprocessing import PADDING_KEY, PREPROCESSOR_FILE, SCALING_KEY, read_preprocessor
from emodna.pipeline.encoders.transformers_model import has_gpu
from emodna.pipeline.encoders.weights import examine, find_weights, locate, open_encoder
from emodna.pipeline.encoders.windows import encode_in_windows
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features.base import FeatureSet, measure_peak_db

#: Share of a window that it has in common with the one before it.
_OVERLAP: Final = 0.25
_loading: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class EncoderSet(FeatureSet):
    """Hidden states of an encoder, averaged over 40 ms; `describe_encoder` fills in the fields."""

    sample_rate: int = SAMPLE_RATE
    trim_db: float | None = 30.0
    encoder: str = ""
    """Name of the encoder, for the reader of a folder's name."""
    encoder_sha256: str = ""
    """Hash of the weights."""
    config_sha256: str = ""
    """Hash of the files that describe model and input; empty for an ONNX file."""
    layers: str = ""
    """Hidden states whose values stand side by side, such as 4,6."""
    width: int = 0
    """Values per frame of one hidden state."""
    hop_length: int = 640
    """Samples over which the encoder's frames are averaged."""
    front_end: str = "log-mel"
    mels: int = 80
    scaling: str = "none"
    padding: str = "back"
    window: int = 480_000
    """Length in samples of the longest input of the encoder."""
    overlap: int = 0
    """Samples that two windows of longer audio have in common."""
    stride: int = 320
    """Samples between two frames of the encoder."""
    centre: int = 0
    """Sample at the centre of its first frame."""
    shortest: int = 400
    """Length in samples of its shortest input."""

    kind: ClassVar[str] = "encoder"
    value: ClassVar[str] = "value"
    has_one_scale: ClassVar[bool] = False
    has_silence: ClassVar[bool] = False
    storage: ClassVar[Literal["float32", "float16"]] = "float16"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime", "transformers")

    @property
    def title(self) -> str:
        """Title such as encoder-smart-turn-v3.2-l4.6-25hz."""
        layers = re.sub(r"[^\w.]+", "_", self.layers.replace(",", "."))
        return f"encoder-{self.encoder}-l{layers}-{self.sample_rate / self.hop_length:g}hz"

    @property
    def licence(self) -> str:
        """Licence of the encoder."""
        known = find_known_encoder(self.encoder_sha256, self.location)
        return "not known" if known is None else known.licence

    @property
    def citation(self) -> str | None:
        """Publication of the encoder; None if it is not known."""
        known = find_known_encoder(self.encoder_sha256, self.location)
        return None if known is None else known.citation

    @property
    def min_samples(self) -> int:
        """Length of the shortest input of the encoder."""
        return self.shortest

    @property
    def dim(self) -> int:
        """Values per frame: those of all chosen hidden states."""
        return self.width * len(self.anatomy.layers)

    @property
    def anatomy(self) -> Anatomy:
        """Shape of the encoder and of the chosen hidden states."""
        return Anatomy(
            layers=tuple(self.layers.split(",")),
            width=self.width,
            front_end=cast(FrontEnd, self.front_end),
            mels=self.mels,
            scaling=cast(Scaling, self.scaling),
            padding=cast(Padding, self.padding),
            window=self.window,
            stride=self.stride,
            centre=self.centre,
            shortest=self.shortest,
        )

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return the hidden states (frames, dim) of (n,) samples, and their peak in dB relative to full scale.

        Raises `EncoderError`: its weights are not on this machine.
        """
        encoder = self.load()
        features = encode_in_windows(samples, encoder, self.anatomy, overlap=self.overlap, hop=self.hop_length)
        return features, measure_peak_db(samples)

    def check_requirements(self) -> None:
        """Raise an `EncoderError` if the weights or a package are not on this machine."""
        self.load()

    def find_weights(self) -> Path:
        """Return the file or folder of the weights; raise an `EncoderError` if they are not on this machine."""
        return find_weights(self.encoder, self.encoder_sha256, self.config_sha256, self.location)

    @property
    def needs_threads(self) -> bool:
        """True if a GPU computes the hidden states: one process loads the encoder, and its threads share batches."""
        return bool(self.config_sha256) and has_gpu()

    def load(self) -> Encoder:
        """Return the encoder, which is loaded once per process."""
        with _loading:  # threads would each load it
            return _load(self)


@lru_cache(maxsize=2)
def _load(features: EncoderSet) -> Encoder:
    return open_encoder(features.find_weights(), features.anatomy)


def describe_assumptions(features: EncoderSet) -> EmodnaError | None:
    """Return a warning if nothing says how the input of an ONNX file is prepared, as data; None if it is known."""
    if features.config_sha256 or features.location is None:
        return None
    if find_known_encoder(features.encoder_sha256, features.location) is not None:
        return None
    found = read_preprocessor(Path(features.location), features.anatomy.front_end)
    assumed, keys = [], []
    if found.scaling is None:
        assumed.append("unscaled samples")
        keys.append(SCALING_KEY)
    if found.padding is None and features.padding != "none":
        assumed.append("zeros at the back of short audio")
        keys.append(PADDING_KEY)
    if not assumed:
        return None
    problem = f"does not say how its input is prepared; assumed: {', '.join(assumed)}"
    remedy = f"set {' and '.join(keys)} in a file {PREPROCESSOR_FILE} in the same folder"
    return EmodnaError(problem, where=features.location, remedy=remedy)


def describe_encoder(encoder: str, layers: str | None = None) -> EncoderSet:
    """Return the feature set of an encoder and these of its hidden states, such as "4,6"; by default one or two.

    `encoder` is a known name, an ONNX file, a folder of the transformers library, or REPOSITORY@COMMIT on the Hugging
    Face hub. Raises `EncoderError`: not found, not usable, no such hidden state.
    """
    weights = locate(encoder)
    anatomy = examine(weights, layers)
    return EncoderSet(
        encoder=re.sub(r"[^a-z0-9.]+", "-", weights.name.lower()).strip("-."),
        encoder_sha256=weights.sha256,
        config_sha256=weights.config_sha256,
        layers=",".join(anatomy.layers),
        width=anatomy.width,
        front_end=anatomy.front_end,
        mels=anatomy.mels,
        scaling=anatomy.scaling,
        padding=anatomy.padding,
        window=anatomy.window,
        overlap=round(_OVERLAP * anatomy.window),
        stride=anatomy.stride,
        centre=anatomy.centre,
        shortest=anatomy.shortest,
        location=weights.location,
    )
