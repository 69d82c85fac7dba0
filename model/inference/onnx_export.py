"""Export a trained model as one ONNX file with a waveform as input, and compare it with the original."""

import importlib.metadata
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.inference.encoder_graph import insert_encoder, load_encoder_graph
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.waveform_model import WaveformModel
from emodna.model.provenance import RunCorpus, read_corpora
from emodna.model.run_folder import RunFolder
from emodna.pipeline.encoders.exposure import find_exposure
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import EncoderSet
from emodna.pipeline.files import replace_atomically

if TYPE_CHECKING:
    import onnx

#: Largest difference in probability between an exported model and the original.
TOLERANCE: Final = 1e-4
#: The same if features are rounded to float16: a rounding error of float32 may change the last bit.
_HALF_TOLERANCE: Final = 1e-3
#: The same if the encoder rounds its activations to 8 bits: there, an error of float32 grows from layer to layer.
_QUANTISED_TOLERANCE: Final = 0.05
_PACKAGES: Final = ("onnx", "onnxruntime", "onnxscript")
#: Longest window in s of the waveforms for comparison.
_LONG_SECONDS: Final = 5.0
#: Version that onnxruntime reads since its release 1.14.
_OPSET: Final = 18


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A summary of an exported model."""

    bytes: int
    """Size of the file."""
    difference: float
    """Largest difference in probability from the original."""
    tolerance: float
    """Largest difference that was allowed."""
    compared: int
    """Number of waveforms compared."""
    metadata: Mapping[str, str]


def export_onnx(run: RunFolder, path: Path, *, force: bool) -> ExportedModel:
    """Export a finished run's model by `write_onnx`, with metadata; raise a RunError if the run has no model."""
    model = TrainedModel.load(run.path, torch.device("cpu"))
    return write_onnx(model, _collect_metadata(model, read_corpora(run)), path, force=force)


def write_onnx(model: TrainedModel, metadata: Mapping[str, str], path: Path, *, force: bool) -> ExportedModel:
    """Write a model as ONNX, if its predictions in onnxruntime equal the original's.

    The input is `waveform` float32 (batch, samples), mono, at the feature set's sample rate. The outputs are
    `probability` (batch,) of class 1 and `logits` (batch, 2), both NaN for digital silence. With more classes, they are
    `probabilities` and `logits` (batch, classes).

    Raises ExportError if the path exists, packages are missing, the model cannot be exported, or predictions differ.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise ExportError(f"packages not found: {', '.join(missing)}", remedy="pip install 'emodna[onnx]'")
    with replace_atomically(path, force=force) as temporary:
        temporary.write_bytes(_serialise(model, metadata))
        tolerance = _choose_tolerance(model)
        difference, compared = _compare(temporary, model, tolerance)
        return ExportedModel(temporary.stat().st_size, difference, tolerance, compared, metadata)


def _collect_metadata(model: TrainedModel, corpora: Sequence[RunCorpus]) -> dict[str, str]:
    """Return the metadata of the file; values other than text become JSON."""
    features = model.features
    metadata: dict[str, Any] = {
        "emodna_version": importlib.metadata.version("emodna"),
        "task": model.task.name,
        "class_names": model.task.classes,
        "sample_rate": features.sample_rate,
        "min_samples": features.min_samples,
        "window_seconds": None if model.reads_statistics else model.seconds,
        "window": {
            "frames": model.framer.frames,
            "hop_length": features.hop_length,
            "padding": model.framer.padding,
            "normalisation": _describe_normalisation(model),
        },
        "features": features.parameters(),
        "method": model.method.name,
        "supervision": model.supervision,
        "exposure": {corpus.name: find_exposure(features, corpus.name) for corpus in corpora},
        "feature_licence": features.licence or "",
        "feature_citation": features.citation or "",
        "method_reference": model.method.reference,
        "source_corpora": [corpus.name for corpus in corpora if corpus.role == "source"],
        "target_corpora": [corpus.name for corpus in corpora if corpus.role == "target"],
        "licences": {corpus.name: corpus.licence for corpus in corpora},
        "citations": {corpus.name: corpus.citation for corpus in corpora},
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}


def _describe_normalisation(model: TrainedModel) -> str:
    if model.per_speaker:
        return "statistics of the target; in training, those of each speaker"
    return "per-utterance" if model.framer.statistics is None else "statistics of the training"


def _serialise(model: TrainedModel, metadata: Mapping[str, str]) -> bytes:
    import onnx

    exported = _translate(model)
    exported.producer_name, exported.producer_version = "emodna", importlib.metadata.version("emodna")
    signal = f"Speech at {model.features.sample_rate} Hz, mono, float32 in [-1, 1]"
    names = model.task.classes[1] if len(model.task) == 2 else f"each class ({', '.join(model.task.classes)}) of"
    exported.doc_string = f"{signal}, to the probability of {names} {model.task.name}."
    # Drop each node's source lines, which contain paths of this machine.
    graph = exported.graph
    for part in (exported, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    for part in (graph, *graph.node):
        part.doc_string = ""
    onnx.helper.set_model_props(exported, dict(metadata))
    onnx.checker.check_model(exported)
    return bytes(exported.SerializeToString(deterministic=True))


def _translate(model: TrainedModel) -> "onnx.ModelProto":
    module = WaveformModel(model)
    encoder, features = module.front_end.encoder, model.features
    opset = _OPSET
    # Sizes that no code can take for constants: three waveforms, of more than one window of an encoder.
    longest = features.min_samples
    if isinstance(features, EncoderSet) and encoder is not None:
        longest, opset = features.window, max(opset, encoder.opset)
    example = torch.zeros(3, 2 * longest + 7)
    sizes = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    try:
        with _silence_torch(), torch.no_grad():
            # torch.onnx.export alone would silently make a size constant if it cannot be dynamic.
            traced = torch.export.export(module, (example,), dynamic_shapes=(sizes,), strict=False)
            program = torch.onnx.export(
                traced,
                input_names=["waveform"],
                output_names=[_name_output(model), "logits"],
                dynamic_shapes=({0: "batch", 1: "samples"},),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch's errors have no common class
        problem = f"cannot be exported as ONNX: {_get_first_line(error)}"
        raise ExportError(problem, where=f"method {model.method.name}") from error
    translated: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]  # a program, because no file is given
    if encoder is not None:
        insert_encoder(translated, encoder)
    return translated


@contextmanager
def _silence_torch() -> Iterator[None]:
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _choose_tolerance(model: TrainedModel) -> float:
    """Return the largest difference in probability that rounding can explain."""
    if isinstance(model.features, EncoderSet) and load_encoder_graph(model.features).is_quantised:
        return _QUANTISED_TOLERANCE
    return TOLERANCE if model.features.storage == "float32" else _HALF_TOLERANCE


def _compare(file: Path, model: TrainedModel, tolerance: float) -> tuple[float, int]:
    """Return the largest difference in probability and the number of waveforms; raise an ExportError if they differ."""
    waveforms = _make_test_waveforms(model)
    # The second waveform of a batch must not change the prediction of the first.
    batches = [np.stack([waveform, waveform[::-1] / 2]) for waveform in waveforms.values()]
    *predictions, for_silence = _predict(
        file, _name_output(model), [*batches, np.zeros((1, model.features.min_samples), np.float32)]
    )
    largest = 0.0
    for (name, waveform), prediction in zip(waveforms.items(), predictions, strict=True):
        expected = model.probabilities([model.features.extract(waveform)])[0]
        found = np.atleast_1d(prediction[0])
        expected = expected[-len(found) :]
        worst = int(np.abs(found - expected).argmax())  # NaN counts as the largest
        difference = float(abs(found[worst] - expected[worst]))
        if not difference <= tolerance:  # NaN differs
            problem = f"the exported model predicts {found[worst]:.6f} instead of {expected[worst]:.6f}"
            problem += f" for a {name} waveform"
            raise ExportError(f"{problem}; nothing was written")
        largest = max(largest, difference)
    if not np.isnan(for_silence).all():
        raise ExportError("the exported model does not recognise digital silence; nothing was written")
    return largest, len(waveforms)


def _predict(file: Path, output: str, batches: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return an output (batch, ...) of an exported model for batches of waveforms (batch, samples)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return [session.run([output], {"waveform": batch})[0] for batch in batches]
    except Exception as error:  # onnxruntime's errors have no common class
        problem = f"onnxruntime cannot run the exported model: {_get_first_line(error)}; nothing was written"
        raise ExportError(problem) from error


def _name_output(model: TrainedModel) -> str:
    """Return the name of the first output."""
    return "probability" if len(model.task) == 2 else "probabilities"


def _get_first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _make_test_waveforms(model: TrainedModel) -> dict[str, NDArray[np.float32]]:
    """Return waveforms for every path through the model: glides in noise of varying loudness."""
    rate, shortest = model.features.sample_rate, model.features.min_samples
    window = round(min(model.seconds, _LONG_SECONDS) * rate)
    if isinstance(model.features, EncoderSet):
        window = model.features.window
    lengths = {
        "shortest possible": shortest,
        "short": max(shortest + 1, window // 3),
        "long": 2 * window + shortest + 1,
        "quiet": max(shortest, window - 1),
        "trimmed": max(shortest, window),
    }
    waveforms = {}
    for number, (name, length) in enumerate(lengths.items()):
        time = np.arange(length) / rate
        glide = np.sin(2 * np.pi * (120 * time + 400 * time**2 / (1 + time)))
        loudness = 0.05 + np.sin(2 * np.pi * np.arange(length) / length) ** 2
        if name == "trimmed":
            loudness *= np.sin(np.pi * np.arange(length) / length) ** 40  # nearly silent at both ends
        noise = np.random.default_rng(number).standard_normal(length)
        waveform = (0.3 * glide + 0.05 * noise) * loudness
        waveforms[name] = (waveform * (1e-4 if name == "quiet" else 1)).astype(np.float32)
    return waveforms
