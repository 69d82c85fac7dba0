"""Encoders in ONNX files, run by onnxruntime on the part of the graph that the chosen hidden states need.

Hidden states are outputs of nodes. An index counts the outputs of LayerNormalization nodes, from 0.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.encoders.anatomy import (
    MEL_HOP,
    SAMPLE_RATE,
    Anatomy,
    Conventions,
    FrontEnd,
    choose_layers,
    require_packages,
)
from emodna.pipeline.encoders.preprocessing import read_preprocessor
from emodna.pipeline.errors import EncoderError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

#: Length in samples of the longest input if the graph reads any length: Whisper's window, and a little more than
#: wav2vec 2.0's longest example in training. Attention takes memory with the square of it.
_LONGEST: Final[dict[FrontEnd, int]] = {"log-mel": 30 * SAMPLE_RATE, "waveform": 16 * SAMPLE_RATE}
#: Samples that the first frame of a log-mel spectrogram reads.
_SHORTEST: Final = 400
#: Bands of the spectrogram if the graph does not declare them (all sizes of Whisper but large-v3).
_MELS: Final = 80


class _Input(NamedTuple):
    """The input of a graph that takes audio."""

    name: str
    front_end: FrontEnd
    mels: int
    window: int | None
    """Length in samples; None if the graph reads any length."""


class OnnxEncoder:
    """The part of an ONNX graph that computes the chosen hidden states, on one thread."""

    def __init__(self, path: Path, layers: tuple[str, ...]) -> None:
        part = load_part(path, layers)
        self._input, self._outputs = part.graph.input[0].name, [each.name for each in part.graph.output]
        self._session = _start_session(part, path)

    def encode(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the hidden states (n, frames, dim), side by side."""
        states: list[NDArray[np.float32]] = self._session.run(self._outputs, {self._input: inputs})
        return states[0] if len(states) == 1 else np.concatenate(states, axis=2)


def load_part(path: Path, layers: tuple[str, ...]) -> "ModelProto":
    """Return the part of a graph that computes the chosen hidden states, which are its outputs."""
    model = _load(path)
    return _cut(model, path, _find_input(model, path).name, [_find_output(model, layer) for layer in layers])


def examine_onnx(path: Path, wanted: str | None, default: str | None, conventions: Conventions | None) -> Anatomy:
    """Return the anatomy of an ONNX file with these hidden states.

    `conventions` describe the input. Without them, a preprocessor_config.json in the same folder does.
    Without both, the defaults hold.

    Raises `EncoderError`: not an ONNX file, no usable input, no such hidden state.
    """
    model = _load(path)
    source = _find_input(model, path)
    if conventions is None:
        conventions = read_preprocessor(path, source.front_end).conventions
    wanted = _replace_names(model, wanted)
    probe = _Probe(model, path, source, wanted)
    layers = choose_layers(
        wanted, probe.list_valid(), default, "the name of any node's output [n, frames, width] is valid, too"
    )
    states = [probe.shapes[_find_output(model, layer)] for layer in layers]
    if len(set(states)) > 1:
        widths = ", ".join(
            f"{layer}: {size[1]} values x {size[0]} frames" for layer, size in zip(layers, states, strict=True)
        )
        raise EncoderError(f"these hidden states differ in shape ({widths})", field="layer", value=wanted)
    frames, width = states[0]
    if probe.window is not None:
        stride, field = _round_stride(probe.window, frames, source), 0
        if stride < 1:
            problem = f"has {frames} frames of {layers[0]} in {probe.window} samples, more than one per sample"
            raise EncoderError(problem, where=path)
    else:
        stride, field = _measure_stride(probe, _find_output(model, layers[0]), source)
    if source.front_end == "log-mel":
        centre, shortest = 0, max(_SHORTEST, stride)
    else:
        centre, shortest = (field or stride) // 2, max(field, stride)
    return Anatomy(
        layers=layers,
        width=width,
        front_end=source.front_end,
        mels=source.mels,
        scaling=conventions.scaling,
        padding="none" if probe.window is None else conventions.padding,
        window=probe.window or _LONGEST[source.front_end],
        stride=stride,
        centre=centre,
        shortest=shortest,
    )


class _Probe:
    """Runs of a whole graph on silence, which show the shapes of its hidden states."""

    def __init__(self, model: "ModelProto", path: Path, source: _Input, wanted: str | None) -> None:
        self._source, self.path = source, path
        self._norms = _list_norms(model)
        self._results = [each.name for each in model.graph.output]
        computed = {name for node in model.graph.node for name in node.output}
        named = _split(wanted)
        self._outputs = list(
            dict.fromkeys([*self._norms, *self._results, *(each for each in named if each in computed)])
        )
        self._session = _start_session(_cut(model, path, source.name, self._outputs), path)
        self.window = source.window
        try:
            self.shapes = self.run(source.window or SAMPLE_RATE)
        except EncoderError:
            if source.window is not None or source.front_end != "log-mel":
                raise
            # The axis has no declared length, but the positions that the graph adds have one: Whisper's.
            self.window = _LONGEST["log-mel"]
            self.shapes = self.run(self.window)

    def run(self, length: int) -> dict[str, tuple[int, int]]:
        """Return frames and width of each output that is a sequence (1, frames, width), for a length in samples."""
        shape = (length,) if self._source.front_end == "waveform" else (self._source.mels, length // MEL_HOP)
        inputs = {self._source.name: np.zeros((1, *shape), np.float32)}
        with _translate_errors(self.path):
            values = self._session.run(self._outputs, inputs)
        # A graph may have other results: numbers of another type, lists.
        arrays = {
            name: value
            for name, value in zip(self._outputs, values, strict=True)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 3
        }
        shapes = {name: value.shape for name, value in arrays.items()}
        return {name: shape[1:] for name, shape in shapes.items() if shape[0] == 1 and shape[1] > 1 and shape[2] > 0}

    def list_valid(self) -> tuple[str, ...]:
        """Return the indices and names of hidden states."""
        indices = [str(at) for at, name in enumerate(self._norms) if name in self.shapes]
        names = (name for name in self._outputs if name in self.shapes and name not in self._norms)
        valid = (*indices, *(name for name in names if not name.isdecimal()))
        if not valid:
            raise EncoderError("has no hidden states [n, frames, width]", where=self.path)
        return valid


def _round_stride(length: int, frames: int, source: _Input) -> int:
    """Return the number of samples between two frames, of `frames` in `length` samples."""
    # Of a spectrogram, a frame takes a whole number of its frames.
    return MEL_HOP * max(round(length / MEL_HOP / frames), 1) if source.front_end == "log-mel" else length // frames


def _measure_stride(probe: _Probe, output: str, source: _Input) -> tuple[int, int]:
    """Return the stride of a graph that reads any length, and the number of samples that one frame covers, at least 1.

    The latter is 0 for a spectrogram. Raises `EncoderError`: longer audio has no more frames, or wider ones.
    """

    def count(length: int) -> int:
        return probe.run(length).get(output, (1, 0))[0]

    (frames, width), longer = probe.shapes[output], probe.run(2 * SAMPLE_RATE).get(output)
    if longer is None or longer[0] <= frames or longer[1] != width:
        found = "another shape" if longer is None else f"{longer[0]} with {longer[1]} values each"
        problem = f"{output} has {frames} frames with {width} values each in 1 s of audio, and {found} in 2 s"
        remedy = "choose a hidden state whose number of frames alone grows with the audio, or another encoder"
        raise EncoderError(problem, where=probe.path, remedy=remedy)
    more = longer[0] - frames
    if source.front_end == "log-mel":
        return _round_stride(SAMPLE_RATE, more, source), 0
    # The number of frames grows by one in each stride.
    most = SAMPLE_RATE // max(more - 1, 1)
    before = range(max(SAMPLE_RATE - most, _SHORTEST), SAMPLE_RATE)
    after = range(SAMPLE_RATE, SAMPLE_RATE + most + 1)
    start = before.start + bisect_left(before, frames, key=count)
    stride = after.start + bisect_left(after, frames + 1, key=count) - start
    return stride, max(start - (frames - 1) * stride, 1)


def _load(path: Path) -> "ModelProto":
    require_packages("onnx", "onnxruntime")
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise EncoderError("not an ONNX file, or a damaged one", where=path) from error
    if not model.graph.node:
        raise EncoderError("not an ONNX file, or a damaged one", where=path)
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise EncoderError("keeps its weights in other files", where=path, remedy="save it as one file")
    return model


def _find_input(model: "ModelProto", path: Path) -> _Input:
    """Return the input for log-mel spectrograms [n, mels, frames] or waveforms [n, samples]."""
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    described = []
    for each in inputs:
        sizes = [size.dim_value or None for size in each.type.tensor_type.shape.dim]
        described.append(f"{each.name} [{', '.join(str(size or '?') for size in sizes)}]")
        is_float = each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        if len(inputs) == 1 and is_float and len(sizes) in (2, 3) and sizes[0] in (None, 1):
            if len(sizes) == 2:
                return _Input(each.name, "waveform", 0, sizes[1])
            return _Input(each.name, "log-mel", sizes[1] or _MELS, sizes[2] and sizes[2] * MEL_HOP)
    problem = f"its inputs are {', '.join(described)}, not one of float32 [n, mels, frames] or [n, samples]"
    raise EncoderError(problem, where=path)


def _cut(model: "ModelProto", path: Path, source: str, outputs: list[str]) -> "ModelProto":
    """Return the part of a graph that these outputs need."""
    import onnx
    from onnx.utils import Extractor

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    declared = {each.name for each in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in declared)
    with _translate_errors(path):
        return Extractor(extended).extract_model([source], outputs)


def _start_session(part: "ModelProto", path: Path) -> "InferenceSession":
    """Return a session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    with _translate_errors(path):
        return onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Raise an `EncoderError` if onnx or onnxruntime fail in this block."""
    try:
        yield
    except (ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise EncoderError(f"cannot be run: {shorten(str(error), 200)}", where=path) from error
    except Exception as error:
        if not type(error).__module__.startswith(("onnx", "google.protobuf")):
            raise
        raise EncoderError(f"cannot be run: {shorten(str(error), 200)}", where=path) from error


def _list_norms(model: "ModelProto") -> list[str]:
    """Return the names of the outputs of LayerNormalization nodes, in the order of computation."""
    return [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"]


def _split(layers: str | None) -> list[str]:
    return [each.strip() for each in (layers or "").split(",")]


def _replace_names(model: "ModelProto", layers: str | None) -> str | None:
    """Return hidden states with indices instead of names, so that one state has one name. A number is an index."""
    indices = {name: str(index) for index, name in enumerate(_list_norms(model)) if not name.isdecimal()}
    return layers and ",".join(indices.get(each, each) for each in _split(layers))


def _find_output(model: "ModelProto", layer: str) -> str:
    """Return the name of a hidden state that is given by index or by name."""
    return _list_norms(model)[int(layer)] if layer.isdecimal() else layer
