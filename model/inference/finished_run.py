"""A finished run: its model, the corpora of its training, and how another corpus is to be normalised."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import torch

from emodna.model.data.normalisation import Statistics
from emodna.model.errors import EvaluationError, RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import SOURCE_SUPERVISION, read_label
from emodna.model.run_folder import JOIN, RunFolder, read_json
from emodna.pipeline.features import FEATURE_SETS
from emodna.pipeline.store import FeatureStore

#: Keys of a result that describe its run, in this order.
_FACTS: Final = ("src", "tgt", "task", "method", "seed", "steps")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The content of a run's folder, for use on corpora."""

    path: Path
    model: TrainedModel
    description: dict[str, Any]
    """src, tgt, task, method, seed, steps, supervision and label, as in result.json, and `normalisation`."""
    fingerprints: dict[str, str]
    """Of the stores that it was trained on, by corpus."""

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Self:
        """Open a run's folder; a `RunError` if it is not a run's, not finished, or damaged."""
        folder = RunFolder(path)
        config = read_json(folder.config)
        model = TrainedModel.load(folder.path, device)
        try:
            decisive = config["decisive"]
            description = {name: decisive[name] for name in _FACTS}
            description["supervision"] = config.get(
                "supervision", SOURCE_SUPERVISION
            )  # runs of earlier versions do not name it
            description["label"] = read_label(config)
            description["normalisation"] = decisive["train"]["normalisation"]
            return cls(path, model, description, decisive["fingerprints"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{folder.config}: damaged: not the configuration of a run") from error

    def find_role(self, store: FeatureStore) -> Literal["source", "target"] | None:
        """Return the role of a corpus in the training, if it had one; its name or its content tells."""
        for corpus in (*self.description["src"].split(JOIN), self.description["tgt"]):
            if corpus == store.snapshot.corpus or self.fingerprints[corpus] == store.fingerprint:
                return "target" if corpus == self.description["tgt"] else "source"
        return None

    def adapt_model(self, store: FeatureStore) -> TrainedModel:
        """Return the model as it is to be used on a corpus, of features that `check_features` accepts.

        The run's own normalisation holds, with its saved statistics. Only for `per-corpus`, whose saved statistics are
        the target's, those of this corpus are computed, over all its utterances.
        """
        self.check_features(store)
        if self.description["normalisation"] != "per-corpus":
            return self.model
        own = Statistics.of_corpora([(store, np.arange(len(store)))])
        return replace(self.model, framer=replace(self.model.framer, statistics=own))

    def check_features(self, store: FeatureStore) -> None:
        """Check that a store has the features that the model was trained on; an `EvaluationError` names both."""
        features = self.model.features
        if store.snapshot.parameters == features.parameters():
            return
        usual = [name for name, each in FEATURE_SETS.items() if each.name == features.name]
        advice = f"; prepare the corpus with --feature-set {usual[0]}" if usual else ""
        raise EvaluationError(
            f"{store.path}: its features are {store.snapshot.feature_set}, the model of {self.path} was trained on "
            f"{features.name}{advice}"
        )
