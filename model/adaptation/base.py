"""Interface of a method that adapts a trained model without its source data, and what such methods share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emodna.model.config import TrainConfig
from emodna.model.data.batch import Batch
from emodna.model.data.stream import CorpusWindows, TargetStream
from emodna.model.errors import ConfigError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import Method
from emodna.model.networks.passes import evaluation_mode
from emodna.model.reproducibility import disable_autocast
from emodna.model.run_folder import RunFolder
from emodna.model.training.log import FitCallback
from emodna.model.training.loop import StopListener
from emodna.pipeline.store import FeatureStore

#: Utterances per pass of a method that does not train.
_CHUNK: Final = 256


@dataclass(frozen=True, slots=True)
class Job:
    """A trained model to adapt to the utterances of an unlabelled corpus."""

    model: TrainedModel
    """Model with the target's normalisation. Its method is changed in place."""
    target: FeatureStore
    windows: CorpusWindows
    """Windows of the target, normalised."""
    config: Any
    """Configuration of the method, like its `defaults`."""
    train: TrainConfig
    """Configuration of the training of the base run."""
    prior: NDArray[np.float64] | None
    """Class shares (classes,) in the training of the base run; None if `Prior` has corrected them already."""
    run: RunFolder
    steps: int
    seed: int
    select: str
    """Criterion that selects the model snapshot."""
    device: torch.device
    callback: FitCallback
    stop_listener: StopListener

    def read_target(self) -> Sequence[Batch]:
        """Return all utterances of the target in batches on the device, in the order of the store."""
        stream = TargetStream(self.windows, batch_size=_CHUNK, seed=self.seed)
        parts = np.array_split(np.arange(len(stream)), range(_CHUNK, len(stream), _CHUNK))
        return [stream.gather(part).to(self.device) for part in parts]


class Adaptation(ABC):
    """A way to adapt a trained model to an unlabelled corpus."""

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    defaults: ClassVar[Any]
    """Default configuration, a frozen dataclass. Its fields are the settings."""
    default_steps: ClassVar[int] = 0
    """Default number of training steps; 0 for a method that does not train."""

    def check(self, method: Method, batch: Batch) -> None:
        """Raise a ConfigError if a trained method lacks the layers that `adapt` needs; `batch` is for a trial pass."""
        find_output_layer(method, batch)

    @abstractmethod
    def adapt(self, job: Job) -> Mapping[str, Any]:
        """Change the method of the job's model in place; return values for the result, as JSON values."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Input and output of the last linear layer for n utterances."""

    features: Tensor
    """(n, width) float32."""
    logits: Tensor
    """(n, classes) float32."""


def find_output_layer(method: Method, batch: Batch) -> nn.Linear:
    """Return the linear layer whose output is the logits; raise a ConfigError if there is none."""
    called: list[tuple[nn.Linear, Tensor]] = []

    def record(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            called.append((layer, output))

    with evaluation_mode(method), _hook_linear_layers(method, record):
        logits = method.predict(batch.features, batch.lengths)
    for layer, output in reversed(called):
        if output is logits:
            return layer
    problem = f"the logits of {method.name} are not the output of a linear layer"
    raise ConfigError(problem, remedy="choose another run")


def compute_outputs(method: Method, layer: nn.Linear, batches: Sequence[Batch]) -> Outputs:
    """Return input and output of the last linear layer for batches, in evaluation mode."""
    inputs: list[Tensor] = []
    with evaluation_mode(method), disable_autocast():
        handle = layer.register_forward_hook(lambda _layer, given, _output: inputs.append(given[0]))
        try:
            logits = [method.predict(batch.features, batch.lengths) for batch in batches]
        finally:
            handle.remove()
    return Outputs(torch.cat(inputs), torch.cat(logits))


class _hook_linear_layers:  # noqa: N801 - a context manager
    """Call a function at each output of a linear layer within the context."""

    def __init__(self, method: Method, record: Callable[[nn.Module, Any, Tensor], None]) -> None:
        self._layers = [each for each in method.modules() if isinstance(each, nn.Linear)]
        self._record = record

    def __enter__(self) -> None:
        self._handles = [each.register_forward_hook(self._record) for each in self._layers]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
