"""Label-free criteria that rank the model snapshots of a run.

No criterion finds the best snapshot on every pair. Entropy and soft neighbourhood density prefer models that predict
one class for all utterances. docs/SELECTION.md has measurements on real pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import assign_labels, scores
from emodna.model.reproducibility import derive_seed

#: Selects the model of the last step.
LAST: Final = "last"
SOURCE_ACCURACY: Final = "source-accuracy"

#: Number of rows of the similarity matrix in memory at a time.
_ROWS: Final = 256


def mean_entropy(probabilities: NDArray[np.float64]) -> float:
    """Return the mean entropy of predictions (n, classes) in nats, from 0 (certain) to ln(classes) (even)."""
    return float(_compute_entropies(probabilities).mean())


def mutual_information(probabilities: NDArray[np.float64]) -> float:
    """Return the entropy of the mean prediction minus the mean entropy, in nats; high if certain and varied."""
    return float(_compute_entropies(probabilities.mean(axis=0, keepdims=True))[0]) - mean_entropy(probabilities)


def soft_neighbourhood_density(
    probabilities: NDArray[np.float64], *, temperature: float = 0.05, seed: int = 0, max_utterances: int = 8192
) -> float:
    """Return the mean entropy, in nats, of each prediction's similarities to all others (Saito et al. 2021).

    The similarity of predictions (n, classes) is their cosine. A softmax with a temperature turns the similarities of
    one utterance to all others into a distribution. The density is high if each utterance has many near neighbours; its
    maximum is ln(n - 1). Larger corpora than in the paper are reduced to a random sample of `max_utterances`; equal n
    and `seed` give equal samples.
    """
    if len(probabilities) > max_utterances:
        generator = np.random.default_rng(derive_seed(seed, "soft neighbourhood density"))
        probabilities = probabilities[generator.choice(len(probabilities), max_utterances, replace=False)]
    if len(probabilities) < 2:
        return 0.0
    directions = probabilities / np.linalg.norm(probabilities, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, len(directions), _ROWS):
        logits = directions[start : start + _ROWS] @ directions.T / temperature  # (rows, n)
        diagonal = np.arange(len(logits)), np.arange(start, start + len(logits))
        logits[diagonal] = -np.inf
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        logits[diagonal] = 0.0  # the weight is 0, but 0 * -inf is nan
        sums = weights.sum(axis=1)
        total += float((np.log(sums) - (weights * logits).sum(axis=1) / sums).sum())
    return total / len(directions)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Predictions of one model snapshot, as input of the criteria."""

    probabilities: NDArray[np.float64]
    """Probabilities (n, classes) of all utterances of the target."""
    pseudo_labels: NDArray[np.int64]
    """Classes (n,) of the mean prediction of all snapshots."""
    held_out: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    """Labels and predictions, (m,) each, of the held-out utterances of each source that has some."""
    seed: int


@dataclass(frozen=True, slots=True)
class Criterion:
    """A way to rank model snapshots."""

    description: str
    reference: str
    higher_is_better: bool
    value: Callable[[Evidence], float | None]
    """Function that computes the value, or None if it is unknown."""


def _compute_source_accuracy(evidence: Evidence) -> float | None:
    if not evidence.held_out:
        return None
    return float(np.mean([scores(truth, predicted).uar for truth, predicted in evidence.held_out]))


def _compute_agreement(evidence: Evidence) -> float:
    return 100 * float((assign_labels(evidence.probabilities) == evidence.pseudo_labels).mean())


CRITERIA: Final[Mapping[str, Criterion]] = MappingProxyType(
    {
        SOURCE_ACCURACY: Criterion(
            "balanced accuracy (UAR, percent) on held-out utterances of the source, mean over the sources",
            "training-domain validation, Gulrajani and Lopez-Paz 2021, ICLR, arXiv 2007.01434",
            True,
            _compute_source_accuracy,
        ),
        "entropy": Criterion(
            "mean entropy of the predictions for the target, nats",
            "Morerio et al. 2018, ICLR, arXiv 1711.10288",
            False,
            lambda evidence: mean_entropy(evidence.probabilities),
        ),
        "information-maximisation": Criterion(
            "entropy of the mean prediction for the target less the mean entropy, nats",
            "Gomes et al. 2010, NIPS; as a validator Musgrave et al. 2022, arXiv 2208.07360",
            True,
            lambda evidence: mutual_information(evidence.probabilities),
        ),
        "snd": Criterion(
            "soft neighbourhood density of the predictions for the target, temperature 0.05, nats",
            "Saito et al. 2021, ICCV, arXiv 2108.10860",
            True,
            lambda evidence: soft_neighbourhood_density(evidence.probabilities, seed=evidence.seed),
        ),
        "pseudo-label-agreement": Criterion(
            "percent of target utterances whose predicted class is that of the mean prediction of all snapshots",
            "EnsV, Hu et al. 2024, NeurIPS Datasets and Benchmarks",
            True,
            _compute_agreement,
        ),
    }
)


def _compute_entropies(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1.0))
    entropies: NDArray[np.float64] = -(probabilities * logarithms).sum(axis=1)
    return entropies
