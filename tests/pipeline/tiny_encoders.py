"""Tiny random encoders: ONNX graphs, and models of the transformers library, written to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

WIDTH = 8


def write_onnx(
    path: Path,
    front_end: str = "log-mel",
    *,
    frames: int | str | None = 100,
    width: int = WIDTH,
    stride: int | None = None,
    seed: int = 0,
    extra_input: bool = False,
) -> Path:
    """Write an encoder with two hidden states (LayerNormalization) and one number as its result.

    `frames` is the length of its input, in log-mel frames or samples; a text or None if it reads any length. `stride`
    is in the same unit, by default 20 ms. Each state depends on the whole input, as with attention.
    """
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'emodna[encoders]'")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)

    def make(name: str, *shape: int) -> Any:
        return numpy_helper.from_array((0.3 * rng.standard_normal(shape)).astype(np.float32), name)

    is_mel = front_end == "log-mel"
    kernel, stride, padding = (3, stride or 2, 1) if is_mel else (400, stride or 320, 0)
    constants = [
        make("kernel", width, 80 if is_mel else 1, kernel),
        make("weights", width, width),
        *(numpy_helper.from_array(np.ones(width, np.float32), name) for name in ("scale", "scale_2")),
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.array([1, 2]), "axes"),
    ]
    nodes = [
        *([] if is_mel else [helper.make_node("Unsqueeze", ["input", "axis"], ["channel"])]),
        helper.make_node(
            "Conv",
            ["input" if is_mel else "channel", "kernel"],
            ["convolved"],
            strides=[stride],
            pads=[padding, padding],
        ),
        helper.make_node("Transpose", ["convolved"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["frames", "axis"], ["mean"], keepdims=1),
        helper.make_node("Add", ["frames", "mean"], ["mixed"]),
        helper.make_node("LayerNormalization", ["mixed", "scale"], ["first"]),
        helper.make_node("MatMul", ["first", "weights"], ["product"]),
        helper.make_node("Tanh", ["product"], ["bent"]),
        helper.make_node("LayerNormalization", ["bent", "scale_2"], ["second"]),
        helper.make_node("ReduceMean", ["second", "axes"], ["result"], keepdims=0),
    ]
    shape = ["n", 80, frames] if is_mel else ["n", frames]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT64, ["n", frames]))
    outputs = [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def write_transformers(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write a model of the types whisper, wav2vec2, hubert or wavlm with three blocks, as safetensors."""
    import torch

    library = pytest.importorskip("transformers", reason="needs transformers: pip install 'emodna[encoders]'")
    torch.manual_seed(seed)
    if kind == "whisper":
        config = library.WhisperConfig(
            d_model=WIDTH,
            encoder_layers=3,
            encoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_layers=1,
            decoder_attention_heads=2,
            decoder_ffn_dim=16,
            vocab_size=20,
            max_source_positions=100,
            max_target_positions=8,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        model: Any = library.WhisperModel(config)
        extractor: Any = library.WhisperFeatureExtractor(chunk_length=2)
    else:
        names = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
        config = getattr(library, f"{names[kind]}Config")(
            hidden_size=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=(8,) * 7,
            num_feat_extract_tap=0,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            vocab_size=20,
        )
        model = getattr(library, f"{names[kind]}Model")(config)
        extractor = library.Wav2Vec2FeatureExtractor(do_normalize=True)
    model.save_pretrained(folder, safe_serialization=True)
    extractor.save_pretrained(folder)
    return folder
