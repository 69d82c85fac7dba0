"""Properties of an encoder that its features depend on, and the interface of an encoder in memory."""

import importlib.util
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import EncoderError

#: Sample rate in Hz of the audio that encoders read.
SAMPLE_RATE: Final = 16000
#: Samples between two frames of a log-mel spectrogram.
MEL_HOP: Final = 160

#: Input of an encoder: the log-mel spectrogram of Whisper, or samples.
FrontEnd = Literal["log-mel", "waveform"]
#: End at which short audio is filled with zeros up to the window; "none" if the encoder reads any length.
Padding = Literal["front", "back", "none"]
#: Scaling of the samples of a window, with their padding.
Scaling = Literal["none", "zero mean, unit variance"]


@dataclass(frozen=True, slots=True)
class Conventions:
    """Preparation of the samples that an encoder was trained with. An ONNX file does not say so."""

    padding: Padding = "back"
    """Used only if the encoder needs a fixed length."""
    scaling: Scaling = "none"


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Shape of an encoder and of the chosen hidden states."""

    layers: tuple[str, ...]
    """Chosen hidden states: their indices or names, in the order of their values."""
    width: int
    """Values per frame of one hidden state."""
    front_end: FrontEnd
    mels: int
    """Bands of the log-mel spectrogram; 0 for waveforms."""
    scaling: Scaling
    padding: Padding
    window: int
    """Length in samples of the longest input, and of every input unless `padding` is none."""
    stride: int
    """Samples between two frames of a hidden state."""
    centre: int
    """Sample at the centre of the first frame."""
    shortest: int
    """Length in samples of the shortest usable input."""


class Encoder(Protocol):
    """An encoder in memory that computes the chosen hidden states, and nothing after them."""

    def encode(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the hidden states (n, frames, dim), side by side, of (n, mels, frames) or (n, samples)."""


def find_default_layer(last: int) -> int:
    """Return the hidden state at two thirds of the depth, of those from 0 to `last`."""
    return round(2 / 3 * last)


def require_packages(*names: str) -> None:
    """Raise an `EncoderError` if a package that encoders need is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"encoders need packages that are not installed: {', '.join(missing)}"
        raise EncoderError(problem, remedy="pip install 'emodna[encoders]'")


def choose_layers(
    wanted: str | None, valid: tuple[str, ...], default: str | None, advice: str | None = None
) -> tuple[str, ...]:
    """Return the hidden states of a text such as "4,6", of all `valid` ones; by default one at two thirds of the depth.

    Raises `EncoderError`: no such hidden state, which comes with the advice, or one that is named twice.
    """
    text = wanted if wanted is not None else default
    if text is None:
        return (valid[find_default_layer(len(valid) - 1)],)
    layers = tuple(each.strip() for each in text.split(","))
    for layer in layers:
        if layer not in valid:
            problem = "no such hidden state of this encoder"
            raise EncoderError(problem, field="layer", value=layer, valid=valid, remedy=advice)
        if layers.count(layer) > 1:
            raise EncoderError("names a hidden state twice", field="layer", value=text)
    return layers
