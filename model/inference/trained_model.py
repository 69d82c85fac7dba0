"""Save, load and apply a trained model; its file contains everything that prediction needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodna.model import checkpoint
from emodna.model.config import PADDINGS, build_config
from emodna.model.data.domain import TrainingDomain
from emodna.model.data.normalisation import Statistics
from emodna.model.data.pooling import PooledStore, pool_over_time, view_utterances
from emodna.model.data.speakers import SpeakerStatistics
from emodna.model.data.windows import Framer, Utterance, compute_window_seconds, get_silence
from emodna.model.errors import RunError, TrainingError
from emodna.model.methods import find_package, load_method_of_run, wrap_plugin_errors
from emodna.model.methods.base import Method, Supervision
from emodna.model.reproducibility import disable_autocast, force_float32
from emodna.model.run_folder import RunFolder
from emodna.pipeline.errors import EmodnaError, PluginError
from emodna.pipeline.features import FeatureSet, rebuild_feature_set
from emodna.pipeline.tasks import Task, describe_task, read_task

if TYPE_CHECKING:  # prediction needs no store
    from emodna.pipeline.store import FeatureStore

#: Windows per batch; larger batches are not faster per window.
BATCH: Final = 64
#: Limits of a window in frames: that of `TrainConfig.frames`, and more than an hour of samples at 16 kHz.
_MIN_FRAMES: Final = 8
_MAX_FRAMES: Final = 2**26

Extracted = tuple[NDArray[np.float32], float]
"""Features (frames, dim) and their peak in dB."""
Window = tuple[NDArray[np.float32], int]
"""Normalised features (frames, dim) and their length in frames."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A method in evaluation mode, with the framing of its input."""

    method: Method
    method_config: Mapping[str, Any]
    task: Task
    dim: int
    """Values per frame of the network's input."""
    framer: Framer
    features: FeatureSet
    domain: TrainingDomain | None = None
    """Ranges of the training audio; None for a model of an earlier version."""
    per_speaker: bool = False
    """True if the statistics of the speaker normalise an utterance. Those of the framer, of the whole target, are for
    utterances whose speaker is unknown or has few utterances."""
    speakers: SpeakerStatistics | None = None
    """Statistics of the speakers of a store, see `adapt_to_speakers`."""
    reads_statistics: bool = False
    """True if the network reads statistics over all frames of an utterance, which the framer takes as one frame."""
    target_labels: int = 0
    """Labels per class of the target that its training used, see `TrainConfig.target_labels`."""

    @property
    def supervision(self) -> Supervision:
        """Labels that its training used."""
        return "semi-supervised" if self.target_labels else self.method.supervision

    @property
    def seconds(self) -> float:
        """Length of the network's window in s; infinite for statistics over the whole utterance."""
        return math.inf if self.reads_statistics else compute_window_seconds(self.framer.frames, self.features)

    def adapt_to_speakers(self, store: FeatureStore) -> TrainedModel:
        """Return the model with the statistics of a store's corpus and speakers; itself unless it is `per_speaker`."""
        if not self.per_speaker or (self.speakers is not None and self.speakers.fingerprint == store.fingerprint):
            return self
        view = self.view(store)
        shared = Statistics.of_corpora([(view, np.arange(len(store)))])
        speakers = SpeakerStatistics.of_corpus(view, shared)
        return replace(self, framer=replace(self.framer, statistics=shared), speakers=speakers)

    def probabilities(self, utterances: Iterable[Utterance | Extracted]) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of utterances."""
        parts = [self.classify(windows) for windows in self._batches(utterances)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.task)))

    def window(self, features: NDArray[np.float32], peak_db: float, statistics: Statistics | None = None) -> Window:
        """Crop, pad or pool an utterance's features (n, dim) with a peak in dB, and normalise them.

        Given `statistics`, such as those of its speaker, replace those of the framer.
        """
        return self.frame(self.represent(features), peak_db, statistics)

    def frame(self, represented: NDArray[np.float32], peak_db: float, statistics: Statistics | None) -> Window:
        """Do the same as `window` for what `represent` returns."""
        window = np.empty((self.framer.frames, self.dim), np.float32)
        return window, self.framer(represented, peak_db, window, statistics)

    def represent(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the framer normalises: features (n, dim) as they are, or their statistics (1, 2 dim)."""
        return pool_over_time(features) if self.reads_statistics else features

    def accept_pooled(self) -> TrainedModel:
        """Return the model for utterances that `represent` has pooled already."""
        return replace(self, reads_statistics=False)

    def view(self, store: FeatureStore) -> FeatureStore | PooledStore:
        """Return a store whose utterances are what the framer normalises, see `represent`."""
        return view_utterances(store, pooled=self.reads_statistics)

    def classify(self, windows: Sequence[Window]) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of one or more windows; raise a TrainingError if one is not finite."""
        logits = self._run(self.method.predict, windows)
        if logits is None or logits.shape[1] != len(self.task):
            raise TrainingError("predict() must return a logit per class", where=f"method {self.method.name}")
        probabilities: NDArray[np.float64] = logits.double().softmax(1).cpu().numpy()
        return probabilities

    def embeddings(self, utterances: Iterable[Utterance | Extracted]) -> NDArray[np.float32] | None:
        """Return the emotion features (n, width), None if there are none; raise a TrainingError if not finite."""
        parts = []
        for windows in self._batches(utterances):
            features = self._run(self.method.embed, windows)
            if features is None:
                return None
            parts.append(features.float().cpu().numpy())
        return np.concatenate(parts) if parts else None

    def _batches(self, utterances: Iterable[Utterance | Extracted]) -> Iterable[list[Window]]:
        windows = starmap(self.window, utterances)
        return iter(lambda: list(islice(windows, BATCH)), [])

    @torch.inference_mode()
    def _run(self, network: Callable[[Tensor, Tensor], Tensor | None], windows: Sequence[Window]) -> Tensor | None:
        # A single window would be rounded differently: its matrix products would be matrix-vector products.
        features, lengths = zip(*(windows if len(windows) > 1 else [*windows, *windows]), strict=True)
        device = next(self.method.parameters()).device
        batch = torch.from_numpy(np.stack(features)).transpose(1, 2).contiguous().to(device)
        # TF32 is a global switch for CUDA only; on the CPU several threads may run this at once.
        with force_float32() if device.type == "cuda" else disable_autocast():
            output = network(batch, torch.tensor(lengths, device=device))
        if output is None:
            return None
        if output.ndim != 2 or len(output) != len(lengths):
            problem = f"{network.__name__}() must return one row per window"
            raise TrainingError(problem, where=f"method {self.method.name}")
        if not bool(output.isfinite().all()):
            problem = "the model's predictions are not finite: its training diverged"
            raise TrainingError(problem, remedy="train with a smaller learning rate")
        return output[: len(windows)]

    def save(self, path: Path) -> None:
        """Write the model atomically."""
        tensors = checkpoint.add_prefix("method", self.method.state_dict())
        if self.framer.statistics is not None:
            tensors["normalisation.mean"] = torch.from_numpy(self.framer.statistics.mean)
            tensors["normalisation.std"] = torch.from_numpy(self.framer.statistics.std)
        metadata = {
            "method": self.method.name,
            "package": find_package(self.method.name),
            "method_config": dict(self.method_config),
            **describe_task(self.task),
            "dim": self.dim,
            "frames": self.framer.frames,
            "padding": self.framer.padding,
            "per_utterance": self.framer.statistics is None,
            "features": self.features.parameters(),
            "reads_statistics": self.reads_statistics,
        }
        if self.per_speaker:
            metadata["per_speaker"] = True
        if self.target_labels:
            metadata["target_labels"] = self.target_labels
        if self.features.location is not None:
            metadata["location"] = self.features.location
        if self.domain is not None:
            tensors |= checkpoint.add_prefix("domain", self.domain.to_tensors())
            metadata["domain"] = self.domain.to_metadata()
        checkpoint.save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> TrainedModel:
        """Load a model from its file or its run's folder; raise a RunError if it is missing or damaged."""
        if path.suffix != ".safetensors":
            path = RunFolder(path).find_model()
        tensors, metadata = checkpoint.load_tensors(path)
        try:
            features = rebuild_feature_set(metadata["features"], metadata.get("location"))
            reads_statistics = bool(metadata.get("reads_statistics", False))  # missing in earlier versions
            framer = _rebuild_framer(metadata, tensors, features, reads_statistics=reads_statistics)
            domain = None
            if "domain" in metadata:
                arrays = checkpoint.strip_prefix("domain", tensors)
                domain = TrainingDomain.rebuild(metadata["domain"], arrays, features.dim)
            task = read_task(metadata)
            kind = load_method_of_run(path, metadata["method"], metadata.get("package"))
            # On the meta device: no memory is allocated before the file's tensors are known to fit.
            with torch.device("meta"), wrap_plugin_errors(kind.name, "()"):
                method = kind(metadata["dim"], build_config(kind.defaults, metadata["method_config"]), 0, len(task))
            settings = metadata["method_config"]
            per_speaker = metadata.get("per_speaker", False) is True
            model = cls(
                method,
                settings,
                task,
                metadata["dim"],
                framer,
                features,
                domain,
                per_speaker,
                reads_statistics=reads_statistics,
                target_labels=int(metadata.get("target_labels", 0)),
            )
        except RunError:
            raise
        except PluginError as error:
            raise RunError(str(error), where=path) from error
        except (KeyError, TypeError, ValueError, RuntimeError, EmodnaError) as error:
            reason = str(error).partition("\n")[0]  # torch's errors continue with a C++ stack
            raise RunError(f"damaged, or of another version: {reason}", where=path) from error
        checkpoint.load_module(method, checkpoint.strip_prefix("method", tensors), path, assign=True)
        method.to(device).eval()
        return model


def _rebuild_framer(
    metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], features: FeatureSet, *, reads_statistics: bool
) -> Framer:
    if metadata["padding"] not in PADDINGS:
        raise ValueError("its padding is unknown")
    shortest, longest, values = (1, 1, 2) if reads_statistics else (_MIN_FRAMES, _MAX_FRAMES, 1)
    if type(metadata["frames"]) is not int or not shortest <= metadata["frames"] <= longest:
        raise ValueError("its window is invalid")
    if metadata["dim"] != values * features.dim:
        raise ValueError("its network does not fit its features")
    statistics = None
    if not metadata["per_utterance"]:
        mean, std = (tensors[f"normalisation.{name}"] for name in ("mean", "std"))
        if mean.shape != (metadata["dim"],) or std.shape != mean.shape:
            raise ValueError("its statistics do not fit its features")
        statistics = Statistics(mean.numpy(), std.numpy())
    return Framer(metadata["frames"], metadata["padding"], statistics, get_silence(features))
