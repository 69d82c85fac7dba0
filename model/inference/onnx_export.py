"""Write a trained model as one ONNX file that begins at the waveform, and check it against the original."""

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

from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.waveform_model import WaveformModel
from emodna.model.provenance import RunCorpus, read_corpora
from emodna.model.run_folder import RunFolder
from emodna.pipeline.emotions import CLASS_NAMES
from emodna.pipeline.errors import ExportError
from emodna.pipeline.files import replace_atomically

if TYPE_CHECKING:
    import onnx

#: Largest difference in probability from emodna's own answer with which a file is kept.
TOLERANCE: Final = 1e-4
_NEEDED: Final = ("onnx", "onnxruntime", "onnxscript")
#: All of onnxruntime's releases since 1.14 read it; nothing newer is needed.
_OPSET: Final = 18


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A file that was written."""

    bytes: int
    difference: float
    """Largest difference in probability from the original, over the waveforms that were compared."""
    compared: int
    """Number of those waveforms."""
    metadata: Mapping[str, str]


def export_onnx(run: RunFolder, place: Path, *, force: bool) -> ExportedModel:
    """Write a finished run's model as `write_onnx`, with metadata for the user of the file; else raise a `RunError`."""
    model = TrainedModel.load(run.path, torch.device("cpu"))
    return write_onnx(model, _collect_metadata(model, read_corpora(run)), place, force=force)


def write_onnx(model: TrainedModel, metadata: Mapping[str, str], place: Path, *, force: bool) -> ExportedModel:
    """Write a model as ONNX, if onnxruntime gives the original's answers by it.

    Input `waveform` float32 (batch, samples), mono, at the feature set's sample rate; outputs `probability` (batch,) of
    class 1 and `logits` (batch, 2), both NaN for digital silence. Raises ExportError if the place is taken, packages
    are missing, the model cannot be written as ONNX, or the file's answers differ.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise ExportError(f"--to onnx: needs {', '.join(missing)}: pip install 'emodna[onnx]'")
    with replace_atomically(place, force=force) as fresh:
        fresh.write_bytes(_serialise(model, metadata))
        difference, compared = _compare(fresh, model)
        return ExportedModel(fresh.stat().st_size, difference, compared, metadata)


def _collect_metadata(model: TrainedModel, corpora: Sequence[RunCorpus]) -> dict[str, str]:
    """Return the file's metadata; values that are not plain text are JSON."""
    features = model.features
    facts: dict[str, Any] = {
        "emodna_version": importlib.metadata.version("emodna"),
        "task": model.task,
        "class_names": CLASS_NAMES[model.task],
        "sample_rate": features.sample_rate,
        "min_samples": features.min_samples,
        "window_seconds": model.seconds,
        "window": {
            "frames": model.framer.frames,
            "hop_length": features.hop_length,
            "padding": model.framer.padding,
            "normalisation": "per-utterance" if model.framer.statistics is None else "statistics of the training",
        },
        "features": features.parameters(),
        "method": model.method.name,
        "supervision": model.method.supervision,
        "method_reference": model.method.reference,
        "source_corpora": [corpus.name for corpus in corpora if corpus.role == "source"],
        "target_corpora": [corpus.name for corpus in corpora if corpus.role == "target"],
        "licences": {corpus.name: corpus.licence for corpus in corpora},
        "citations": {corpus.name: corpus.citation for corpus in corpora},
    }
    return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()}


def _serialise(model: TrainedModel, metadata: Mapping[str, str]) -> bytes:
    """Return the content of the file."""
    import onnx

    exported = _translate(model)
    exported.producer_name, exported.producer_version = "emodna", importlib.metadata.version("emodna")
    exported.doc_string = (
        f"Speech at {model.features.sample_rate} Hz, mono, float32 in [-1, 1], to the probability of "
        f"{CLASS_NAMES[model.task][1]} {model.task}."
    )
    # The lines of source code that each node came from are paths of this machine.
    graph = exported.graph
    for part in (exported, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    for part in (graph, *graph.node):
        part.doc_string = ""
    onnx.helper.set_model_props(exported, dict(metadata))
    onnx.checker.check_model(exported)
    content: bytes = exported.SerializeToString(deterministic=True)
    return content


def _translate(model: TrainedModel) -> "onnx.ModelProto":
    """Trace the model with open sizes, and translate what was traced."""
    example = torch.zeros(3, 2 * model.features.min_samples + 7)  # numbers that are nothing's multiples by chance
    sizes = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    try:
        with _silence_torch(), torch.no_grad():
            # Traced here: the translator would give a size that cannot stay open the example's value.
            traced = torch.export.export(WaveformModel(model), (example,), dynamic_shapes=(sizes,), strict=False)
            program = torch.onnx.export(
                traced,
                input_names=["waveform"],
                output_names=["probability", "logits"],
                dynamic_shapes=({0: "batch", 1: "samples"},),
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # their errors have no class in common
        raise ExportError(f"method {model.method.name}: cannot be written as ONNX: {_first_line(error)}") from error
    return program.model_proto  # type: ignore[union-attr]  # a program, as no file was given to write to


@contextmanager
def _silence_torch() -> Iterator[None]:
    """Silence the exporter, which prints and warns of packages that it could use and graphs that it cannot trace."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _compare(file: Path, model: TrainedModel) -> tuple[float, int]:
    """Return the largest difference in probability and the number of waveforms; an `ExportError` if it is too large."""
    trials = _make_test_waveforms(model)
    # Each beside another one: no waveform of a batch may change the others' answers.
    batches = [np.stack([waveform, waveform[::-1] / 2]) for waveform in trials.values()]
    *answers, for_silence = _predict(file, [*batches, np.zeros((1, model.features.min_samples), np.float32)])
    worst = 0.0
    for (name, waveform), answer in zip(trials.items(), answers, strict=True):
        expected, found = float(model.probabilities([model.features.extract(waveform)])[0]), float(answer[0])
        difference = abs(found - expected)
        if not difference <= TOLERANCE:  # NaN differs
            raise ExportError(
                f"the exported model does not agree with the original: {found:.6f}, not {expected:.6f}, for a {name} "
                "waveform; nothing was written"
            )
        worst = max(worst, difference)
    if not np.isnan(for_silence).all():
        raise ExportError("the exported model hears something in digital silence; nothing was written")
    return worst, len(trials)


def _predict(file: Path, batches: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return a file's probabilities (batch,) for batches of waveforms (batch, samples)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return [session.run(["probability"], {"waveform": batch})[0] for batch in batches]
    except Exception as error:  # its errors have no class in common
        raise ExportError(
            f"onnxruntime cannot use the exported model: {_first_line(error)}; nothing was written"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _make_test_waveforms(model: TrainedModel) -> dict[str, NDArray[np.float32]]:
    """Return waveforms that take every path through the model: a glide in noise, swelling and dying away twice."""
    rate, shortest = model.features.sample_rate, model.features.min_samples
    window = round(model.seconds * rate)
    lengths = {
        "shortest possible": shortest,
        "short": max(shortest + 1, window // 3),
        "long": 2 * window + shortest + 1,
        "quiet": max(shortest, window - 1),
    }
    made = {}
    for number, (name, length) in enumerate(lengths.items()):
        time = np.arange(length) / rate
        glide = np.sin(2 * np.pi * (120 * time + 400 * time**2 / (1 + time)))
        swelling = np.sin(2 * np.pi * np.arange(length) / length) ** 2
        noise = np.random.default_rng(number).standard_normal(length)
        waveform = (0.3 * glide + 0.05 * noise) * (0.05 + swelling)
        made[name] = (waveform * (1e-4 if name == "quiet" else 1)).astype(np.float32)
    return made
