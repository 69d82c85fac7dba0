"""A trained model as one ONNX file that begins at the waveform."""
