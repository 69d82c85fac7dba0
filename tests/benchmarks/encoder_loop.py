"""Extract hidden states in a plain loop: python -m tests.benchmarks.encoder_loop ROOT DEST ENCODER LAYERS.

The loop is what a user would write for an encoder with Whisper's input of 8 s and padding at the front: soundfile,
librosa, transformers' feature extractor, and onnxruntime with its default threads.
"""

import sys
from pathlib import Path

import librosa
import numpy as np
import onnx
import onnxruntime
import soundfile
from transformers import WhisperFeatureExtractor

SAMPLES = 128_000


def extract_in_loop(root: Path, dest: Path, encoder: Path, layers: str) -> None:
    model = onnx.load(encoder)
    norms = [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"]
    names = [norms[int(layer)] for layer in layers.split(",")]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    extractor = WhisperFeatureExtractor(chunk_length=8)
    for path in sorted(root.rglob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        audio = librosa.resample(samples[:, 0], orig_sr=rate, target_sr=16_000)[-SAMPLES:]
        padded = np.pad(audio, (SAMPLES - len(audio), 0))
        inputs = extractor(
            padded, sampling_rate=16_000, do_normalize=True, max_length=SAMPLES, return_tensors="np"
        ).input_features
        states = session.run(names, {"input_features": inputs})
        frames = -(-len(audio) // 320)
        np.save(dest / f"{path.stem}.npy", np.concatenate([state[0, -frames:] for state in states], axis=1))


if __name__ == "__main__":
    extract_in_loop(*map(Path, sys.argv[1:4]), sys.argv[4])
