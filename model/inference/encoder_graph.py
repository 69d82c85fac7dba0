"""Put the graph of an encoder in the place of its placeholder in an exported model.

A graph that takes a batch of inputs of one length gets all windows at once. Another graph runs once per window, in a
loop that cuts each input to its own length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emodna.model.inference.encoder_front_end import PLACEHOLDER, find_hop
from emodna.pipeline.encoders.anatomy import MEL_HOP
from emodna.pipeline.encoders.onnx_graph import load_part
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import EncoderSet

if TYPE_CHECKING:
    import onnx

#: Beginning of the names of an encoder's values, which differ from those of the rest of the graph.
_PREFIX: Final = "encoder/"
#: The same for the values around it.
_GLUE: Final = "window/"


@dataclass(frozen=True, slots=True)
class EncoderGraph:
    """The part of an encoder that computes the chosen hidden states."""

    model: "onnx.ModelProto"
    """Graph with one input, and one output (n, frames, width) per hidden state."""
    hidden_frames: int | None
    """Frames of the hidden states of a whole window, if the graph takes a batch of them; None: one window per run."""
    hop: int
    """Step between two frames of the hidden states, in frames or samples of the input."""

    @property
    def is_quantised(self) -> bool:
        """True if activations are rounded to 8 bits."""
        operators = {node.op_type for node in self.model.graph.node}
        return bool(operators & {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearMatMul", "QLinearConv"})

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return int(max(each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")))


def load_encoder_graph(features: EncoderSet) -> EncoderGraph:
    """Return the graph of the encoder of a feature set.

    Raises EncoderError if the encoder is missing, and ExportError if it is no ONNX file.
    """
    path = features.find_weights()
    if path.is_dir():
        problem = "only an encoder in an ONNX file can be part of an ONNX model; this one is a folder of transformers"
        raise ExportError(problem, where=path)
    model, anatomy = load_part(path, features.anatomy.layers), features.anatomy
    takes_batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value != 1
    hidden_frames = None
    if takes_batch and anatomy.padding != "none":
        is_mel = anatomy.front_end == "log-mel"
        shape = (anatomy.mels, anatomy.window // MEL_HOP) if is_mel else (anatomy.window,)
        hidden_frames = features.load().encode(np.zeros((1, *shape), np.float32)).shape[1]
    return EncoderGraph(model, hidden_frames, find_hop(anatomy))


def insert_encoder(model: "onnx.ModelProto", encoder: EncoderGraph) -> None:
    """Replace the node of the operator `PLACEHOLDER` in a model by the encoder, in place."""
    import onnx
    from onnx.compose import add_prefix

    domain, operator = PLACEHOLDER.split("::")
    at = next(at for at, node in enumerate(model.graph.node) if (node.domain, node.op_type) == (domain, operator))
    placeholder, rest = model.graph.node[at], list(model.graph.node)
    part = add_prefix(encoder.model, _PREFIX)
    is_batch = encoder.hidden_frames is not None
    nodes = _build_batch(part, placeholder) if is_batch else _build_loop(part, placeholder, encoder.hop)
    del model.graph.node[:]
    model.graph.node.extend([*rest[:at], *nodes, *rest[at + 1 :]])
    model.graph.initializer.extend(part.graph.initializer)
    model.graph.sparse_initializer.extend(part.graph.sparse_initializer)
    model.functions.extend(part.functions)
    model.ir_version = max(model.ir_version, part.ir_version)
    # onnxruntime cannot load a model that imports operators which it lacks, even if no node has them.
    used = {node.domain for node in part.graph.node} | {node.domain for each in part.functions for node in each.node}
    known = {each.domain for each in model.opset_import} - {domain}
    imports = [each for each in model.opset_import if each.domain != domain]
    imports += [each for each in part.opset_import if each.domain in used - known]
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(each.domain, each.version) for each in imports)


def _build_batch(encoder: "onnx.ModelProto", placeholder: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    """Return the nodes that encode all inputs at once."""
    from onnx.helper import make_node

    inputs = placeholder.input[0]
    hidden, lengths = placeholder.output
    return [
        make_node("Identity", [inputs], [encoder.graph.input[0].name]),
        *encoder.graph.node,
        _join_states(encoder, hidden),
        make_node("Shape", [hidden], [f"{_GLUE}frames"], start=1, end=2),
        make_node("Shape", [inputs], [f"{_GLUE}count"], start=0, end=1),
        make_node("Expand", [f"{_GLUE}frames", f"{_GLUE}count"], [lengths]),
    ]


def _build_loop(encoder: "onnx.ModelProto", placeholder: "onnx.NodeProto", hop: int) -> "list[onnx.NodeProto]":
    """Return the nodes that encode one input after the other, and pad the hidden states to one length."""
    import onnx
    from onnx.helper import make_graph, make_node, make_tensor_value_info

    inputs, lengths = placeholder.input
    kinds = {"at": onnx.TensorProto.INT64, "go": onnx.TensorProto.BOOL, "on": onnx.TensorProto.BOOL}
    values = {name: make_tensor_value_info(_GLUE + name, kind, []) for name, kind in kinds.items()}
    values["padded"] = make_tensor_value_info(f"{_GLUE}padded", onnx.TensorProto.FLOAT, [None, None])
    values["frames"] = make_tensor_value_info(f"{_GLUE}frames", onnx.TensorProto.INT64, [])
    body = make_graph(
        [
            make_node("Identity", [f"{_GLUE}go"], [f"{_GLUE}on"]),
            make_node("Gather", [inputs, f"{_GLUE}at"], [f"{_GLUE}whole"], axis=0),
            make_node("Gather", [lengths, f"{_GLUE}at"], [f"{_GLUE}own"], axis=0),
            make_node("Unsqueeze", [f"{_GLUE}own", f"{_GLUE}zero"], [f"{_GLUE}stop"]),
            make_node("Slice", [f"{_GLUE}whole", f"{_GLUE}zero", f"{_GLUE}stop", f"{_GLUE}last"], [f"{_GLUE}cut"]),
            make_node("Unsqueeze", [f"{_GLUE}cut", f"{_GLUE}zero"], [encoder.graph.input[0].name]),
            *encoder.graph.node,
            _join_states(encoder, f"{_GLUE}joined"),
            make_node("Squeeze", [f"{_GLUE}joined", f"{_GLUE}zero"], [f"{_GLUE}state"]),
            make_node("Shape", [f"{_GLUE}state"], [f"{_GLUE}length"], start=0, end=1),
            make_node("Squeeze", [f"{_GLUE}length"], [f"{_GLUE}frames"]),
            make_node("Sub", [f"{_GLUE}most", f"{_GLUE}length"], [f"{_GLUE}missing"]),
            make_node("Concat", [f"{_GLUE}none", f"{_GLUE}missing", f"{_GLUE}zero"], [f"{_GLUE}pads"], axis=0),
            make_node("Pad", [f"{_GLUE}state", f"{_GLUE}pads"], [f"{_GLUE}padded"]),
        ],
        "window",
        [values["at"], values["go"]],
        [values["on"], values["padded"], values["frames"]],
    )
    return [
        _make_constant("zero", [0]),
        _make_constant("none", [0, 0]),
        _make_constant("last", [-1]),
        _make_constant("one", [1]),
        _make_constant("hop", [hop]),
        make_node("Shape", [inputs], [f"{_GLUE}count"], start=0, end=1),
        make_node("Shape", [inputs], [f"{_GLUE}size"], start=-1),
        make_node("Div", [f"{_GLUE}size", f"{_GLUE}hop"], [f"{_GLUE}steps"]),
        make_node("Add", [f"{_GLUE}steps", f"{_GLUE}one"], [f"{_GLUE}most"]),
        make_node("Loop", [f"{_GLUE}count", ""], list(placeholder.output), body=body),
    ]


def _join_states(encoder: "onnx.ModelProto", joined: str) -> "onnx.NodeProto":
    """Return the node that puts the hidden states side by side."""
    from onnx.helper import make_node

    return make_node("Concat", [each.name for each in encoder.graph.output], [joined], axis=2)


def _make_constant(name: str, values: Sequence[int]) -> "onnx.NodeProto":
    from onnx.helper import make_node

    return make_node("Constant", [], [_GLUE + name], value_ints=list(values))
