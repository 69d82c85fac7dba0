"""Upper bound: the shared encoder trained with target labels."""

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
    """Settings of each network, and the number of folds."""

    folds: Folds = 4
    """Number of folds of the target's speakers. Two of the corpora have four speakers."""


class FoldModel(SharedEncoder):
    """Model of a fold, trained on the speakers of the other folds."""

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return Eq. 2 on labelled utterances of the target, passed as `source`."""
        return {"emotion": F.cross_entropy(self.network(source.features, source.lengths), source.labels)}


class UpperBound(Method):
    """Oracle: cross-entropy on the target's labels, cross-validated over its speakers. The source is not used.

    Each fold has a network that is trained on the speakers of the other folds, with the batch size of every other
    method, and evaluated on the fold's speakers. All networks begin with the weights of Source Only.
    """

    name = "upper-bound"
    summary = "trained on the target only, cross-validated over speakers"
    reference = "upper bound: has the labels that adaptation does without"
    defaults = UpperBoundConfig()

    def __init__(self, dim: int, config: UpperBoundConfig, seed: int, classes: int = 2) -> None:
        super().__init__()
        self.networks = nn.ModuleList(FoldModel(dim, config, seed, classes) for _ in range(config.folds))

    @classmethod
    def resolve_config(cls, config: UpperBoundConfig, data: DataSummary) -> ResolvedConfig:
        """Limit the folds to the number of the target's speakers. Raise a ConfigError if fewer than 2 are known."""
        if (speakers := data.target_speakers) >= config.folds:
            return ResolvedConfig(config)
        if speakers < 2:
            problem = f"needs at least 2 known speakers of the target for cross-validation, found {speakers}"
            raise ConfigError(problem, field="method", value=cls.name)
        remark = f"the target has {speakers} speakers, so there are {speakers} folds, not {config.folds}"
        return ResolvedConfig(replace(config, folds=speakers), [remark])

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return Eq. 2 of each network k on rows k, k + folds, ... of the target's utterances (folds * n)."""
        folds = len(self.networks)
        terms = {}
        for fold in range(folds):
            rows = LabelledBatch(**{name: tensor[fold::folds] for name, tensor in source.tensors.items()})
            terms[f"emotion_{fold + 1}"] = self.get_fold_model(fold).losses(rows, target, step)["emotion"]
        return terms

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean log-probabilities (batch, classes) of all networks, for utterances that none has seen."""
        logits = [self.get_fold_model(fold).predict(features, lengths) for fold in range(len(self.networks))]
        return torch.stack(logits).log_softmax(2).mean(0)

    def embed(self, features: Tensor, lengths: Tensor) -> None:
        """Return None: the networks share no feature space."""

    def get_fold_model(self, fold: int) -> Method:
        """Return the model that was not trained on the speakers of a fold."""
        return cast("Method", self.networks[fold])

    @property
    def supervision(self) -> Supervision:
        """Labels that the method learns from: `oracle-folds`."""
        return "oracle-folds"
