"""Upper bound: the encoder trained with the target's own labels."""

from dataclasses import dataclass, replace
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.config import Constraint
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.methods.base import DataSummary, EncoderConfig, Method, ResolvedConfig, SharedEncoder, Supervision

Folds = Annotated[int, Constraint("at least 2", lambda value: value >= 2)]


@dataclass(frozen=True)
class UpperBoundConfig(EncoderConfig):
    """Settings of each of the networks."""

    folds: Folds = 4
    """Number of parts that the target's speakers are shared out to; two of the corpora have four speakers."""


class FoldModel(SharedEncoder):
    """The network of a fold: it learns from the speakers of all the others."""

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return Eq. 2, on labelled utterances of the target."""
        return {"emotion": F.cross_entropy(self.network(source.features, source.lengths), source.labels)}


class UpperBound(Method):
    """An oracle: cross-entropy on the target's labels, cross-validated over its speakers. The source is never seen.

    Each fold has a network of its own, which is trained on the utterances of the speakers outside the fold, in batches
    as large as every method's, and judges those of the speakers in it. All begin with the weights of Source Only.
    """

    name = "upper-bound"
    summary = "trained on the target alone, cross-validated over speakers"
    reference = "the ceiling: it has what adaptation does without"
    defaults = UpperBoundConfig()

    def __init__(self, dim: int, config: UpperBoundConfig, seed: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(FoldModel(dim, config, seed) for _ in range(config.folds))

    @classmethod
    def resolve_config(cls, config: UpperBoundConfig, facts: DataSummary) -> ResolvedConfig:
        """Lower the number of folds to that of the target's speakers; fewer than 2 are a `ConfigError`."""
        if (speakers := facts.target_speakers) >= config.folds:
            return ResolvedConfig(config)
        if speakers < 2:
            raise ConfigError(
                f"--method {cls.name}: cross-validated over the target's speakers; {speakers} known, at least 2 needed"
            )
        return ResolvedConfig(
            replace(config, folds=speakers),
            [f"the target has {speakers} speakers, so there are {speakers} folds, not {config.folds}"],
        )

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return Eq. 2 of each network k, whose rows are k, k + folds, ... of the target's utterances (folds * n)."""
        folds = len(self.networks)
        terms = {}
        for fold in range(folds):
            mine = LabelledBatch(**{name: tensor[fold::folds] for name, tensor in source.tensors.items()})
            terms[f"emotion_{fold + 1}"] = self.get_fold_model(fold).losses(mine, target, step)["emotion"]
        return terms

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean of the networks' log-probabilities (batch, 2): of utterances unknown to all of them."""
        answers = [self.get_fold_model(fold).predict(features, lengths) for fold in range(len(self.networks))]
        return torch.stack(answers).log_softmax(2).mean(0)

    def embed(self, features: Tensor, lengths: Tensor) -> None:
        """Return None: each network has a space of its own, in which the others' utterances have no place."""

    def get_fold_model(self, fold: int) -> Method:
        """Return the network that has not heard the speakers of a fold."""
        return cast("Method", self.networks[fold])

    @property
    def supervision(self) -> Supervision:
        """Return `oracle-folds`: it learns from the target's labels."""
        return "oracle-folds"
