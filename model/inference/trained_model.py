"""A trained model with all that prediction needs: no cache, no corpus, no run configuration beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, starmap
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodna.model import checkpoint
from emodna.model.config import PADDINGS, configured
from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer, window_seconds
from emodna.model.errors import RunError, TrainingError
from emodna.model.methods import blaming, method_of, package_of
from emodna.model.methods.base import CLASSES, Method
from emodna.model.reproducibility import float32_throughout, without_autocast
from emodna.model.run_folder import RunFolder
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import EmodnaError, PluginError
from emodna.pipeline.features import FeatureSet, feature_set_from

#: Windows that go through the network together: from here on they take no less time each.
BATCH: Final = 64
#: As of `TrainConfig.frames`.
_MIN_FRAMES: Final = 8
#: More than an hour of samples at 16 kHz.
_MAX_FRAMES: Final = 2**26
#: Dimensions of one.
_MATRIX: Final = 2

Output = TypeVar("Output")


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
        """Length in s of what the network sees of a recording."""
        return window_seconds(self.framer.frames, self.features)

    def probabilities(self, utterances: Iterable[tuple[NDArray[np.float32], float]]) -> NDArray[np.float64]:
        """Probability of class 1 (high / positive).

        Parameters
        ----------
        utterances
            Features [frames, dim] and peak in dB of each.

        Returns
        -------
        probabilities
            (n,)
        """
        inputs = starmap(self.window, utterances)
        parts = [self.classify(part) for part in iter(lambda: list(islice(inputs, BATCH)), [])]
        return np.concatenate(parts) if parts else np.empty(0)

    def window(self, features: NDArray[np.float32], peak_db: float) -> tuple[NDArray[np.float32], int]:
        """Crop or pad an utterance's features and normalise them: window [frames, dim], and its length in frames."""
        window = np.empty((self.framer.frames, self.dim), np.float32)
        return window, self.framer(features, peak_db, window)

    @torch.inference_mode()
    def classify(self, inputs: Sequence[tuple[NDArray[np.float32], int]]) -> NDArray[np.float64]:
        """Probability of class 1 (n,) of one or more windows with their lengths, through the network at once.

        Raises
        ------
        TrainingError
            An answer is not finite.
        """
        logits, windows = self._through(self.method.predict, inputs)
        if logits.shape != (windows, CLASSES):
            raise TrainingError(f"method {self.method.name}: predict() must return two logits per window")
        if not bool(logits.isfinite().all()):
            raise TrainingError(
                "the model's answers are not finite: its training diverged; a smaller learning_rate may help"
            )
        probabilities: NDArray[np.float64] = logits.double().softmax(1)[:, 1].cpu().numpy()
        return probabilities[: len(inputs)]

    @torch.inference_mode()
    def embeddings(self, utterances: Iterable[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32] | None:
        """Emotion features (n, width) of utterances as `probabilities` takes them; None if the method has none.

        Raises
        ------
        TrainingError
            Those of the method are no such features, or not finite.
        """
        inputs, parts = starmap(self.window, utterances), []
        for some in iter(lambda: list(islice(inputs, BATCH)), []):
            found, windows = self._through(self.method.embed, some)
            if found is None:
                return None
            if found.ndim != _MATRIX or len(found) != windows:
                raise TrainingError(f"method {self.method.name}: embed() must return one vector per window")
            if not bool(found.isfinite().all()):
                raise TrainingError("the model's features are not finite: its training diverged")
            parts.append(found.float().cpu().numpy()[: len(some)])
        return np.concatenate(parts) if parts else None

    def _through(
        self, network: Callable[[Tensor, Tensor], Output], inputs: Sequence[tuple[NDArray[np.float32], int]]
    ) -> tuple[Output, int]:
        """What a network says of one or more windows with their lengths; and how many windows those were."""
        # One alone is rounded otherwise than among others: its matrix products become products with a vector.
        windows, lengths = zip(*(inputs if len(inputs) > 1 else [*inputs, *inputs]), strict=True)
        device = next(self.method.parameters()).device
        features = torch.from_numpy(np.stack(windows)).transpose(1, 2).contiguous().to(device)
        # TF32 is a switch of the process, which only CUDA heeds: on the CPU several threads may be here at once.
        with float32_throughout() if device.type == "cuda" else without_autocast():
            return network(features, torch.tensor(lengths, device=device)), len(windows)

    def save(self, path: Path) -> None:
        """Write the model atomically."""
        tensors = checkpoint.prefixed("method", self.method.state_dict())
        if self.framer.statistics is not None:
            tensors["normalisation.mean"] = torch.from_numpy(self.framer.statistics.mean)
            tensors["normalisation.std"] = torch.from_numpy(self.framer.statistics.std)
        facts = {
            "method": self.method.name,
            "package": package_of(self.method.name),
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
        """Read what `save` wrote, by its own path or that of its run's folder.

        Raises
        ------
        RunError
            Missing, damaged, or of a method that is not installed.
        """
        if path.suffix != ".safetensors":
            path = RunFolder(path).finished_model()
        tensors, facts = checkpoint.load_tensors(path)
        try:
            features = feature_set_from(facts["features"])
            _check(facts, features)
            kind = method_of(path, facts["method"], facts.get("package"))
            with torch.device("meta"), blaming(kind.name, "()"):  # no memory before the file's tensors are known to fit
                method = kind(facts["dim"], configured(kind.defaults, facts["method_config"]), 0)
            framer = Framer(facts["frames"], facts["padding"], _statistics(facts, tensors), features.silence)
            model = cls(method, facts["method_config"], facts["task"], facts["dim"], framer, features)
        except RunError:
            raise
        except PluginError as error:
            raise RunError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError, EmodnaError) as error:
            explained = str(error).partition("\n")[0]  # behind it, torch's errors have a stack of C++
            raise RunError(f"{path}: damaged, or not of this version ({explained})") from error
        checkpoint.load_module(method, checkpoint.without_prefix("method", tensors), path, assign=True)
        method.to(device).eval()
        return model


def _check(facts: Mapping[str, Any], features: FeatureSet) -> None:
    if facts["task"] not in TASKS or facts["padding"] not in PADDINGS:
        raise ValueError("unknown task or padding")
    if type(facts["frames"]) is not int or not _MIN_FRAMES <= facts["frames"] <= _MAX_FRAMES:
        raise ValueError("an impossible window")
    if facts["dim"] != features.dim:
        raise ValueError("a network that does not fit the features")


def _statistics(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Statistics | None:
    """Statistics of the normalisation; None for each utterance's own."""
    if facts["per_utterance"]:
        return None
    mean, std = (tensors[f"normalisation.{name}"] for name in ("mean", "std"))
    if mean.shape != (facts["dim"],) or std.shape != mean.shape:
        raise ValueError("statistics that do not fit the features")
    return Statistics(mean.numpy(), std.numpy())
