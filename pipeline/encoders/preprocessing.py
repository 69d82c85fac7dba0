"""Read how an ONNX file wants its samples: from a preprocessor_config.json of transformers in the same folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from emodna.pipeline.encoders.anatomy import MEL_HOP, SAMPLE_RATE, Conventions, FrontEnd, Padding, Scaling
from emodna.pipeline.encoders.front_end import N_FFT
from emodna.pipeline.errors import EncoderError, explain_os_error

Chosen = TypeVar("Chosen")

#: Name of the file, and its two keys that are used.
PREPROCESSOR_FILE: Final = "preprocessor_config.json"
SCALING_KEY: Final = "do_normalize"
PADDING_KEY: Final = "padding_side"
_SCALINGS: Final[dict[bool, Scaling]] = {True: "zero mean, unit variance", False: "none"}
_PADDINGS: Final[dict[str, Padding]] = {"left": "front", "right": "back"}
#: Values of further keys, which an encoder must have if its file has them.
_AUDIO: Final = {"sampling_rate": SAMPLE_RATE}
_SPECTROGRAM: Final = {"hop_length": MEL_HOP, "n_fft": N_FFT}


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """The entries of a preprocessor_config.json; None for those that it lacks."""

    scaling: Scaling | None = None
    padding: Padding | None = None

    @property
    def conventions(self) -> Conventions:
        """Entries of the file, and the default of each other one."""
        default = Conventions()
        return Conventions(self.padding or default.padding, self.scaling or default.scaling)


def read_preprocessor(model: Path, front_end: FrontEnd) -> Preprocessor:
    """Return the settings in the folder of an ONNX file; empty ones if it has no such file.

    Raises `EncoderError`: unreadable file, or one that describes another input than the package computes.
    """
    path = model.parent / PREPROCESSOR_FILE
    if not path.is_file():
        return Preprocessor()
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise EncoderError(explain_os_error(error), where=path) from error
    except ValueError as error:
        raise EncoderError("not valid JSON", where=path) from error
    if not isinstance(content, dict):
        raise EncoderError("not a JSON object", where=path)
    for key, value in {**_AUDIO, **(_SPECTROGRAM if front_end == "log-mel" else {})}.items():
        if content.get(key, value) != value:
            raise EncoderError(f"{key} is {content[key]!r}; valid: {value}", where=path)
    return Preprocessor(_choose(path, content, SCALING_KEY, _SCALINGS), _choose(path, content, PADDING_KEY, _PADDINGS))


def _choose(path: Path, content: dict[str, Any], key: str, valid: Mapping[Any, Chosen]) -> Chosen | None:
    """Return the meaning of an entry; None if the file lacks it."""
    if key not in content:
        return None
    for given, meaning in valid.items():
        if type(content[key]) is type(given) and content[key] == given:
            return meaning
    texts = " or ".join(map(json.dumps, valid))
    raise EncoderError(f"{key} is {json.dumps(content[key])}; valid: {texts}", where=path)
