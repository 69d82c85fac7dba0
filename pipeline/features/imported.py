"""Embeddings that another program computed, as a feature set: one vector, or a matrix of frames, per utterance."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features.base import FeatureSet, Parameter


@dataclass(frozen=True, slots=True)
class ImportedSet(FeatureSet):
    """Embeddings of a file. Two files with the same name, ids and values are one set, in any format.

    Their frame rate is unknown. Frames of an utterance divide its duration evenly.
    """

    sample_rate: int = 16000
    embeddings: str = "embeddings"
    """Name of the embeddings, from that of their file."""
    width: int = 1
    """Values of a vector or frame."""
    content_sha256: str = ""
    """SHA-256 of all ids and values of the file."""

    kind: ClassVar[str] = "imported"
    value: ClassVar[str] = "value"
    has_one_scale: ClassVar[bool] = False
    has_frame_rate: ClassVar[bool] = False
    has_silence: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """Title such as imported-wavlm-large."""
        return f"imported-{self.embeddings}"

    @property
    def hop_length(self) -> int:
        """Distance between frames: one second stands for the unknown distance."""
        return self.sample_rate

    @property
    def min_samples(self) -> int:
        """Length of the shortest usable recording: any that has samples."""
        return 1

    @property
    def dim(self) -> int:
        """Values per frame."""
        return self.width

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters of the embeddings; they do not depend on how the audio is read."""
        return {"features": self.kind, "sample_rate": self.sample_rate, **self.details()}

    def check_requirements(self) -> None:
        """Raise an `EmodnaError`: no audio gives these features."""
        problem = "imported features cannot be computed from audio"
        remedy = "use features that emodna extracts for new audio, or import the embeddings of a corpus and evaluate it"
        raise EmodnaError(problem, where=self.title, remedy=remedy)

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:  # noqa: ARG002
        """Raise an `EmodnaError`: no audio gives these features."""
        self.check_requirements()
        raise AssertionError
