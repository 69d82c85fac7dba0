"""A trained model with all that prediction needs: no cache, no corpus, no run configuration beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, starmap
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodna.model import checkpoint
from emodna.model.config import PADDINGS, build_config
from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer, compute_window_seconds
from emodna.model.errors import RunError, TrainingError
from emodna.model.methods import find_package, load_method_of_run, wrap_plugin_errors
from emodna.model.methods.base import CLASSES, Method
from emodna.model.reproducibility import disable_autocast, force_float32
from emodna.model.run_folder import RunFolder
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import EmodnaError, PluginError
from emodna.pipeline.features import FeatureSet, rebuild_feature_set

#: Windows that go through the network together: from here on they take no less time each.
BATCH: Final = 64
#: Window lengths in frames: the least of `TrainConfig.frames`, and more than an hour of samples at 16 kHz.
_MIN_FRAMES: Final = 8
_MAX_FRAMES: Final = 2**26

Window = tuple[NDArray[np.float32], int]
"""Normalised features [frames, dim], and their length in frames."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A method in evaluation mode, and how utterances become its input."""

    method: Method
    method_config: Mapping[str, Any]
    task: Task
    dim: int
    framer: Framer
    features: FeatureSet

    @property
    def seconds(self) -> float:
        """Length in s of the part of a recording that the network sees."""
        return compute_window_seconds(self.framer.frames, self.features)

    def probabilities(self, utterances: Iterable[tuple[NDArray[np.float32], float]]) -> NDArray[np.float64]:
        """Return the probability (n,) of class 1 (high / positive) of features [frames, dim] and peak in dB each."""
        parts = [self.classify(windows) for windows in self._batches(utterances)]
        return np.concatenate(parts) if parts else np.empty(0)

    def window(self, features: NDArray[np.float32], peak_db: float) -> Window:
        """Crop or pad an utterance's features, and normalise them."""
        window = np.empty((self.framer.frames, self.dim), np.float32)
        return window, self.framer(features, peak_db, window)

    def classify(self, windows: Sequence[Window]) -> NDArray[np.float64]:
        """Return the probability (n,) of class 1 of one or more windows; a `TrainingError` if it is not finite."""
        logits = self._run_network(self.method.predict, windows)
        if logits is None or logits.shape[1] != CLASSES:
            raise TrainingError(f"method {self.method.name}: predict() must return two logits per window")
        probabilities: NDArray[np.float64] = logits.double().softmax(1)[:, 1].cpu().numpy()
        return probabilities

    def embeddings(self, utterances: Iterable[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32] | None:
        """Return the emotion features (n, width), None if there are none; a `TrainingError` if they are not finite."""
        parts = []
        for windows in self._batches(utterances):
            features = self._run_network(self.method.embed, windows)
            if features is None:
                return None
            parts.append(features.float().cpu().numpy())
        return np.concatenate(parts) if parts else None

    def _batches(self, utterances: Iterable[tuple[NDArray[np.float32], float]]) -> Iterable[list[Window]]:
        windows = starmap(self.window, utterances)
        return iter(lambda: list(islice(windows, BATCH)), [])

    @torch.inference_mode()
    def _run_network(
        self, network: Callable[[Tensor, Tensor], Tensor | None], windows: Sequence[Window]
    ) -> Tensor | None:
        """Return the output (n, width) of a part of the method."""
        # A single window is rounded unlike one among others: its matrix products become products with a vector.
        features, lengths = zip(*(windows if len(windows) > 1 else [*windows, *windows]), strict=True)
        device = next(self.method.parameters()).device
        given = torch.from_numpy(np.stack(features)).transpose(1, 2).contiguous().to(device)
        # TF32 is a switch of the process, which only CUDA heeds: on the CPU several threads may be here at once.
        with force_float32() if device.type == "cuda" else disable_autocast():
            output = network(given, torch.tensor(lengths, device=device))
        if output is None:
            return None
        if output.ndim != 2 or len(output) != len(lengths):
            raise TrainingError(f"method {self.method.name}: {network.__name__}() must return one row per window")
        if not bool(output.isfinite().all()):
            raise TrainingError(
                "the model's answers are not finite: its training diverged; a smaller learning_rate may help"
            )
        return output[: len(windows)]

    def save(self, path: Path) -> None:
        """Write the model atomically."""
        tensors = checkpoint.add_prefix("method", self.method.state_dict())
        if self.framer.statistics is not None:
            tensors["normalisation.mean"] = torch.from_numpy(self.framer.statistics.mean)
            tensors["normalisation.std"] = torch.from_numpy(self.framer.statistics.std)
        facts = {
            "method": self.method.name,
            "package": find_package(self.method.name),
            "method_config": dict(self.method_config),
            "task": self.task,
            "dim": self.dim,
            "frames": self.framer.frames,
            "padding": self.framer.padding,
            "per_utterance": self.framer.statistics is None,
            "features": self.features.parameters(),
        }
        checkpoint.save_tensors(path, tensors, facts)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "TrainedModel":
        """Read a model that `save` wrote, by its path or its run's folder; a `RunError` if it cannot be used."""
        if path.suffix != ".safetensors":
            path = RunFolder(path).find_model()
        tensors, facts = checkpoint.load_tensors(path)
        try:
            features = rebuild_feature_set(facts["features"])
            framer = _rebuild_framer(facts, tensors, features)
            kind = load_method_of_run(path, facts["method"], facts.get("package"))
            with (
                torch.device("meta"),
                wrap_plugin_errors(kind.name, "()"),
            ):  # no memory before the file's tensors are known to fit
                method = kind(facts["dim"], build_config(kind.defaults, facts["method_config"]), 0)
            model = cls(method, facts["method_config"], facts["task"], facts["dim"], framer, features)
        except RunError:
            raise
        except PluginError as error:
            raise RunError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError, EmodnaError) as error:
            explained = str(error).partition("\n")[0]  # torch's errors go on with a C++ stack
            raise RunError(f"{path}: damaged, or not of this version ({explained})") from error
        checkpoint.load_module(method, checkpoint.strip_prefix("method", tensors), path, assign=True)
        method.to(device).eval()
        return model


def _rebuild_framer(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], features: FeatureSet) -> Framer:
    """Check the facts of a model's file, and rebuild its framer from them."""
    if facts["task"] not in TASKS or facts["padding"] not in PADDINGS:
        raise ValueError("unknown task or padding")
    if type(facts["frames"]) is not int or not _MIN_FRAMES <= facts["frames"] <= _MAX_FRAMES:
        raise ValueError("an impossible window")
    if facts["dim"] != features.dim:
        raise ValueError("a network that does not fit the features")
    statistics = None
    if not facts["per_utterance"]:
        mean, std = (tensors[f"normalisation.{name}"] for name in ("mean", "std"))
        if mean.shape != (facts["dim"],) or std.shape != mean.shape:
            raise ValueError("statistics that do not fit the features")
        statistics = Statistics(mean.numpy(), std.numpy())
    return Framer(facts["frames"], facts["padding"], statistics, features.silence)
