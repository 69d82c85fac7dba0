"""A finished run: its model, the corpora of its training, and how another corpus is to be normalised."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import torch

from emodna.model.config import NORMALISATIONS
from emodna.model.data.normalisation import Statistics
from emodna.model.errors import EvaluationError, RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.label import BLIND, label_of
from emodna.model.methods.base import Supervision
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
    facts: dict[str, Any]
    """src, tgt, task, method, seed, steps, supervision and label, as in result.json, and `normalisation`."""
    fingerprints: dict[str, str]
    """Of the stores that it was trained on, by corpus."""

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Self:
        """Open a run's folder.

        Raises
        ------
        RunError
            Not a run's folder, not finished, or damaged.
        """
        folder = RunFolder(path)
        config = read_json(folder.config)
        model = TrainedModel.load(folder.path, device)
        try:
            decisive = config["decisive"]
            facts = {name: decisive[name] for name in _FACTS}
            facts["supervision"] = config.get("supervision", BLIND)  # runs of earlier versions do not name it
            facts["label"] = label_of(config)
            facts["normalisation"] = decisive["train"]["normalisation"]
            fingerprints = dict(decisive["fingerprints"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{folder.config}: damaged: not the configuration of a run") from error
        texts = all(isinstance(facts[name], str) for name in ("src", "tgt", "method", "label"))
        known = facts["normalisation"] in NORMALISATIONS and facts["supervision"] in get_args(Supervision)
        if not texts or not known or facts["task"] != model.task:
            raise RunError(f"{folder.config}: damaged: not the configuration of the run whose model lies there")
        return cls(path, model, facts, fingerprints)

    def seen(self, store: FeatureStore) -> Literal["source", "target"] | None:
        """Return the role of a corpus in the training, if it had one; its name or its content tells."""
        roles: dict[str, Literal["source", "target"]] = dict.fromkeys(self.facts["src"].split(JOIN), "source")
        roles[self.facts["tgt"]] = "target"
        for corpus, role in roles.items():
            if corpus == store.snapshot.corpus or self.fingerprints.get(corpus) == store.fingerprint:
                return role
        return None

    def model_for(self, store: FeatureStore) -> TrainedModel:
        """Return the model as it is to be used on a corpus.

        The normalisation is that of the run, with the statistics that it saved. Only with `per-corpus`, where the saved
        ones are the target's, this corpus's own are computed, over all its utterances.

        Raises
        ------
        EvaluationError
            As `check`.
        """
        self.check(store)
        if self.facts["normalisation"] != "per-corpus":
            return self.model
        own = Statistics.of_corpora([(store, np.arange(len(store)))])
        return replace(self.model, framer=replace(self.model.framer, statistics=own))

    def check(self, store: FeatureStore) -> None:
        """Check that a store has the features that the model was trained on.

        Raises
        ------
        EvaluationError
            It has others; names them, and how these are prepared.
        """
        features = self.model.features
        if store.snapshot.parameters == features.parameters():
            return
        usual = [name for name, each in FEATURE_SETS.items() if each.name == features.name]
        advice = f"; prepare the corpus with --feature-set {usual[0]}" if usual else ""
        raise EvaluationError(
            f"{store.path}: its features are {store.snapshot.feature_set}, the model of {self.path} was trained on "
            f"{features.name}{advice}"
        )
